"""Jobs in processes of their own, a thread each, with progress in days and an end when somebody says so.

Threads of one process would take the cores of the others, and sums in other orders would make figures depend on the
number of processes: so even one process is another one. Where the parent is killed, they end with it. It knows nothing
of lines; `simulate.py` gives it jobs, the jobs call `tick`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, Final

from batch_job.side_by_side import end_with_parent, one_thread_each
from contracts.errors import JobFailed

_LOOK_SECONDS: Final = 0.5
"""Between two looks at how many days are over."""

Then = Callable[[Any], None]
"""What is done with the result of a job, in the parent; it may add jobs."""


class Stopped(Exception):
    """Raised by `tick` where nobody waits for the job any more."""


class Jobs:
    """Jobs under way, some of which wait for others."""

    def __init__(self, processes: int, tell: Callable[[int], None]) -> None:
        """`tell` is told the days that are over in all jobs."""
        context = get_context("spawn")
        self._days, self._stop, self._tell = context.Value("q", 0), context.Event(), tell
        self._pool = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(self._days, self._stop))
        self._then: dict[Future[Any], Then] = {}

    def add(self, then: Then, job: Callable[..., Any], *arguments: Any) -> None:
        """Do a job when a process is free, and then something with its result."""
        with one_thread_each():  # a process may start now
            self._then[self._pool.submit(job, *arguments)] = then

    def finish(self) -> None:
        """Until all are done, those added meanwhile too. Raises what a job or its `then` raises, JobFailed."""
        try:
            while self._then:
                done, _ = wait(self._then, _LOOK_SECONDS, FIRST_COMPLETED)
                self._tell(self._days.value)
                for one in done:
                    self._then.pop(one)(one.result())
        except BrokenProcessPool as error:
            raise JobFailed(
                "a process of the simulation was ended from outside, most likely for want of memory.",
                fix="Run it again with fewer --processes or --users.",
            ) from error
        finally:
            self._stop.set()
            self._pool.shutdown(cancel_futures=True)


def tick() -> None:
    """A day of a line is over. Raises Stopped where nobody waits for the rest."""
    if _Process.days is None:
        return
    if _Process.stop.is_set():
        raise Stopped
    with _Process.days.get_lock():
        _Process.days.value += 1


class _Process:
    """What a process of the pool is told by."""

    days: Any = None
    """Shared number; None in a process that is none of a pool."""
    stop: Any = None


def _begin(days: Any, stop: Any) -> None:
    _Process.days, _Process.stop = days, stop
    end_with_parent()
