"""Profiles in a DynamoDB table: one item a user, read consistently, written only over the version that was read.

A writer that finds another version applies its change to what it found, so that concurrent requests lose nothing and
count nothing twice. The Lambda edge and the jobs in AWS use it; `profiles.py` has the protocol and the local class,
`profile_rules.py` and `profile_leaving.py` what happens to a record, `dynamodb_table.py` the calls and their failures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from typing import Any, Final

import msgspec

from contracts.deadline import Deadline
from contracts.errors import ProfilesUnavailable, StateBusy, TandemError
from contracts.interactions import Interactions
from contracts.live import ANONYMOUS_PREFIX, is_anonymous
from contracts.profile import Profile
from stores.dynamodb_table import (
    EXPIRES,
    KEY,
    NO_ANSWER,
    PATIENT_CALLS,
    READ_KEYS,
    Again,
    Item,
    Table,
    dynamodb_client,
    trying_again,
)
from stores.patience import within
from stores.profile_leaving import claimed, handed_over, without_everything
from stores.profile_loading import loaded_profiles
from stores.profile_records import Stored, check_ids, has_only_left, is_id, pack, unpack
from stores.profile_rules import Addition, with_events, with_features, with_load
from stores.profiles import Profiles

WRITERS: Final = 8
"""Threads that write at once. A put is a millisecond of CPU here and five of waiting: more keep no core busier."""

CONFLICTS: Final = 50
"""Tries of one write. Each that fails means that somebody else's got through, so of n writers one gets through a round:
of eight that never stop, one in a thousand writes fails 50 times (0.3 s in AWS)."""

ANONYMOUS_SECONDS: Final = 30 * 86_400
"""After its last write an anonymous session may go: it is as long as a browser's cookie of one lasts, and as old as an
event may be that still changes a profile."""

DELETED_AT: Final = "deleted_at"
"""Attribute of an item that says nothing but that its user left: those are listed no more."""
_USERS: Final = f"attribute_not_exists({DELETED_AT}) AND NOT begins_with({KEY}, :anonymous)"

LONGEST_JITTER_SECONDS: Final = 0.005
"""Before the next try: as long as a call takes. What the winner left came with the refusal; waiting makes it old."""


class DynamoDBProfiles(Profiles):
    """Profiles in one table. Nothing is sent before the first call; threads share one client."""

    def __init__(self, table: str, client: Any = None) -> None:
        """`client`: a boto3 client of DynamoDB that stays the caller's; default: one is made when it is needed."""
        self._table = Table(table, client)

    def get(self, user_id: str, deadline: Deadline | None = None) -> Profile:
        """See `Profiles.get`. One consistent GetItem."""
        if not is_id(user_id):
            return Profile(user_id=user_id)
        left_ms = (deadline or Deadline.never()).remaining_ms()
        if left_ms < 1:
            raise ProfilesUnavailable(f"no time is left to ask the table {self._table.name}.")
        try:
            item = within(left_ms / 1000, lambda: self._table.item(user_id))
        except TimeoutError as error:
            raise ProfilesUnavailable(f"table {self._table.name}: {error}.", fix=NO_ANSWER) from error
        return self._stored(user_id, item).profile

    def read(self, user_ids: Sequence[str]) -> dict[str, Stored]:
        """See `Profiles.read`. A BatchGetItem per READ_KEYS."""
        items = self._table.items(filter(is_id, user_ids))
        return {user_id: self._stored(user_id, items.get(user_id)) for user_id in user_ids}

    def append_all(
        self, additions: Sequence[Addition], now_seconds: int, known: Mapping[str, Stored] = {}
    ) -> list[int | TandemError]:
        """See `Profiles.append_all`. Users are written WRITERS at a time."""
        strange = (one.user_id for one in additions if one.user_id not in known and is_id(one.user_id))
        try:
            items = self._table.items(strange)
        except TandemError as error:
            return [error] * len(additions)

        def add(addition: Addition) -> int | TandemError:
            try:
                stored = known.get(addition.user_id) or self._stored(addition.user_id, items.get(addition.user_id))
                return self._change(stored, lambda stored: with_events(stored, addition, now_seconds))
            except TandemError as error:
                return error

        if len(additions) == 1:  # most requests: no threads
            return [add(additions[0])]
        with ThreadPoolExecutor(WRITERS) as pool:
            return list(pool.map(add, additions))

    def put_features(self, user_id: str, features: Mapping[str, Any], received_at: int = 0) -> None:
        """See `Profiles.put_features`."""
        self._change(self._read(user_id), _counting(partial(with_features, features=features, received_at=received_at)))

    def forget(self, user_id: str, now_seconds: int) -> bool:
        """See `Profiles.forget`."""
        return self._change(self._read(user_id), partial(without_everything, now_seconds=now_seconds)) > 0

    def claim(self, session: str, user_id: str) -> Profile:
        """See `Profiles.claim`."""
        found = Profile()

        def change(stored: Stored) -> tuple[Stored, int]:
            nonlocal found
            changed = claimed(stored, user_id)
            found = changed.profile
            return changed, 1

        self._change(self._read(session), change)
        return found

    def hand_over(self, session: str) -> None:
        """See `Profiles.hand_over`."""
        self._change(self._read(session), _counting(handed_over))

    def user_ids(self) -> Iterator[str]:
        """See `Profiles.user_ids`. A Scan: costs as much as reading every record, whatever comes back."""
        return self._table.keys(_USERS, {":anonymous": {"S": ANONYMOUS_PREFIX}})

    def bulk_load(
        self,
        user_ids: Iterable[str],
        item_ids: Sequence[str],
        interactions: Interactions,
        features: Iterable[Mapping[str, Any]] | None = None,
        *,
        timed: bool = True,
        watermark: int | None = None,
    ) -> int:
        """See `Profiles.bulk_load`. WRITERS chunks of READ_KEYS are under way at once, and no more are in memory."""
        profiles = loaded_profiles(user_ids, item_ids, interactions, features, timed=timed)
        chunks = iter(lambda: list(islice(profiles, READ_KEYS)), [])
        merge = partial(with_load, watermark=watermark if timed else None, has_features=features is not None)
        loaded = 0
        with ThreadPoolExecutor(WRITERS) as pool:
            while under_way := list(islice(chunks, WRITERS)):
                loaded += sum(pool.map(partial(self._load, merge=merge), under_way))
        return loaded

    def connect(self) -> None:
        """Make the client now, before a request waits for it; nothing is sent."""
        self._table.connect()

    def reconnect(self) -> None:
        """After a snapshot connections are dead: make new ones."""
        self._table.reconnect()

    def close(self) -> None:
        """See `Profiles.close`; a client that was given stays open."""
        self._table.reconnect()

    def _load(self, chunk: Sequence[Profile], merge: Callable[..., Stored]) -> int:
        users = [profile.user_id or "" for profile in chunk]
        check_ids(users, "a user's")
        items = self._table.items(users)
        for user_id, loaded in zip(users, chunk, strict=True):
            self._change(self._stored(user_id, items.get(user_id)), _counting(partial(merge, loaded=loaded)))
        return len(users)

    def _change(self, stored: Stored, change: Callable[[Stored], tuple[Stored, int]]) -> int:
        """Write a change of a record, applied again to what others wrote meanwhile; returns what `change` counted.

        Raises StateBusy where others were faster every time.
        """
        user_id = stored.profile.user_id or ""

        def attempt() -> int:
            nonlocal stored
            changed, counted = change(stored)
            if changed is stored:
                return counted
            item = _item_of(user_id, changed)
            found = self._table.put(item, stored.profile.version)
            if found is None or _is_same(found, item):  # the same: an answer was lost, and botocore asked twice
                return counted
            stored = self._stored(user_id, found)
            raise Again

        try:
            return trying_again(attempt, CONFLICTS, LONGEST_JITTER_SECONDS, LONGEST_JITTER_SECONDS)
        except Again:
            raise StateBusy(
                f"table {self._table.name}: others write this user all the time.", fix="Send it again."
            ) from None

    def _read(self, user_id: str) -> Stored:
        check_ids((user_id,), "a user's")
        return self._stored(user_id, self._table.item(user_id))

    def _stored(self, user_id: str, item: Item | None) -> Stored:
        if not item:
            return Stored(Profile(user_id=user_id))
        try:
            return unpack(user_id, item["profile"]["B"], item["event_ids"]["B"])
        except (msgspec.DecodeError, KeyError) as error:
            raise ProfilesUnavailable(
                f"table {self._table.name}: an item is no profile that this code reads: {error}.",
                fix="Deploy the code that wrote it, or rebuild the profile from the event log.",
            ) from error


@contextmanager
def patient_profiles(table: str) -> Iterator[DynamoDBProfiles]:
    """The profiles of a table for a job that would rather wait than fail; picklable by name."""
    with closing(dynamodb_client(calls=PATIENT_CALLS)) as client:
        yield DynamoDBProfiles(table, client)


def _counting(change: Callable[[Stored], Stored]) -> Callable[[Stored], tuple[Stored, int]]:
    """A change of which there is nothing to count."""
    return lambda stored: (change(stored), 1)


def _item_of(user_id: str, stored: Stored) -> Item:
    packed, now, profile = pack(stored), int(time.time()), stored.profile
    more: dict[str, Any] = {}
    if has_only_left(profile):
        more[DELETED_AT] = {"N": str(profile.deleted_at)}
    if is_anonymous(user_id) and profile.merged_into is None:  # a claimed one must go on saying whose it is
        more[EXPIRES] = {"N": str(now + ANONYMOUS_SECONDS)}
    return more | {
        KEY: {"S": user_id},
        "profile": {"B": packed.profile},
        "event_ids": {"B": packed.event_ids},
        "version": {"N": str(profile.version)},
        "updated_at": {"N": str(now)},
    }


def _is_same(one: Item, other: Item) -> bool:
    """Whether two items hold the same record, whenever each was written."""
    return all(one.get(name) == other[name] for name in ("profile", "event_ids", "version"))
