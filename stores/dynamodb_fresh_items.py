"""Live items in a DynamoDB table: told, changed and settled by attribute, followed through the table's feed.

A record's attributes: `features` and each of `encodings` are bytes (`live_records.py`), the rest are plain. The map
`encodings` is there wherever features are. The Lambda edge and the steps of a night in AWS use it; `fresh_items.py` has
the protocol and the local class, `live_table.py` the calls and their failures.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from contracts.deadline import Deadline
from contracts.errors import LiveDataUnavailable, StateBusy
from contracts.live import EVENTS_COUNTED, Encoding, LiveItem
from stores.dynamodb_table import NO_ANSWER, Again, Item, trying_again
from stores.fresh_items import Changes, FreshItems
from stores.fresh_rules import Put, encoding_told, is_counted, newest_puts, settled
from stores.live_records import pack, unpack
from stores.live_table import CHANGED, ID, ITEM, Change, InLiveTable, together
from stores.patience import within
from stores.profile_records import check_ids, is_id

OVERLAP_MS: Final = 30_000
"""How far behind its last look `changes` looks again: writes that were under way then, from clocks that differ."""

_CONFLICTS: Final = 20
"""Tries of one put, each of which fails only where another put of the same item came between two calls."""
_JITTER_SECONDS: Final = 0.005
"""Before the next try: as long as a call takes."""

_SET_FEATURES: Final = (
    f"SET #features = :features, #digest = :digest, #{CHANGED} = :changed, "
    "#created_at = if_not_exists(#created_at, :created_at)"
)


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a follower is."""

    looked_at: int = 0
    """Milliseconds of its own clock when it looked last."""
    seen: dict[str, str] = {}
    """Item → CHANGED of what it was given of the time that the next look covers again."""


class DynamoDBFreshItems(InLiveTable, FreshItems):
    """Live items in one table. Nothing is sent before the first call; threads share one client."""

    def put(self, puts: Sequence[Put], now_seconds: int) -> None:
        """See `FreshItems.put`. WRITERS items at once; after a failure some are written: send all again."""
        together(lambda put: self._put(put, now_seconds), newest_puts(puts).values())

    def patch(
        self,
        item_id: str,
        now_seconds: int,  # noqa: ARG002  # stamped when it is sent
        *,
        available: bool | msgspec.UnsetType | None = msgspec.UNSET,
        hidden: bool | msgspec.UnsetType = msgspec.UNSET,
    ) -> LiveItem:
        """See `FreshItems.patch`. One UpdateItem."""
        check_ids((item_id,), "an item's")
        told = {"available": available, "hidden": None if hidden is False else hidden}
        values = {f":{name}": {"BOOL": value} for name, value in told.items() if isinstance(value, bool)}
        back = [
            f"#{name}" for name, value in told.items() if value is None
        ]  # an attribute that is not there: as before
        expression = ", ".join([f"SET #{CHANGED} = :changed", *(f"#{name[1:]} = {name}" for name in values)])
        if back:
            expression += f" REMOVE {', '.join(back)}"
        return self._live(self._table.update_stamped(ITEM, item_id, Change(expression, values=values)).item)

    def encode(self, release: str, encodings: Mapping[str, Encoding], now_seconds: int) -> int:  # noqa: ARG002
        """See `FreshItems.encode`. An UpdateItem each, WRITERS at once."""

        def keep(told: tuple[str, Encoding]) -> bool:
            item_id, encoding = told
            change = Change(
                f"SET #encodings.#release = :encoding, #{CHANGED} = :changed",
                "#digest = :digest AND attribute_exists(#features)",
                {"#release": release},
                {":encoding": {"B": pack(encoding)}, ":digest": {"S": encoding.digest}},
            )
            return self._table.update_stamped(ITEM, item_id, change).made

        return sum(together(keep, (told for told in encodings.items() if is_id(told[0]))))

    def count(self, events: Mapping[str, int], now_seconds: int) -> None:  # noqa: ARG002
        """See `FreshItems.count`. Most events are of items that nobody told: one read spares a write for each."""
        found = self._table.items(ITEM, filter(is_id, events))
        counted = (item_id for item_id, item in found.items() if CHANGED in item and is_counted(self._live(item)))

        def add(item_id: str) -> None:
            change = Change(
                f"SET #{CHANGED} = :changed ADD #events :more",
                f"attribute_exists(#features) AND attribute_exists(#{CHANGED}) "
                "AND (attribute_not_exists(#events) OR #events < :limit)",
                values={":more": {"N": str(events[item_id])}, ":limit": {"N": str(EVENTS_COUNTED)}},
            )
            self._table.update_stamped(ITEM, item_id, change)

        together(add, counted)

    def get(self, item_ids: Collection[str]) -> dict[str, LiveItem]:
        """See `FreshItems.get`. A BatchGetItem per hundred."""
        return {item_id: self._live(item) for item_id, item in self._table.items(ITEM, filter(is_id, item_ids)).items()}

    def changes(self, cursor: str = "", deadline: Deadline | None = None) -> Changes:
        """See `FreshItems.changes`. A Query of the feed; what the cursor's holder was given already is left out."""
        left_ms = (deadline or Deadline.never()).remaining_ms()
        if left_ms < 1:
            raise LiveDataUnavailable(f"no time is left to ask the table {self._table.name}.")
        try:
            return within(left_ms / 1000, lambda: self._changes(cursor))
        except TimeoutError as error:
            raise LiveDataUnavailable(f"table {self._table.name}: {error}.", fix=NO_ANSWER) from error

    def all(self) -> Iterator[LiveItem]:
        """See `FreshItems.all`. A page of a megabyte is in memory."""
        for page in self._table.pages(ITEM):
            yield from map(self._live, page)

    def settle(self, item_ids: Collection[str], releases: Collection[str], now_seconds: int) -> int:  # noqa: ARG002
        """See `FreshItems.settle`. A Query of the feed, and an UpdateItem for each record that loses something."""
        known, kept = set(item_ids), set(releases)
        pages = self._table.pages(ITEM, feed=True)
        return sum(sum(together(lambda item: self._settle(item, known, kept), page)) for page in pages)

    def remove(self, item_ids: Collection[str]) -> None:
        """See `FreshItems.remove`."""
        together(lambda item_id: self._table.delete(ITEM, item_id), filter(is_id, item_ids))

    def _put(self, put: Put, now_seconds: int) -> None:
        """Over other features with their encodings, or beside encodings of the same features: one of two holds."""
        values: dict[str, Any] = {
            ":features": {"B": pack(put.item.features)},
            ":digest": {"S": put.item.digest},
            ":created_at": {"N": str(put.item.created_at or now_seconds)},
        }
        anew = Change(
            f"{_SET_FEATURES}, #encodings = :encodings",
            "attribute_not_exists(#digest) OR #digest <> :digest",
            values=values | {":encodings": {"M": {}}},
        )
        beside = Change(_SET_FEATURES, "#digest = :digest", values=values)
        if told := encoding_told(put):
            encoding = {"B": pack(told)}
            anew = anew._replace(values=values | {":encodings": {"M": {put.release: encoding}}})
            beside = beside._replace(
                expression=f"{_SET_FEATURES}, #encodings.#release = :encoding",
                names={"#release": put.release},
                values=values | {":encoding": encoding},
            )

        def attempt() -> None:
            if not any(self._table.update_stamped(ITEM, put.item.item_id, change).made for change in (anew, beside)):
                raise Again

        try:
            trying_again(attempt, _CONFLICTS, _JITTER_SECONDS, _JITTER_SECONDS)
        except Again:
            raise StateBusy(
                f"table {self._table.name}: others write this item all the time.", fix="Send it again."
            ) from None

    def _changes(self, cursor: str) -> Changes:
        last = msgspec.json.decode(cursor, type=_Cursor) if cursor else _Cursor()
        now = int(time.time() * 1000)
        after = {":after": {"N": str(last.looked_at - OVERLAP_MS)}}
        found: dict[str, LiveItem] = {}
        times: dict[str, str] = {}
        for page in self._table.pages(ITEM, f"#{CHANGED} > :after", after, feed=True):
            for item in page:  # one that changes between two pages comes twice
                item_id, changed = item[ID]["S"], item[CHANGED]["N"]
                times[item_id] = changed
                if last.seen.get(item_id) != changed:
                    found[item_id] = self._live(item)
        again = {item_id: changed for item_id, changed in times.items() if Decimal(changed) > now - OVERLAP_MS}
        return Changes(list(found.values()), msgspec.json.encode(_Cursor(now, again)).decode())

    def _settle(self, item: Item, known: Collection[str], releases: Collection[str]) -> bool:
        """Settle one record unless somebody wrote it since it was read; whether serving may forget it now."""
        before = self._live(item)
        after, leaves = settled(before, known, releases)
        dropped = [release for release in before.encodings if release not in after.encodings]
        gone = [f"#encodings.#release{number}" for number in range(len(dropped))] + [f"#{CHANGED}"] * leaves
        if not gone:
            return False
        change = Change(
            f"REMOVE {', '.join(gone)}",
            f"#{CHANGED} = :read",
            {f"#release{number}": release for number, release in enumerate(dropped)},
            {":read": item[CHANGED]},
        )
        return self._table.update(ITEM, before.item_id, change).made and leaves

    def _live(self, item: Item) -> LiveItem:
        try:
            return _live_item(item)
        except (msgspec.DecodeError, KeyError, ValueError) as error:
            raise LiveDataUnavailable(
                f"table {self._table.name}: a record is no item that this code reads: {error}.",
                fix="Deploy the code that wrote it, or tell the item again.",
            ) from error


def _live_item(item: Item) -> LiveItem:
    encodings = item["encodings"]["M"] if "encodings" in item else {}
    return LiveItem(
        item_id=item[ID]["S"],
        features=unpack(item["features"]["B"], dict[str, Any]) if "features" in item else None,
        digest=item["digest"]["S"] if "digest" in item else "",
        created_at=int(item["created_at"]["N"]) if "created_at" in item else 0,
        available=item["available"]["BOOL"] if "available" in item else None,
        hidden="hidden" in item,
        events=min(EVENTS_COUNTED, int(item["events"]["N"])) if "events" in item else 0,
        encodings={release: unpack(packed["B"], Encoding) for release, packed in encodings.items()},
    )
