"""Short runs before the long one: which temperature, and whether long training helps at all.

Sparse data is learned by heart within a few passes; what was found after two of them, at a rate that fell to its end,
may be better than whatever forty make of it. No statistic of the data told which, so it is tried: each contender is
trained for an eighth of the passes and judged by the tuning half of the slice. The winner is trained at length, and
gives way to its own short run where that found more. `fit.py` calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from training_job.loop import Standing
from training_job.recipe import Recipe
from training_job.step import Stepper


@dataclass(frozen=True)
class ShortRun:
    """A contender after its few passes."""

    recipe: Recipe
    """For the long training, if it wins."""
    stepper: Stepper
    standing: Standing

    @property
    def score(self) -> float:
        """Mean tuning NDCG@20."""
        return self.standing.kept_score


def best_of(contenders: Sequence[Recipe], run: Callable[[Recipe], ShortRun]) -> tuple[ShortRun, dict[str, float]]:
    """The best of the short runs, the first of equal ones, and the score of each temperature."""
    scores: dict[str, float] = {}

    def runs() -> Iterator[ShortRun]:
        for contender in contenders:  # one at a time: each holds a table of all items
            short = run(contender)
            scores[f"{contender.temperature:g}"] = short.score
            yield short

    return max(runs(), key=lambda short: short.score), scores
