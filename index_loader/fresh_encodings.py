"""Live items follow the pointer: encoded for a release before it serves, and let go once all releases know them.

Serving scores an item that its release does not know by an encoding made for that very release. So who moves the
pointer encodes first, and once more when it has moved, for what was told in between; what comes later still, the
serving processes encode. It does not know how an item is encoded (`retrieval/fresh.py`) nor where it is kept. The
steps of a night, a laptop's night and everybody who publishes or rolls back by hand call it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Final

from contracts.fitted import FittedModel
from contracts.live import LiveItem
from retrieval.fresh import FreshEncoder
from stores.fresh_items import FreshItems
from stores.releases import Releases

PORTION: Final = 500
"""Items encoded at once: a second of work, 4 MB of features, and what is written of it stays where a run is killed."""


def encode_for(fitted: FittedModel, release: str, items: FreshItems, now_seconds: int) -> int:
    """Give every item that was told and that the release does not know an encoding for it; returns how many.

    Also one that serving has forgotten because all earlier releases knew it. Those that have an encoding are left
    alone: killed, it is run again. Raises LiveDataUnavailable, StorageFull, StateBusy.
    """
    return _encode(FreshEncoder(fitted, release), items.all(), items, now_seconds)


@contextmanager
def encoded_around(store: Releases, release: str, items: FreshItems) -> Iterator[None]:
    """Encode for a release before what makes it serve, and after it, for what was told meanwhile.

    The release is opened only where an item was ever told. Where what it is put around fails, the encodings stay:
    nobody serves by them. Raises as `encode_for`, and what opening a release raises.
    """
    encoder: FreshEncoder | None = None

    def encode(told: Iterator[LiveItem]) -> None:
        nonlocal encoder
        if (first := next(told, None)) is not None:
            encoder = encoder or FreshEncoder(store.open(release), release)
            _encode(encoder, chain([first], told), items, int(time.time()))

    encode(one for one in items.all() if one.features is not None)
    yield
    encode(one for one in items.changes().items if one.features is not None)


def settle(store: Releases, items: FreshItems, now_seconds: int) -> int:
    """Let serving forget the live items that every release knows which serves or can come back; returns how many.

    An item of which other features were told since is let go too: a release that knows it serves it as it was trained,
    and the record stays for the next night. Where nothing is published, nothing is settled. Raises LiveDataUnavailable,
    and what opening a catalogue raises.
    """
    kept = sorted({publication.release for publication in store.kept()})
    if not kept:
        return 0
    waiting = [one.item_id for one in items.changes().items]
    for release in kept if waiting else ():
        rows = store.open_catalogue(release).ids.rows(waiting)
        waiting = [item_id for item_id, row in zip(waiting, rows.tolist(), strict=True) if row >= 0]
    return items.settle(waiting, kept, now_seconds)  # also of none: encodings for other releases go


def _encode(encoder: FreshEncoder, told: Iterable[LiveItem], items: FreshItems, now_seconds: int) -> int:
    done, left = 0, (one for one in told if one.features is not None)
    while portion := {one.item_id: one for one in islice(left, PORTION)}:
        if encodings := encoder.missing(portion):
            done += items.encode(encoder.release, encodings, now_seconds)
    return done
