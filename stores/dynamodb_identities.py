"""Tombstones and merges in a DynamoDB table: each written in one call that lets the right one of two writers win.

The Lambda edge writes, the night and the job of forgetting read all of them; `identities.py` has the protocol and the
local class, `live_table.py` the calls and their failures.
"""

from __future__ import annotations

from collections.abc import Iterator

from contracts.live import Merge, Tombstone, user_digest
from stores.dynamodb_table import Item
from stores.identities import Identities
from stores.live_table import ID, MERGE, TOMBSTONE, Change, InLiveTable
from stores.profile_records import check_ids


class DynamoDBIdentities(InLiveTable, Identities):
    """Tombstones and merges in one table. Nothing is sent before the first call; threads share one client."""

    def bury(self, user_id: str, now_seconds: int) -> Tombstone:
        """See `Identities.bury`."""
        check_ids((user_id,), "a user's")
        change = Change(
            "SET #deleted_at = :now",
            "attribute_not_exists(#deleted_at) OR #deleted_at < :now",
            values={":now": {"N": str(now_seconds)}},
        )
        return _tombstone(self._table.update(TOMBSTONE, user_digest(user_id), change).item)

    def merge(self, session: str, user_id: str, now_seconds: int) -> Merge:
        """See `Identities.merge`."""
        check_ids((session, user_id), "a session's or a user's")
        change = Change(
            "SET #user_id = :user_id, #merged_at = :now",
            "attribute_not_exists(#user_id)",
            values={":user_id": {"S": user_id}, ":now": {"N": str(now_seconds)}},
        )
        return _merge(self._table.update(MERGE, session, change).item)

    def tombstones(self) -> Iterator[Tombstone]:
        """See `Identities.tombstones`."""
        return (_tombstone(item) for page in self._table.pages(TOMBSTONE) for item in page)

    def merges(self) -> Iterator[Merge]:
        """See `Identities.merges`."""
        return (_merge(item) for page in self._table.pages(MERGE) for item in page)

    def tombstone(self, user_id: str) -> Tombstone | None:
        """See `Identities.tombstone`."""
        item = self._table.item(TOMBSTONE, user_digest(user_id))
        return None if item is None else _tombstone(item)

    def forget_merge(self, session: str) -> None:
        """See `Identities.forget_merge`."""
        check_ids((session,), "a session's")
        self._table.delete(MERGE, session)


def _tombstone(item: Item) -> Tombstone:
    return Tombstone(item[ID]["S"], int(item["deleted_at"]["N"]))


def _merge(item: Item) -> Merge:
    return Merge(item[ID]["S"], item["user_id"]["S"], int(item["merged_at"]["N"]))
