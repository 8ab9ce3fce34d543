"""Items of events, beside the release: which of them clients told since, and what their events are counted for.

The live store knows items that no release holds yet, and how often each was met; the counter knows what is popular now.
Neither ever fails an event: an item that cannot be asked for is unknown, and an event that is not counted is in the log
all the same, from which every night counts. `intake.py` calls it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from contracts.errors import IdInvalid, LiveDataUnavailable, StateBusy, StorageFull
from contracts.event import Event
from contracts.fitted import Catalogue
from contracts.live import BUCKET_SECONDS
from contracts.schema import DatasetSchema
from lambda_user_tower.counting import LiveCounter
from stores.fresh_items import FreshItems
from stores.patience import within

PATIENCE_SECONDS: Final = 0.5
"""An answer about the items of a request comes in 50 ms; a store that is down must not hold up the events of others."""

_FAILED: Final = (LiveDataUnavailable, IdInvalid, StateBusy, StorageFull, OSError)

OpensFreshItems = Callable[[], FreshItems]
"""Opens the store, or has it open; raises LiveDataUnavailable, and is tried again then."""


def told_since(item_ids: Iterable[str], catalogue: Catalogue, opens: OpensFreshItems | None) -> frozenset[str]:
    """Those of some items that the release lacks and clients have told; none where the store does not answer."""
    strange = {item_id for item_id in item_ids if catalogue.ids.row(item_id) < 0}
    if opens is None or not strange:
        return frozenset()
    try:
        found = within(PATIENCE_SECONDS, lambda: opens().get(strange))
    except _FAILED:
        return frozenset()
    return frozenset(item_id for item_id, item in found.items() if item.features is not None)


def count_told(events: Iterable[Event], told: frozenset[str], opens: OpensFreshItems | None, now_seconds: int) -> None:
    """Count the events of items that clients told, for the store to say which are still without any."""
    counts = Counter(event.item_id for event in events if event.item_id in told)
    if opens is None or not counts:
        return
    try:
        within(PATIENCE_SECONDS, lambda: opens().count(counts, now_seconds))
    except _FAILED:
        return


def count_now(events: Sequence[Event], schema: DatasetSchema, counter: LiveCounter | None, now_seconds: int) -> None:
    """Count what happened in these ten minutes; what is told late of an earlier time is not popular now."""
    recent = [event for event in events if now_seconds - event.timestamp < BUCKET_SECONDS]
    if counter is not None and recent:
        weights = [schema.event_weights.of(event.event_type) for event in recent]
        counter.add([event.item_id for event in recent], weights, now_seconds)
