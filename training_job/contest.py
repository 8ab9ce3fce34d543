"""Two rankers on the same users: which is better, by how much, and whether there are users enough to say so.

Paired differences of two metrics over users, with bootstrap intervals. It knows no models; `gate.py` asks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from evaluation.answers import PerUser
from evaluation.bootstrap import Interval, paired_difference

METRICS: Final = ("ndcg@10", "recall@20")
"""What decides: the top of a slate, and all of it."""

FEWEST_USERS: Final = 100
"""Users below which a percentile interval is too narrow to be believed; nothing is claimed then."""

SEED: Final = 0
"""The same slice gets the same verdict."""


@dataclass(frozen=True)
class Contest:
    """Two rankers on the same users: ours minus theirs."""

    ours: PerUser
    theirs: PerUser
    names: tuple[str, str]
    """What to call them."""

    @property
    def users(self) -> int:
        return len(self.ours[METRICS[0]])

    @cached_property
    def differences(self) -> dict[str, Interval]:
        """Metric → interval of the mean difference."""
        return {name: paired_difference(self.ours[name], self.theirs[name], SEED) for name in METRICS}

    @property
    def decided(self) -> bool:
        """Whether there are enough users to claim anything."""
        return self.users >= FEWEST_USERS

    @property
    def lost(self) -> bool:
        """A significant loss: one metric's interval lies below zero and none above."""
        gaps = self.differences.values()
        return self.decided and any(gap.below_zero for gap in gaps) and not any(gap.above_zero for gap in gaps)

    @property
    def won(self) -> bool:
        """A significant gain, by the same rule."""
        gaps = self.differences.values()
        return self.decided and any(gap.above_zero for gap in gaps) and not any(gap.below_zero for gap in gaps)

    @property
    def figures(self) -> dict[str, object]:
        if not self.users:
            return {"users": 0}
        means = {
            name: {
                "candidate": float(self.ours[name].mean()),
                "other": float(self.theirs[name].mean()),
                "difference": [gap.value, gap.low, gap.high],
            }
            for name, gap in self.differences.items()
        }
        return {"users": self.users, **means}

    def describe(self) -> str:
        """The finding in a sentence."""
        ours, theirs = self.names
        if not self.users:
            return f"no user to compare {ours} with {theirs} on."
        gaps = [
            f"{name} {gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})" for name, gap in self.differences.items()
        ]
        measured = f"{', '.join(gaps)}, 95 % intervals over {self.users} users"
        if not self.decided:
            return f"too few users to say whether {ours} beats {theirs}, {FEWEST_USERS} are needed: {measured}."
        return f"{ours} {'beats' if self.won else 'loses to' if self.lost else 'does not beat'} {theirs}: {measured}."
