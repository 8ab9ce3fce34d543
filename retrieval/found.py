"""Items found by one way of looking, and how several ways become one list.

Scores of different ways do not compare: popularity shares fall like 1 / rank while inner products lie in a narrow
band, so under min-max the two or three top sellers alone would decide a blend. `blend` therefore puts each list on
ranks first: the best of a list scores 1, the last just above 0, an item that a list lacks 0. Routing builds on this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.candidates import Candidates, Source
from contracts.fitted import Floats, Rows
from contracts.slate import Route

_SOURCE: Final = "source"


@dataclass(frozen=True)
class Found:
    """Rows, each once, best first, with scores on one scale. c items."""

    rows: Rows
    scores: Floats
    parts: dict[str, Floats] = field(default_factory=dict)
    """Name → [c]: what the scores were made of, and `source`. Empty unless the request asks for it: carrying them
    along costs a fifth of a request."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, picked: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Found:
        """The picked ones, in that order."""
        return Found(self.rows[picked], self.scores[picked], {name: part[picked] for name, part in self.parts.items()})

    def best_first(self) -> Found:
        return self.take((-self.scores).argsort(kind="stable"))

    def told(self, source: Source, **parts: Floats) -> Found:
        """The same, with more parts: where it came from and what it scored there."""
        here = {_SOURCE: np.full(len(self), source, np.float32)}
        return Found(self.rows, self.scores, {**self.parts, **here, **parts})

    def candidates(self, route: Route, model_name: str, segment: str | None = None, **facts: Any) -> Candidates:
        """As they leave retrieval; `facts` are further fields of Candidates."""
        parts = dict(self.parts)
        sources = parts.pop(_SOURCE, None)
        named = None if sources is None else sources.astype(np.int8)
        return Candidates(self.rows, self.scores, route, model_name, parts, segment, sources=named, **facts)

    @staticmethod
    def nothing() -> Found:
        return Found(np.empty(0, np.int32), np.empty(0, np.float32))


def join(several: Sequence[Found]) -> Found:
    """One after the other; a row that occurs again is dropped, a part that one lacks is 0 there."""
    joined = in_line(several)
    first = np.unique(joined.rows, return_index=True)[1]
    return joined if len(first) == len(joined) else joined.take(np.sort(first))


def in_line(several: Sequence[Found]) -> Found:
    """`join` for lists that are known to share no row."""
    names = {name: None for found in several for name in found.parts}
    return Found(
        np.concatenate([found.rows for found in several]),
        np.concatenate([found.scores for found in several]),
        {name: np.concatenate([_part(found, name) for found in several]) for name in names},
    )


def rank_scores(n: int) -> Floats:
    """1 for the first of n, falling evenly to 1 / n for the last."""
    return np.arange(n, 0, -1, dtype=np.float32) / np.float32(max(n, 1))


def on_ranks(found: Found) -> Found:
    """The same items scored by rank."""
    return Found(found.rows, rank_scores(len(found)), found.parts)


def blend(model: Found, popular: Found, model_weight: float) -> Found:
    """Items of both lists, best first: model_weight × rank score of the one + (1 - model_weight) × of the other.

    An item of both lists keeps the source of the one that gave it more.
    """
    rows, place = np.unique(np.concatenate([model.rows, popular.rows]), return_inverse=True)
    of_model, of_popular = place[: len(model)], place[len(model) :]
    shares = np.zeros((2, len(rows)), np.float32)
    shares[0, of_model] = np.float32(model_weight) * rank_scores(len(model))
    shares[1, of_popular] = np.float32(1 - model_weight) * rank_scores(len(popular))
    ours, theirs = _spread(model, of_model, len(rows)), _spread(popular, of_popular, len(rows))
    parts = ours | theirs
    if _SOURCE in ours and _SOURCE in theirs:
        parts[_SOURCE] = np.where(shares[1] > shares[0], theirs[_SOURCE], ours[_SOURCE])
    return Found(rows, shares.sum(0), parts).best_first()


def _part(found: Found, name: str) -> Floats:
    return found.parts[name] if name in found.parts else np.zeros(len(found), np.float32)


def _spread(found: Found, places: NDArray[np.integer], n: int) -> dict[str, Floats]:
    spread = {}
    for name, part in found.parts.items():
        spread[name] = np.zeros(n, np.float32)
        spread[name][places] = part
    return spread
