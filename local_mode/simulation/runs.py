"""The lines of a run, each from its first day to its figures: the experiment itself, its twins, and arms trained alone.

    warm-up ─▶ mixed line: everybody by the arm that the assignment says, nights on all that is logged ─▶ its files
            └▶ a twin for each arm: everybody by that arm, served by the mixed line's releases on the same days

A line writes into a folder of its own and nowhere else. Every function is a job for a process of its own; `simulate.py`
says which are done.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from local_mode.simulation.arms import assigned, payload_of
from local_mode.simulation.exposing import Day
from local_mode.simulation.lines import Line
from local_mode.simulation.logbook import Logbook
from local_mode.simulation.measuring import measured, read_users, smallest_arm, split_of
from local_mode.simulation.nature import make_nature
from local_mode.simulation.nights import HOME, Kept, Nights
from local_mode.simulation.pool import tick
from local_mode.simulation.results import ArmEffect, ArmUsers
from local_mode.simulation.settings import SimulationSettings
from local_mode.simulation.shop import Shop
from local_mode.simulation.truth import Values, values_of
from local_mode.simulation.variety import Shown

PAYLOAD: Final = "payload.json"
NIGHTS: Final = "nights.json"
"""Which release served from which day on, and what the gate blocked."""


@dataclass(frozen=True)
class Mixed:
    """What came of the line of an experiment."""

    effects: list[ArmEffect]
    split: list[ArmUsers]
    sample_ratio_p: float
    kept: Kept
    sample: int
    """Users of each arm by whom coverage was compared."""
    seconds: float


def mixed(settings: SimulationSettings, arms: Sequence[str], folder: Path, kept: Kept | None = None) -> Mixed:
    """An experiment with these arms, the control first, logged and judged in `folder`, which isn't there yet.

    It trains its own releases; `kept`: or is served by those of another line. Raises what a night raises.
    """
    begun = time.monotonic()
    nature = make_nature(settings)
    # a split of its own for every dose: the luck of one would show in all points of the curve
    payload = payload_of(arms, f"{settings.seed}-{settings.alpha:g}")
    line, logbook = Line(nature), Logbook(folder, nature)
    (folder / PAYLOAD).write_text(payload.encode())
    nights = Nights(settings, logbook, folder / HOME)
    arm_of = assigned(nature.user_ids, payload, arms)
    days = []
    with closing(logbook):
        for day in line.warm_up():
            logbook.log(day)
        for day in _served(line, kept or nights, arm_of, arms):
            logbook.log(day)
            logbook.expose(day, arms)
            days.append(day)
    users = read_users(nature, logbook.exposures, logbook.events)
    kept = kept or Kept(folder / HOME, nights.past)
    (folder / NIGHTS).write_bytes(msgspec.json.encode(kept.nights))
    split, split_p = split_of(users, arms)
    effects = measured(nature, users, Shown.of(nature, days), arms)
    return Mixed(effects, split, split_p, kept, smallest_arm(users), time.monotonic() - begun)


def twin(settings: SimulationSettings, arm: str, kept: Kept, sample: int) -> Values:
    """The metrics of a world in which everybody has one arm, served by the releases of an experiment."""
    line = Line(make_nature(settings))
    for _ in line.warm_up():
        pass  # profiles and satisfaction remember it
    return _values(line, list(_served(line, kept, _all(line), (arm,))), arm, sample)


def alone(settings: SimulationSettings, arm: str, folder: Path, sample: int) -> Values:
    """The same where releases are trained on what this world logs itself. Raises what a night raises."""
    line = Line(make_nature(settings))
    days = []
    with closing(Logbook(folder, line.nature)) as logbook:
        for day in line.warm_up():
            logbook.log(day)
        for day in _served(line, Nights(settings, logbook, folder / HOME), _all(line), (arm,)):
            logbook.log(day)
            days.append(day)
    return _values(line, days, arm, sample)


def _values(line: Line, days: Sequence[Day], arm: str, sample: int) -> Values:
    return values_of(line.nature, days, (arm,), sample)


def _all(line: Line) -> NDArray[np.int8]:
    """Everybody in the first arm."""
    return np.zeros(len(line.nature.user_ids), np.int8)


def _served(line: Line, schedule: Nights | Kept, arm_of: NDArray[np.int8], arms: Sequence[str]) -> Iterator[Day]:
    """The days of an experiment."""
    settings = line.nature.settings
    shop = Shop(schedule.releases, line.nature)
    for day in range(settings.warm_days, settings.total_days):
        yield line.serve(day, schedule.before(day), shop, arm_of, arms)
        tick()
