"""Items as clients tell them between two nights: features, stock, what is hidden, and their vectors per release.

`FreshItems` is the protocol, `SqliteFreshItems` the local class; the one in AWS is `dynamodb_fresh_items.py`. A record
stays for good, for it is the catalogue of what came through the API: every night folds it into its dataset. What
serving has to know is only what no release holds yet, and stock and hidden items: `changes` gives that, a little at a
time. It does not know releases beyond their names, nor how an item is encoded. The Lambda edge writes and follows, the
night folds in, encodes and settles.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from msgspec.structs import replace

from contracts.deadline import Deadline
from contracts.live import Encoding, LiveItem
from stores.fresh_rules import Put as Put
from stores.fresh_rules import is_counted, newest_puts, settled, with_events, with_put
from stores.live_file import InLiveFile
from stores.live_records import pack, unpack
from stores.profile_records import check_ids, is_id

CHUNK_ITEMS: Final = 1_000
"""Records that are held or written at once: 4 MB, and 50 ms for which other writers wait."""

_READ_IDS: Final = 500
"""Of one statement, which takes 32,766 parameters at most."""

_READ: Final = "SELECT record, changed FROM items WHERE item_id = ?"
_READ_SOME: Final = "SELECT record FROM items WHERE item_id IN"
_WRITE: Final = "INSERT OR REPLACE INTO items (item_id, record, changed) VALUES (?, ?, ?)"
_CHANGES: Final = "SELECT record, changed FROM items WHERE changed > ? ORDER BY changed"
_PAGE: Final = "SELECT record FROM items WHERE item_id > ? ORDER BY item_id LIMIT ?"
_FEED: Final = (
    "SELECT item_id, record, changed FROM items WHERE changed IS NOT NULL AND item_id > ? ORDER BY item_id LIMIT ?"
)
_NEXT_NUMBER: Final = "UPDATE sequence SET number = number + 1 RETURNING number"


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
        """Keep encodings by item id; returns how many. One of features that were told anew meanwhile is left out.

        It brings a settled item back: whoever encodes it has found that a release lacks it.
        """
        ...

    def count(self, events: Mapping[str, int], now_seconds: int) -> None:
        """Add to the events of items that were told and not settled since, up to EVENTS_COUNTED; others are ignored.

        A call that is repeated counts again.
        """
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
        encodings for releases beyond these are dropped. A later put or patch brings an item back; what somebody else
        writes at that moment stays for the next time.
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


class SqliteFreshItems(InLiveFile, FreshItems):
    """Live items in one SQLite file, for threads and processes of one machine; a number stands for the clock."""

    def put(self, puts: Sequence[Put], now_seconds: int) -> None:
        """See `FreshItems.put`. One transaction: all of them, or none."""
        newest = newest_puts(puts)
        with self._file.writing() as connection:
            stored = _records(connection, newest)
            _write(connection, [with_put(_item(stored, item_id), put, now_seconds) for item_id, put in newest.items()])

    def patch(
        self,
        item_id: str,
        now_seconds: int,  # noqa: ARG002  # the store's number says when
        *,
        available: bool | msgspec.UnsetType | None = msgspec.UNSET,
        hidden: bool | msgspec.UnsetType = msgspec.UNSET,
    ) -> LiveItem:
        """See `FreshItems.patch`."""
        check_ids((item_id,), "an item's")
        with self._file.writing() as connection:
            item = _item(_records(connection, (item_id,)), item_id)
            if available is not msgspec.UNSET:
                item = replace(item, available=available)
            if hidden is not msgspec.UNSET:
                item = replace(item, hidden=hidden)
            _write(connection, [item])
        return item

    def encode(self, release: str, encodings: Mapping[str, Encoding], now_seconds: int) -> int:  # noqa: ARG002
        """See `FreshItems.encode`. A transaction per CHUNK_ITEMS."""
        kept = 0
        left = iter(encodings)
        while chunk := list(islice(left, CHUNK_ITEMS)):
            with self._file.writing() as connection:
                stored = _records(connection, chunk)
                changed = [
                    replace(found.item, encodings=found.item.encodings | {release: encodings[item_id]})
                    for item_id, found in stored.items()
                    if found.item.features is not None and found.item.digest == encodings[item_id].digest
                ]
                _write(connection, changed)
            kept += len(changed)
        return kept

    def count(self, events: Mapping[str, int], now_seconds: int) -> None:  # noqa: ARG002
        """See `FreshItems.count`."""
        with self._file.writing() as connection:
            counted = [
                with_events(found.item, events[item_id])
                for item_id, found in _records(connection, events).items()
                if found.changed is not None and is_counted(found.item)
            ]
            _write(connection, counted)

    def get(self, item_ids: Collection[str]) -> dict[str, LiveItem]:
        """See `FreshItems.get`."""
        found: dict[str, LiveItem] = {}
        left = filter(is_id, item_ids)
        while chunk := list(islice(left, _READ_IDS)):
            places = ", ".join("?" * len(chunk))
            rows = self._file.rows(f"{_READ_SOME} ({places})", chunk)
            found |= {item.item_id: item for item in self._items(rows)}
        return found

    def changes(self, cursor: str = "", deadline: Deadline | None = None) -> Changes:  # noqa: ARG002  # a local read
        """See `FreshItems.changes`."""
        rows = self._file.rows(_CHANGES, (int(cursor or 0),))
        return Changes(self._items(rows), str(rows[-1][1]) if rows else cursor)

    def all(self) -> Iterator[LiveItem]:
        """See `FreshItems.all`. CHUNK_ITEMS are in memory."""
        last = ""
        while True:
            items = self._items(self._file.rows(_PAGE, (last, CHUNK_ITEMS)))
            if not items:
                return
            last = items[-1].item_id
            yield from items

    def settle(self, item_ids: Collection[str], releases: Collection[str], now_seconds: int) -> int:  # noqa: ARG002
        """See `FreshItems.settle`. A transaction per CHUNK_ITEMS of what serving has to know."""
        known, kept, forgotten, last = set(item_ids), set(releases), 0, ""
        while True:
            with self._file.writing() as connection:
                rows = connection.execute(_FEED, (last, CHUNK_ITEMS)).fetchall()
                for item_id, record, changed in rows:
                    item = unpack(record, LiveItem)
                    after, leaves = settled(item, known, kept)
                    if leaves or after != item:
                        connection.execute(_WRITE, (item_id, pack(after), None if leaves else changed))
                    forgotten += leaves
            if not rows:
                return forgotten
            last = rows[-1][0]

    def remove(self, item_ids: Collection[str]) -> None:
        """See `FreshItems.remove`."""
        with self._file.writing() as connection:
            connection.executemany("DELETE FROM items WHERE item_id = ?", ((one,) for one in item_ids if is_id(one)))

    def _items(self, rows: Iterable[Sequence[Any]]) -> list[LiveItem]:
        with self._file.naming_failures():
            return [unpack(row[0], LiveItem) for row in rows]


class _Found(NamedTuple):
    item: LiveItem
    changed: int | None


def _records(connection: sqlite3.Connection, item_ids: Iterable[str]) -> dict[str, _Found]:
    found = {}
    for item_id in item_ids:
        row = connection.execute(_READ, (item_id,)).fetchone() if is_id(item_id) else None
        if row is not None:
            found[item_id] = _Found(unpack(row[0], LiveItem), row[1])
    return found


def _item(found: Mapping[str, _Found], item_id: str) -> LiveItem:
    return found[item_id].item if item_id in found else LiveItem(item_id=item_id)


def _write(connection: sqlite3.Connection, items: Sequence[LiveItem]) -> None:
    """Write records that changed now, within a transaction."""
    if not items:
        return
    ((number,),) = connection.execute(_NEXT_NUMBER).fetchall()
    connection.executemany(_WRITE, ((item.item_id, pack(item), number) for item in items))
