"""Records read many at a time: a damaged one is left out and counted, and a store that is down is told from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from batch_job.profile_reading import TRIED_IN_VAIN, ProfileReading
from contracts.errors import ProfilesUnavailable
from contracts.profile import Profile
from stores.profiles import Stored


class Store:
    """Of the protocol what is read through, strict about the rest."""

    def __init__(self, damaged: Sequence[str] = ()) -> None:
        self.damaged = set(damaged)
        self.reads: list[int] = []

    def read(self, user_ids: Sequence[str]) -> dict[str, Stored]:
        self.reads.append(len(user_ids))
        if self.damaged & set(user_ids):
            raise ProfilesUnavailable("a record cannot be read.")
        return {user: Stored(Profile(user_id=user, n_events=1)) for user in user_ids}


def reading(store: Store) -> tuple[ProfileReading, Counter[str]]:
    found: Any = store
    failed: Counter[str] = Counter()
    return ProfileReading(found, failed), failed


def test_many_are_read_at_once() -> None:
    store = Store()
    assert set(reading(store)[0].read(["c", "a", "b"])) == {"a", "b", "c"}
    assert store.reads == [3]
    assert reading(store)[0].read([]) == {}


def test_a_damaged_one_is_left_out_and_counted() -> None:
    records, failed = reading(Store(["b"]))
    assert set(records.read(["a", "b", "c"])) == {"a", "c"}
    assert failed == {"profiles-unavailable": 1}


def test_one_after_the_other_is_a_store_that_is_down() -> None:
    users = [f"u{number}" for number in range(TRIED_IN_VAIN)]
    records, failed = reading(Store(users[1:]))
    assert set(records.read(users)) == {"u0"}
    assert failed.total() == TRIED_IN_VAIN - 1
    with pytest.raises(ProfilesUnavailable):
        records.read(users[1:])
    with pytest.raises(ProfilesUnavailable):
        reading(Store(users))[0].read(users)
