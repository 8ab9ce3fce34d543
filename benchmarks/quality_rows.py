"""One figure of the quality table, and what a part is asked with; every part returns rows of this kind.

A row says what was measured and on whom; date and machine are stamped by `quality`, and rows of several seeds become
one line of the table in `quality_table`. It knows no model and no data set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from data_sources.generator import WorldSettings
from evaluation.bootstrap import Interval
from training_job.settings import TrainingSettings

Aims = tuple[float, float]
"""Floor and goal."""

WORLD = WorldSettings(users=20_000, items=5_000)
"""Half a million events: the size at which a training takes a minute or two."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure."""

    part: str
    dataset: str
    protocol: str
    """What is trained on and whom it is judged on, for people; another protocol is another table."""
    model: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    """The 95 % interval over users; None where a figure has none."""
    case: str = ""
    """Column of the part's table, such as `day 3` or `k = 1`."""
    note: str = ""
    """What was chosen for it, where that is chosen on what is judged."""
    users: int | None = None
    """Judged users."""
    floor: float | None = None
    goal: float | None = None
    fewer: bool = False
    """Less is better."""
    cpu_seconds: float | None = None
    """Of this model's training alone, all threads together."""
    peak_gb: float | None = None
    """Of the process that trained it, data included, at the end of training."""
    seed: int = 0
    effort: str = ""
    date: str = ""
    machine: str = ""


class Cost(NamedTuple):
    """What a training took in a process of its own."""

    cpu_seconds: float
    peak_gb: float


@dataclass(frozen=True)
class Options:
    """How the parts are to be measured."""

    data: Path
    settings: TrainingSettings
    folds: int | None = None
    """Folds of ten that are measured; None: as many as the part's headline has."""
    world: WorldSettings = field(default_factory=lambda: WORLD)

    @property
    def seed(self) -> int:
        return self.settings.seed


def spread(interval: Interval) -> dict[str, float]:
    """An interval under a row's names."""
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def aimed(aims: Aims | None) -> dict[str, Any]:
    """Floor and goal under a row's names."""
    return {} if aims is None else {"floor": aims[0], "goal": aims[1]}
