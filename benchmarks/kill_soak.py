"""kill -9 of train, export and publish at random points: is what serves always whole, and does the next run finish?

A child runs the whole night on a small data set and kills itself, with SIGKILL, either at a random moment or at the
n-th time it touches a file for writing (an audit hook counts opens, renames and removals, so that the short steps of
export and publish are hit as often as the long one of training). After each kill the pointer must be absent or name a
publication whose release opens and passes its golden cases. `make soak` runs it; `tests/local_mode` runs a sample.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.errors import TandemError
from local_mode.retrain import retrain
from retrieval.golden import replay_golden
from stores.releases import LocalReleases
from training_job.settings import Effort, TrainingSettings

WRITES_TO_SPREAD_OVER = 120
"""About as many times as one night on the small set touches a file for writing; a higher draw lets it finish."""

RECOVER_EVERY = 5
"""Kills after which a night is left to finish on what they left behind."""

_WRITES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")
_NEVER = 10**9


@dataclass
class Soak:
    """What the kills did."""

    kills: int = 0
    finished: int = 0
    """Runs that ended before their point came."""
    torn: list[str] = field(default_factory=list)
    """Descriptions of a state that should not exist; empty, or the promise is broken."""
    recovered: int = 0
    """Runs after a kill that went through to a publication."""


def run_child(dataset: Path, home: Path, mode: str, point: float) -> int:
    """One night in a forked child that dies at its point; the exit status (-9 where it died).

    Forking spares each night the seconds that importing torch takes; this process never computes, so the child starts
    with no threads of another.
    """
    pid = os.fork()
    if pid == 0:
        _night(dataset, home, mode, point)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _night(dataset: Path, home: Path, mode: str, point: float) -> None:
    """Never returns."""
    status = 3
    try:
        if mode == "write":
            sys.addaudithook(_dying_at_write(str(home), int(point)))
        else:
            threading.Timer(point, _die).start()
        retrain(dataset, home, TrainingSettings(effort=Effort.QUICK))
        status = 0
    except TandemError as error:
        print(error, file=sys.stderr)
        status = 2
    finally:
        os._exit(status)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _dying_at_write(home: str, point: int) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that kills the process the `point`-th time it touches a file below `home` for writing."""
    writes = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal writes
        opened = event == "open" and isinstance(arguments[1], str) and not set(arguments[1]).isdisjoint("wax+")
        if (opened or event in _WRITES) and str(arguments[0]).startswith(home):
            writes += 1
            if writes == point:
                _die()

    return count


def soak(dataset: Path, home: Path, kills: int, seed: int = 0) -> Soak:
    """Kill `kills` nights, alternately by time and by write, finishing one after every few."""
    rng = random.Random(seed)
    result = Soak()
    while result.kills < kills:
        by_write = result.kills % 3 != 0
        point = rng.randint(1, WRITES_TO_SPREAD_OVER) if by_write else rng.uniform(0.0, 4.0)
        status = run_child(dataset, home, "write" if by_write else "time", point)
        if status == -signal.SIGKILL:
            result.kills += 1
        elif status == 0:
            result.finished += 1
        else:
            result.torn.append(f"a night ended with status {status} (mode write={by_write}, point {point})")
        inspect(home, result, f"{'write' if by_write else 'second'} {point}")
        if result.kills % RECOVER_EVERY == 0 and status != 0:
            result.recovered += run_child(dataset, home, "write", _NEVER) == 0
    return result


def inspect(home: Path, result: Soak, point: str) -> None:
    """The pointer is absent or names a whole publication, and every listed release opens."""
    store = LocalReleases(home)
    try:
        current = store.current()
        if current is not None:
            replay_golden(store.open(current.publication.release))
        for release in store.ids():
            store.open(release)
    except TandemError as error:
        result.torn.append(f"after a kill at {point}: {error}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        dataset = small_dataset(Path(folder))
        result = soak(dataset, Path(folder) / "home", options.kills, options.seed)
    figures: dict[str, Any] = vars(result)
    print(json.dumps(figures, indent=None if options.json else 2))
    return 1 if result.torn else 0


def small_dataset(folder: Path) -> Path:
    """A generated world that trains in about a second."""
    out = folder / "dataset"
    command = [sys.executable, "-m", "cli.main", "generate", "--users", "150", "--items", "80", "--out", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # not here: polars' threads do not survive a fork
    return out


if __name__ == "__main__":
    sys.exit(main())
