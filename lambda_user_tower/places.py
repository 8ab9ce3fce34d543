"""Which live items have a place in serving: a few thousand that the release does not know, the earliest first.

The rule is that of `retrieval/fresh.py`; here it answers a client who tells an item, before any process has laid it
over. It goes by the last look at the store and by what was told here since, so two processes that take in items at the
same time may each promise the last place. The answers about items call it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import nsmallest

from contracts.ids import IdTable
from contracts.live import LiveItem
from lambda_user_tower.live import LiveItems


class ItemStatus(StrEnum):
    """What became of an item that was told."""

    FRESH = "fresh"
    """Found within the minute, by its content."""
    KNOWN = "known"
    """The release has it: its features count from the next night, its stock and whether it is hidden at once."""
    WAITING = "waiting"
    """Kept; there are too many fresh items, so it is found after the next night, or when a place is free."""
    INVALID = "invalid"
    """Not understood; nothing of it is kept."""
    NOT_WRITTEN = "not-written"
    """The store did not take it: send it again."""


@dataclass(frozen=True)
class _Queue:
    """The fresh items of one look, and those told since."""

    seen: Mapping[str, LiveItem]
    ids: IdTable
    told: dict[str, int] = field(default_factory=dict)
    """Item id → Unix seconds at which it was first told; of items that the release does not know."""


class Places:
    """The queue of fresh items."""

    def __init__(self, live: LiveItems, limit: int) -> None:
        """`limit`: how many fresh items are served."""
        self._live, self._limit = live, limit
        self._queue = _Queue({}, IdTable.from_strings(()))

    def take(self, item_ids: Iterable[str], ids: IdTable, now_seconds: int) -> dict[str, ItemStatus]:
        """Where items stand that were just told: `known`, `fresh` or `waiting`. `ids` are those of the release."""
        told = self._current(ids).told
        asked = list(item_ids)
        for item_id in asked:
            if ids.row(item_id) < 0:
                told.setdefault(item_id, now_seconds)
        placed = told if len(told) <= self._limit else set(nsmallest(self._limit, told, lambda one: (told[one], one)))
        return {item_id: _status(item_id in told, item_id in placed) for item_id in asked}

    def _current(self, ids: IdTable) -> _Queue:
        """The queue as of the last look."""
        seen, queue = self._live.items, self._queue
        if queue.seen is not seen or queue.ids is not ids:
            told = {
                item_id: item.created_at
                for item_id, item in seen.items()
                if item.features is not None and ids.row(item_id) < 0
            }
            queue = self._queue = _Queue(seen, ids, told)
        return queue


def _status(is_new: bool, has_place: bool) -> ItemStatus:
    if not is_new:
        return ItemStatus.KNOWN
    return ItemStatus.FRESH if has_place else ItemStatus.WAITING
