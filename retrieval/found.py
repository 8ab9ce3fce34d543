"""Items found by one way of looking, and how several ways become one list.

Scores of different ways do not compare: popularity shares fall like 1 / rank while inner products lie in a narrow
band, so under min-max the two or three top sellers alone would decide a blend. `blend` therefore puts each list on
ranks first: the best of a list scores 1, the last just above 0, an item that a list lacks 0. Routing builds on this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contracts.candidates import Source
from contracts.fitted import Floats, Rows


@dataclass(frozen=True)
class Found:
    """Rows, each once, best first, with scores on one scale. c items."""

    rows: Rows
    scores: Floats
    sources: NDArray[np.int8]
    parts: dict[str, Floats] = field(default_factory=dict)
    """Name → [c]: what the scores were made of."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, picked: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Found:
        """The picked ones, in that order."""
        parts = {name: part[picked] for name, part in self.parts.items()}
        return Found(self.rows[picked], self.scores[picked], self.sources[picked], parts)

    def best_first(self) -> Found:
        return self.take(np.argsort(-self.scores, kind="stable"))

    @staticmethod
    def of(rows: Rows, scores: Floats, source: Source, part: str) -> Found:
        """What one way of looking found; its score is also the part called `part`."""
        return Found(rows, scores, np.full(len(rows), source, np.int8), {part: scores})

    @staticmethod
    def nothing() -> Found:
        return Found(np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.int8))


def join(several: Sequence[Found]) -> Found:
    """One after the other; a row that occurs again is dropped, a part that one lacks is 0 there."""
    rows = np.concatenate([found.rows for found in several])
    names = {name: None for found in several for name in found.parts}
    joined = Found(
        rows,
        np.concatenate([found.scores for found in several]),
        np.concatenate([found.sources for found in several]),
        {name: np.concatenate([_part(found, name) for found in several]) for name in names},
    )
    first = np.unique(rows, return_index=True)[1]
    return joined if len(first) == len(rows) else joined.take(np.sort(first))


def rank_scores(n: int) -> Floats:
    """1 for the first of n, falling evenly to 1 / n for the last."""
    return np.arange(n, 0, -1, dtype=np.float32) / np.float32(max(n, 1))


def on_ranks(found: Found) -> Found:
    """The same items scored by rank."""
    return Found(found.rows, rank_scores(len(found)), found.sources, found.parts)


def blend(model: Found, popular: Found, model_weight: float) -> Found:
    """Items of both lists, best first: model_weight × rank score of the one + (1 - model_weight) × of the other.

    An item of both lists keeps the source of the one that gave it more.
    """
    rows, place = np.unique(np.concatenate([model.rows, popular.rows]), return_inverse=True)
    of_model, of_popular = place[: len(model)], place[len(model) :]
    shares = np.zeros((2, len(rows)), np.float32)
    shares[0, of_model] = np.float32(model_weight) * rank_scores(len(model))
    shares[1, of_popular] = np.float32(1 - model_weight) * rank_scores(len(popular))
    sources = np.empty((2, len(rows)), np.int8)
    sources[0, of_model], sources[1, of_popular] = model.sources, popular.sources
    parts = _spread(model, of_model, len(rows)) | _spread(popular, of_popular, len(rows))
    from_popular = (shares[1] > shares[0]).astype(np.intp)
    return Found(rows, shares.sum(0), sources[from_popular, np.arange(len(rows))], parts).best_first()


def _part(found: Found, name: str) -> Floats:
    return found.parts[name] if name in found.parts else np.zeros(len(found), np.float32)


def _spread(found: Found, places: NDArray[np.integer], n: int) -> dict[str, Floats]:
    spread = {}
    for name, part in found.parts.items():
        spread[name] = np.zeros(n, np.float32)
        spread[name][places] = part
    return spread
