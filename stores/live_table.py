"""The DynamoDB table of live data: fresh items, who left, merged sessions and live counts, a partition for each kind.

Records are changed by attribute, under conditions, never read and written back; every read is consistent. A record with
the attribute CHANGED stands in the local index FEED by that time: what serving has to know is in it, what it may forget
has lost the attribute. Knows keys, the index and DynamoDB's answers, not what the attributes mean. `dynamodb_table.py`
has the connection; `dynamodb_fresh_items.py`, `dynamodb_identities.py` and `dynamodb_live_counts.py` call it, and
`infra/` makes the table by these names.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final, NamedTuple, TypeVar

from contracts.errors import LiveDataUnavailable
from stores.dynamodb_table import EXPIRES as EXPIRES
from stores.dynamodb_table import READ_KEYS, Connection, Item

KIND: Final = "kind"
"""Partition key, a string of KINDS."""
ID: Final = "id"
"""Sort key, a string."""
FEED: Final = "feed"
"""Local secondary index: KIND and CHANGED, with all attributes."""
CHANGED: Final = "changed"
"""Number: milliseconds of the writer's clock with a fraction, which tells two writes of a record apart."""

ITEM: Final = "item"
TOMBSTONE: Final = "tombstone"
MERGE: Final = "merge"
COUNT: Final = "count"
KINDS: Final = (ITEM, TOMBSTONE, MERGE, COUNT)

WRITERS: Final = 8
"""Threads that write at once: an update is a millisecond of CPU here and five of waiting."""

LATE_SECONDS: Final = 10.0
"""A write that was under way for longer is stamped anew: with its retries it may come long after its stamp, and the
followers look back 30 s, which leaves 20 s for clocks that differ."""

Done = TypeVar("Done")
Value = TypeVar("Value")


class Change(NamedTuple):
    """What UpdateItem is told. `#name` in its expressions is the attribute of that name, or what `names` says."""

    expression: str
    condition: str = ""
    names: Mapping[str, str] = {}
    values: Mapping[str, Any] = {}


class Outcome(NamedTuple):
    """What became of a change."""

    made: bool
    """False: the condition did not hold."""
    item: Item
    """As it is after the change; where that was not made, as it was found, empty where there is none."""


class LiveTable(Connection):
    """The table's records. Every method raises LiveDataUnavailable where DynamoDB does not serve."""

    unavailable = LiveDataUnavailable
    access = (
        "Allow the role dynamodb:GetItem, BatchGetItem, Query, UpdateItem, PutItem or DeleteItem, whichever it was, "
        "on the table and its index."
    )

    def item(self, kind: str, key: str) -> Item | None:
        """One record."""
        with self._naming_failures("GetItem"):
            answer = self._client().get_item(TableName=self.name, Key=_key(kind, key), ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    def items(self, kind: str, keys: Iterable[str]) -> dict[str, Item]:
        """Records by id; what is not there is left out."""
        wanted = iter(dict.fromkeys(keys))
        found: dict[str, Item] = {}
        while batch := [_key(kind, key) for key in islice(wanted, READ_KEYS)]:
            found |= {item[ID]["S"]: item for item in self._whole_batch(batch)}
        return found

    def pages(
        self, kind: str, condition: str = "", values: Item | None = None, *, feed: bool = False
    ) -> Iterator[list[Item]]:
        """The records of a kind by id, or those of the feed by time of change: a megabyte at a time.

        `condition`: a further one on the sort key.
        """
        expression = f"#{KIND} = :kind AND {condition}" if condition else f"#{KIND} = :kind"
        query: dict[str, Any] = {
            "TableName": self.name,
            "ConsistentRead": True,
            "KeyConditionExpression": expression,
            "ExpressionAttributeNames": _names(expression),
            "ExpressionAttributeValues": {":kind": {"S": kind}, **(values or {})},
        }
        if feed:
            query["IndexName"] = FEED
        while query:
            with self._naming_failures("Query"):
                answer = self._client().query(**query)
            yield answer["Items"]
            last = answer.get("LastEvaluatedKey")
            query = query | {"ExclusiveStartKey": last} if last else {}

    def update(self, kind: str, key: str, change: Change) -> Outcome:
        """Change a record, made where there is none."""
        expressions = {"UpdateExpression": change.expression}
        if change.condition:
            expressions["ConditionExpression"] = change.condition
        client = self._client()
        try:
            with self._naming_failures("UpdateItem"):
                answer = client.update_item(
                    TableName=self.name,
                    Key=_key(kind, key),
                    ExpressionAttributeNames=_names(change.expression + change.condition) | dict(change.names),
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    **expressions,
                    **({"ExpressionAttributeValues": change.values} if change.values else {}),
                )
        except client.exceptions.ConditionalCheckFailedException as error:
            return Outcome(made=False, item=error.response.get("Item", {}))
        return Outcome(made=True, item=answer["Attributes"])

    def update_stamped(self, kind: str, key: str, change: Change) -> Outcome:
        """As `update`, of a change whose expression sets CHANGED to `:changed`, which is now."""
        began = time.monotonic()
        outcome = self.update(kind, key, change._replace(values={**change.values, ":changed": stamp()}))
        while outcome.made and time.monotonic() - began > LATE_SECONDS:
            began = time.monotonic()
            again = Change(f"SET #{CHANGED} = :changed", f"attribute_exists(#{CHANGED})", {}, {":changed": stamp()})
            if not self.update(kind, key, again).made:  # settled or removed meanwhile: that came after us
                break
        return outcome

    def put(self, kind: str, key: str, attributes: Item) -> None:
        """Write a whole record over whatever is there."""
        with self._naming_failures("PutItem"):
            self._client().put_item(TableName=self.name, Item={**_key(kind, key), **attributes})

    def delete(self, kind: str, key: str) -> None:
        """Remove a record, if it is there."""
        with self._naming_failures("DeleteItem"):
            self._client().delete_item(TableName=self.name, Key=_key(kind, key))


def stamp() -> Item:
    """CHANGED of a write that is about to be sent."""
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    return {"N": f"{milliseconds}.{nanoseconds:06d}"}


def together(call: Callable[[Value], Done], values: Iterable[Value]) -> list[Done]:
    """[values] what `call` returns for each, WRITERS at once; the first failure is raised after all have ended."""
    given = list(values)
    if len(given) <= 1:  # most requests: no threads
        return [call(value) for value in given]
    with ThreadPoolExecutor(min(WRITERS, len(given))) as pool:
        return list(pool.map(call, given))


def _key(kind: str, key: str) -> Item:
    return {KIND: {"S": kind}, ID: {"S": key}}


def _names(expression: str) -> dict[str, str]:
    """Many words are reserved in expressions: every attribute is named through a placeholder."""
    return {f"#{name}": name for name in re.findall(r"#(\w+)", expression)}


class InLiveTable:
    """A store that is some kinds of records of the table. Nothing is sent before the first call; threads share one
    client.
    """

    def __init__(self, table: str, client: Any = None) -> None:
        """`client`: a boto3 client of DynamoDB that stays the caller's; default: one is made when it is needed."""
        self._table = LiveTable(table, client)

    def connect(self) -> None:
        """The client is made; nothing is sent."""
        self._table.connect()

    def reconnect(self) -> None:
        """Close the connections; the next call opens new ones."""
        self._table.reconnect()

    def close(self) -> None:
        """Close the connections; a client that was given stays open."""
        self._table.reconnect()
