"""Items as clients tell them between two nights: features, stock, what is hidden, and their vectors per release.

`FreshItems` is the protocol, `SqliteFreshItems` the local class; the one in AWS is `dynamodb_fresh_items.py`. A record
stays for good, for it is the catalogue of what came through the API: every night folds it into its dataset. What
serving has to know is only what no release holds yet, and stock and hidden items: `changes` gives that, a little at a
time. It does not know releases beyond their names, nor how an item is encoded. The Lambda edge writes and follows, the
night folds in, encodes and settles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from contracts.deadline import Deadline
from contracts.live import Encoding, LiveItem


class Put(msgspec.Struct, frozen=True):
    """What one client tells of one item."""

    item: LiveItem
    """With id, features, digest and created_at (kept where the item has one already); the rest is ignored."""
    release: str = ""
    """Which release `encoding` is of; empty: none."""
    encoding: Encoding | None = None


class Changes(NamedTuple):
    """What changed, and where to go on from."""

    items: list[LiveItem]
    """As they are now; the same item may come again with the next ones."""
    cursor: str


class FreshItems(Protocol):
    """Where live items are kept. Every method raises LiveDataUnavailable where the store cannot answer."""

    def put(self, puts: Sequence[Put], now_seconds: int) -> None:
        """Tell the features of items. Stock, hidden, counted events stay; encodings of other features go.

        Two writers of one item: the later one wins whole. Raises IdInvalid, StorageFull, StateBusy.
        """
        ...

    def patch(
        self,
        item_id: str,
        now_seconds: int,
        *,
        available: bool | msgspec.UnsetType | None = msgspec.UNSET,
        hidden: bool | msgspec.UnsetType = msgspec.UNSET,
    ) -> LiveItem:
        """Tell the state of an item, whether or not it was told before; returns the whole record."""
        ...

    def encode(self, release: str, encodings: Mapping[str, Encoding], now_seconds: int) -> int:
        """Keep encodings by item id; returns how many. One of features that were told anew meanwhile is left out."""
        ...

    def count(self, events: Mapping[str, int], now_seconds: int) -> None:
        """Add to the events of items that were told, up to EVENTS_COUNTED; others are ignored."""
        ...

    def get(self, item_ids: Collection[str]) -> dict[str, LiveItem]:
        """The records of some items, as the last write left them; what is not there is left out."""
        ...

    def changes(self, cursor: str = "", deadline: Deadline | None = None) -> Changes:
        """Everything that serving has to know and that changed since a cursor; from "": all of it.

        Sees every write that was acknowledged before, by whatever process; a late one may come a call later, none is
        skipped. A settled item does not come.
        """
        ...

    def all(self) -> Iterator[LiveItem]:
        """Every record, settled or not, in no order, without holding all of them."""
        ...

    def settle(self, item_ids: Collection[str], releases: Collection[str], now_seconds: int) -> int:
        """Let serving forget items that `releases` all know; returns how many were settled now.

        One whose stock or hiding was told stays in `changes`, without features' encodings. Of all other items the
        encodings for releases beyond these are dropped. A later put or patch brings an item back.
        """
        ...

    def remove(self, item_ids: Collection[str]) -> None:
        """Take records away, as if nobody had told them."""
        ...

    def connect(self) -> None:
        """Make ready what a request would wait for; nothing is sent."""
        ...

    def reconnect(self) -> None:
        """Let go of connections that a snapshot has cut."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
