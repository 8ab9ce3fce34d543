"""What processes that work side by side owe each other: one thread each, and an end with whoever started them.

The parent starts them within `one_thread_each`; each begins with `end_with_parent`. It does not know what they do:
those of a batch and those of a simulation begin here.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection, parent_process
from typing import Final

_LIBRARIES: Final = ("OPENBLAS", "OMP", "MKL", "BLIS")
_ALONE: Final = {"POLARS_MAX_THREADS": "1"} | {f"{library}_NUM_THREADS": "1" for library in _LIBRARIES}
"""Environment of a process among several: threads of one would take the cores of the others."""


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes that start meanwhile compute on one thread each."""
    before = {name: os.environ.get(name) for name in _ALONE}
    os.environ.update(_ALONE)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def end_with_parent() -> None:
    """Let Ctrl-C be the parent's, which says what becomes of the work, and end where the parent has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (parent := parent_process()) is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)  # whoever waits for a queue of a parent that is gone waits for ever
