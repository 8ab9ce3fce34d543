"""Interleaving: two slates drafted into one, so that a click says which model it speaks for.

Team draft (Radlinski, Kurup and Joachims 2008): in each round a coin says who picks first, and each side in turn takes
the best of its own list that is not there yet. Every place belongs to the side that picked it, and both sides have as
many, give or take one. Caps and promises of the slate hold: what would break one is passed over, as long as either
side has something else. Places that chance gave away, and what is explored, are nobody's. `rerank.py` calls it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.candidates import Ranked
from contracts.chance import DRAFT_KEY, Seed, several
from contracts.fitted import Rows
from reranking.diversity import Floats

NOBODY: Final = -1
"""Team of a place that no side picked."""

_HEADS: Final = 0.5


@dataclass(frozen=True)
class Promises:
    """What holds of the whole slate."""

    categories: NDArray[np.integer]
    """[n] of all rows, -1: none."""
    cap: int = 0
    """Most of one category; 0: no cap."""
    promoted: NDArray[np.bool_] | None = None
    """[n]"""
    quota: int = 0
    """Least promoted rows."""


def interleave(
    first: Ranked, second: Ranked, fixed: NDArray[np.bool_] | None, promises: Promises, there: Rows, seed: Seed
) -> Ranked:
    """`first` [k] with `second` drafted into the places that are not `fixed` [k] (None: into all).

    `there`: rows with places behind these. A row of both lists is there once. Teams: 0 the first, 1 the second.
    """
    if fixed is None:
        fixed = np.zeros(len(first.rows), np.bool_)
    ours = np.flatnonzero(~fixed)
    lists = (first.rows[ours].tolist(), second.rows.tolist())
    draft = _Draft(lists, promises, [*first.rows[fixed].tolist(), *there.tolist()])
    picks = draft.run(len(ours), several(seed, DRAFT_KEY, len(ours)).tolist())
    source, teams = np.arange(len(first.rows)), np.full(len(first.rows), NOBODY, np.int8)
    for place, (team, number) in zip(ours.tolist(), picks, strict=True):
        source[place] = ours[number] if team == 0 else len(first.rows) + number
        teams[place] = team
    names = dict.fromkeys((*first.parts, *second.parts))
    return Ranked(
        np.concatenate([first.rows, second.rows])[source],
        np.concatenate([first.scores, second.scores])[source],
        {name: np.concatenate([_part(first, name), _part(second, name)])[source] for name in names},
        tuple(dict.fromkeys((*first.degraded, *second.degraded))),
        first.propensities,
        teams,
    )


def _part(ranked: Ranked, name: str) -> Floats:
    return ranked.parts[name] if name in ranked.parts else np.zeros(len(ranked.rows), np.float32)


class _Draft:
    """One draft under way."""

    def __init__(self, lists: tuple[Sequence[int], Sequence[int]], promises: Promises, there: Sequence[int]) -> None:
        self._lists, self._promises = lists, promises
        self._taken = set(there)
        self._of_category = Counter(int(promises.categories[row]) for row in there)
        self._owed = 0
        if promises.promoted is not None:
            within_reach = {row for rows in lists for row in rows if promises.promoted[row]} - self._taken
            kept = int(np.count_nonzero(promises.promoted[list(there)])) if there else 0
            self._owed = min(max(0, promises.quota - kept), len(within_reach))

    def run(self, places: int, coins: Sequence[float]) -> list[tuple[int, int]]:
        """Team and number in its list of what each place is given to; `coins` [places] in (0, 1]."""
        picks: list[tuple[int, int]] = []
        picked = [0, 0]
        for place in range(places):
            turn = int(coins[place] >= _HEADS) if picked[0] == picked[1] else int(picked[1] < picked[0])
            team, number = self._pick(turn, places - place)
            picked[team] += 1
            picks.append((team, number))
            self._take(self._lists[team][number])
        return picks

    def _pick(self, turn: int, places_left: int) -> tuple[int, int]:
        """The best of whose turn it is, else of the other side; a cap gives way before a place stays empty."""
        for cap in (True, False):
            for team in (turn, 1 - turn):
                for number, row in enumerate(self._lists[team]):
                    if row not in self._taken and self._allowed(row, places_left, cap=cap):
                        return team, number
        raise AssertionError("the first list alone fills its places")

    def _allowed(self, row: int, places_left: int, *, cap: bool) -> bool:
        promoted = self._promises.promoted
        if self._owed >= places_left and promoted is not None and not promoted[row]:
            return False
        category = int(self._promises.categories[row])
        return not (cap and self._promises.cap and category >= 0) or self._of_category[category] < self._promises.cap

    def _take(self, row: int) -> None:
        self._taken.add(row)
        self._of_category[int(self._promises.categories[row])] += 1
        if self._owed and self._promises.promoted is not None and self._promises.promoted[row]:
            self._owed -= 1
