"""Each training in a process of its own, so that its CPU seconds and its peak memory are its own.

The parts of the quality table call it; the process that asks stays small and only puts figures together.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from benchmarks.quality_rows import Cost

Made = TypeVar("Made")


def alone(work: Callable[..., Made], *given: Any) -> Made:
    """What `work(*given)` returns, from a fresh process; what it raises is raised here."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as one:
        return one.submit(work, *given).result()


def costing(train: Callable[[], Made]) -> tuple[Made, Cost]:
    """What a training leaves, its CPU seconds (of all threads) and the peak memory of this process until then."""
    begun = time.process_time()
    made = train()
    seconds = time.process_time() - begun
    return made, Cost(round(seconds, 1), round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 3))


def tell(text: str) -> None:
    """Say on stderr what is being done."""
    print(f"  {text}", file=sys.stderr, flush=True)
