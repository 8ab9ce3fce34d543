"""What happens to the record of a live item when it is told, counted or settled: from one record to the next.

It knows no store. `fresh_items.py` applies these rules to records; `dynamodb_fresh_items.py` says those of writes as
expressions that DynamoDB applies, and shares the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec
from msgspec.structs import replace

from contracts.live import EVENTS_COUNTED, Encoding, LiveItem
from stores.profile_records import check_ids


class Put(msgspec.Struct, frozen=True):
    """What one client tells of one item."""

    item: LiveItem
    """With id, features, digest and created_at (kept where the item has one already); the rest is ignored."""
    release: str = ""
    """Which release `encoding` is of; empty: none."""
    encoding: Encoding | None = None


def newest_puts(puts: Iterable[Put]) -> dict[str, Put]:
    """Puts by item id, of two of one item the later. Raises IdInvalid."""
    newest = {put.item.item_id: put for put in puts}
    check_ids(newest, "an item's")
    return newest


def encoding_told(put: Put) -> Encoding | None:
    """The encoding that came with an item, unless it is of other features."""
    fits = put.release and put.encoding is not None and put.encoding.digest == put.item.digest
    return put.encoding if fits else None


def with_put(stored: LiveItem, put: Put, now_seconds: int) -> LiveItem:
    """A record after its features were told; encodings of the same features stay."""
    encodings = dict(stored.encodings) if stored.digest == put.item.digest else {}
    if encoding := encoding_told(put):
        encodings[put.release] = encoding
    return replace(
        stored,
        features=put.item.features,
        digest=put.item.digest,
        created_at=stored.created_at or put.item.created_at or now_seconds,
        encodings=encodings,
    )


def is_counted(item: LiveItem) -> bool:
    """Whether more events of an item make a difference."""
    return item.features is not None and item.events < EVENTS_COUNTED


def with_events(item: LiveItem, events: int) -> LiveItem:
    """A record after more events."""
    return replace(item, events=min(EVENTS_COUNTED, item.events + events))


def settled(item: LiveItem, known: Collection[str], releases: Collection[str]) -> tuple[LiveItem, bool]:
    """A record after settling the items `known` to all `releases`, and whether serving may forget it."""
    if item.item_id in known:
        return replace(item, encodings={}), not item.has_state
    kept = {release: encoding for release, encoding in item.encodings.items() if release in releases}
    return replace(item, encodings=kept), False
