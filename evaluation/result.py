"""The result of judging, as plain data: what `tandem evaluate --json` prints and the report draws.

`models` → name → metric → {value, low, high} is the binding part; everything else says how to read it.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from evaluation.bootstrap import Interval

Figures = dict[str, Interval]
"""Metric such as `recall@20` → its interval."""


class Segment(msgspec.Struct, frozen=True):
    """The accuracy of all models on some of the users, or on some of the items to find."""

    meaning: str
    users: int
    models: dict[str, Figures]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What every model achieved on one split."""

    protocol: str
    cut: int | None
    users: str
    """Whom `models` speaks of: `warm` (cold ones are in a segment of their own) or `all`."""
    counts: dict[str, int]
    judged: dict[str, int]
    """Model → users that it was judged on (a model that is slow to ask gets a sample)."""
    models: dict[str, Figures]
    differences: dict[str, dict[str, Figures]]
    """Model → other model → metric → mean difference on the users of both (positive: the first is better)."""
    segments: dict[str, Segment]
    settings: dict[str, Any]
    """Seed, resamples, diversity space, tuned parameters: what a reader needs to repeat it."""


def defined(figures: Figures) -> Figures:
    """Without the metrics that no user defines (JSON has no NaN)."""
    return {name: interval for name, interval in figures.items() if not math.isnan(interval.value)}
