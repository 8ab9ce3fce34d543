"""Where torch runs: device, threads, and the deterministic mode, set for a training and put back after it.

Torch keeps these in the process; a caller's process is not ours to leave changed. `fit.py` enters it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from contracts.errors import SettingsInvalid
from training_job.ranks import ALONE, Ranks
from training_job.settings import TrainingSettings


class TorchRuntime:
    """Context in which torch obeys the settings of a training."""

    def __init__(self, settings: TrainingSettings, *, small: bool = False, ranks: Ranks = ALONE) -> None:
        """`small`: steps are too short to share. Two threads gained a tenth then, and lost twentyfold to a neighbour
        on the same cores, so one is the default.
        """
        self.deterministic, self.ranks = settings.deterministic, ranks
        self.device = device_of(settings.device, ranks)
        self.threads = 1 if settings.deterministic else settings.threads or (1 if small else torch.get_num_threads())
        chosen = ranks.alone or settings.threads or settings.deterministic
        self.threads_for_als = self.threads if chosen else _cores()
        """torchrun gives each process one thread, and while rank 0 fits ALS the others only wait."""

    def __enter__(self) -> TorchRuntime:
        self._before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        torch.set_num_threads(self.threads)
        # numpy's products here are small, and beside torch's threads OpenBLAS's would only fight for the same cores
        self._blas = threadpool_limits(1, "blas")
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is only repeatable with fixed buffers
            torch.use_deterministic_algorithms(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        threads, deterministic = self._before
        self._blas.restore_original_limits()
        torch.set_num_threads(threads)
        if deterministic != torch.are_deterministic_algorithms_enabled():  # the call loads torch's compiler: 4 s of CPU
            torch.use_deterministic_algorithms(deterministic)

    @contextmanager
    def rough_products(self) -> Iterator[None]:
        """Inside, a GPU rounds the factors of matrix products to 11 bits (TF32); in deterministic mode it does not.

        Scoring all candidates is most of a step's arithmetic, and a logit is off by .001 of its size at most. Sums,
        loss, values and moments keep 32 bits. What ships is computed outside: it must agree with the tower in numpy.
        """
        if self.device.type != "cuda" or self.deterministic:
            yield
            return
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)


def device_of(name: str, ranks: Ranks = ALONE) -> torch.device:
    """A GPU if there is one and it was not declined, on each rank of a machine another.

    Raises SettingsInvalid for a device that is not there.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise SettingsInvalid("device cuda was asked for, and torch sees no GPU.", fix="Use auto or cpu.")
    if ranks.alone:
        return torch.device("cuda")
    if ranks.local >= (seen := torch.cuda.device_count()):
        raise SettingsInvalid(
            f"process {ranks.local + 1} of this machine has no GPU: torch sees {seen}.",
            fix=f"Start {seen} processes a machine (--nproc-per-node {seen}), or use device cpu.",
        )
    return torch.device("cuda", ranks.local)


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
