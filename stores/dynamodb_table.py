"""Items of one DynamoDB table: read consistently, written only over the version that was read, every failure named.

Knows keys, versions and DynamoDB's answers, nothing of profiles. boto3 is imported when the first call is made. Retries
of a call are botocore's; repeated here is only what a busy table left unread. Failures name the table and never a key.
`dynamodb_profiles.py` calls it; `live_table.py` shares its connection.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Final, TypeVar

from contracts.errors import ProfilesUnavailable, TandemError

KEY: Final = "user_id"
"""The table's only key attribute, a string."""
EXPIRES: Final = "expires"
"""Attribute with the Unix second after which DynamoDB may delete an item (the table's time to live); most have none."""

READ_KEYS: Final = 100
"""Of one BatchGetItem: the most that the service takes."""

CONNECT_SECONDS: Final = 1.0
READ_SECONDS: Final = 2.0
"""An item comes in 5 ms, a hundred in 50: a connection that is silent for longer is dead, and another one is tried."""
_CALLS: Final = 3
"""Of botocore for one answer: the first and two more."""
PATIENT_CALLS: Final = 10
"""Of a job at night, which may wait a minute and a half for a table that grows under its writes."""
CONNECTIONS: Final = 16
"""Of the pool: at least as many as threads that write at once."""

_READS: Final = 12
_FIRST_WAIT_SECONDS: Final = 0.02
_LONGEST_WAIT_SECONDS: Final = 0.5
"""Of a read that a busy table does not answer whole: 4 s at most, half of that on average."""

_CREDENTIALS: Final = "Give the process valid AWS credentials."
_BUSY: Final = "Send it again in a while; if that lasts, raise the table's capacity. The client has tried repeatedly."
_FIXES: Final = {
    "ResourceNotFoundException": "Deploy the storage stack, or name the table and the region where it is.",
    "UnrecognizedClientException": _CREDENTIALS,
    "ExpiredTokenException": _CREDENTIALS,
    "InvalidSignatureException": _CREDENTIALS,
    "NoCredentialsError": _CREDENTIALS,
    "NoRegionError": "Set AWS_REGION.",
    "ProvisionedThroughputExceededException": _BUSY,
    "ThrottlingException": _BUSY,
    "RequestLimitExceeded": _BUSY,
}
NO_ANSWER: Final = "Check the network, the region and the health of DynamoDB there."

_CONFLICT: Final = "ConditionalCheckFailedException"

Item = Mapping[str, Any]
Result = TypeVar("Result")


class Again(Exception):
    """Another writer was faster, or keys were left unread: to be tried again in a moment."""


def trying_again(attempt: Callable[[], Result], times: int, first_seconds: float, longest_seconds: float) -> Result:
    """What `attempt` returns once it does not raise Again, after random waits of up to so long; the last is raised."""
    with suppress(Again):  # nearly always the only one, and it spares a process the tenth of a second of the import
        return attempt()
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    time.sleep(random.uniform(0, first_seconds))
    return Retrying(
        retry=retry_if_exception_type(Again),
        stop=stop_after_attempt(times - 1),
        wait=wait_random_exponential(multiplier=first_seconds, max=longest_seconds),
        reraise=True,
    )(attempt)


def dynamodb_client(read_seconds: float = READ_SECONDS, calls: int = _CALLS, **options: Any) -> Any:
    """A client of DynamoDB; nothing is sent yet. `calls`: at most, for one answer; `options` go to boto3."""
    from boto3.session import Session
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"mode": "standard", "total_max_attempts": calls},
        max_pool_connections=CONNECTIONS,
        tcp_keepalive=True,
    )
    return Session().client("dynamodb", config=config, **options)


class Connection:
    """One table's client, made when the first call needs it, and the names of what goes wrong with it."""

    unavailable: type[TandemError] = ProfilesUnavailable
    """Raised where DynamoDB does not serve."""
    access = (
        "Allow the role dynamodb:GetItem, BatchGetItem and PutItem on the table, and Scan to a job that lists users."
    )
    """What to do where it refuses."""

    def __init__(self, name: str, client: Any = None) -> None:
        """Sends nothing yet. `client`: the caller's own, which `reconnect` leaves alone."""
        self.name, self._given = name, client
        self._made: Any = None
        self._making = threading.Lock()

    def reconnect(self) -> None:
        """Close the connections; the next call opens new ones (a new client would cost a tenth of a second of CPU)."""
        with self._making:
            if self._made is not None:
                self._made.close()

    def connect(self) -> None:
        """Make the client now; nothing is sent."""
        self._client()

    def _whole_batch(self, keys: Sequence[Item]) -> list[Item]:
        """The items of READ_KEYS keys at most, those that a busy table left unread asked for again."""
        left: Mapping[str, Any] = {self.name: {"Keys": keys, "ConsistentRead": True}}
        items: list[Item] = []

        def attempt() -> list[Item]:
            nonlocal left
            with self._naming_failures("BatchGetItem"):
                answer = self._client().batch_get_item(RequestItems=left)
            items.extend(answer["Responses"].get(self.name, []))
            if left := answer.get("UnprocessedKeys") or {}:
                raise Again
            return items

        try:
            return trying_again(attempt, _READS, _FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
        except Again:
            raise self.unavailable(f"table {self.name}: it leaves keys unread.", fix=_BUSY) from None

    def _client(self) -> Any:
        if self._given is not None:
            return self._given
        with self._making:
            if self._made is None:
                with self._naming_failures("making a client"):
                    self._made = dynamodb_client()
            return self._made

    @contextmanager
    def _naming_failures(self, call: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
            if code == _CONFLICT:
                raise
            fix = self.access if code == "AccessDeniedException" else _FIXES.get(code, NO_ANSWER)
            raise self.unavailable(f"table {self.name}: {call} failed: {code}.", fix=fix) from error


class Table(Connection):
    """The items of a table whose key is KEY. Every method raises ProfilesUnavailable where DynamoDB does not serve."""

    def put(self, item: Item, version: int) -> Item | None:
        """Write an item over the version that it was made from (0: there is none yet), or return what is there instead.

        An empty item where there is nothing any more.
        """
        condition: dict[str, Any] = {"ConditionExpression": f"attribute_not_exists({KEY})"}
        if version:
            condition = {
                "ConditionExpression": "#version = :read",
                "ExpressionAttributeNames": {"#version": "version"},
                "ExpressionAttributeValues": {":read": {"N": str(version)}},
            }
        client = self._client()
        try:
            with self._naming_failures("PutItem"):
                client.put_item(
                    TableName=self.name, Item=item, ReturnValuesOnConditionCheckFailure="ALL_OLD", **condition
                )
        except client.exceptions.ConditionalCheckFailedException as error:
            return dict(error.response.get("Item", {}))
        return None

    def item(self, key: str) -> Item | None:
        """The item of a key, as the last write left it."""
        with self._naming_failures("GetItem"):
            answer = self._client().get_item(TableName=self.name, Key={KEY: {"S": key}}, ConsistentRead=True)
        item: Item | None = answer.get("Item")
        return item

    def items(self, keys: Iterable[str]) -> dict[str, Item]:
        """The items of some keys, each once, by key; what is not there is left out."""
        wanted = iter(dict.fromkeys(keys))
        found: dict[str, Item] = {}
        while batch := [{KEY: {"S": key}} for key in islice(wanted, READ_KEYS)]:
            found |= {item[KEY]["S"]: item for item in self._whole_batch(batch)}
        return found

    def keys(self, condition: str, values: Item) -> Iterator[str]:
        """The keys of all items for which a condition (a filter expression over `values`) holds, page by page.

        Reads the whole table, as the last writes left it.
        """
        start: Item = {}
        while True:
            with self._naming_failures("Scan"):
                page = self._client().scan(
                    TableName=self.name,
                    ConsistentRead=True,
                    ProjectionExpression=KEY,
                    FilterExpression=condition,
                    ExpressionAttributeValues=values,
                    **start,
                )
            yield from (item[KEY]["S"] for item in page["Items"])
            if not (last := page.get("LastEvaluatedKey")):
                return
            start = {"ExclusiveStartKey": last}
