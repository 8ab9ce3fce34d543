"""Events in CSR form keep their owners, their order and their numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contracts.interactions import Interactions

EVENTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6), st.integers(0, 9)), max_size=40)


def build(events: list[tuple[int, int, int]]) -> Interactions:
    users, items, times = (
        (np.array(column, np.int64) for column in zip(*events, strict=True)) if events else ([], [], [])
    )
    return Interactions.from_events(
        np.asarray(users, np.int64),
        np.asarray(items, np.int64),
        np.asarray(times, np.int64),
        np.ones(len(events)),
        5,
        7,
    )


@given(EVENTS)
def test_a_user_owns_their_events_oldest_first_in_file_order(events: list[tuple[int, int, int]]) -> None:
    interactions = build(events)
    for user in range(5):
        own = sorted([(time, item) for owner, item, time in events if owner == user], key=lambda pair: pair[0])
        span = interactions.of(user)
        assert interactions.items[span].tolist() == [item for _, item in own]
        assert interactions.times[span].tolist() == [time for time, _ in own]


@given(EVENTS, st.integers(0, 9))
def test_selecting_keeps_the_numbering(events: list[tuple[int, int, int]], cut: int) -> None:
    interactions = build(events)
    kept = interactions.select(interactions.times < cut)
    assert (kept.n_users, kept.n_items) == (5, 7)
    assert len(kept) == sum(time < cut for _, _, time in events)
    for user in range(5):
        before = [
            item
            for item, time in zip(
                interactions.items[interactions.of(user)], interactions.times[interactions.of(user)], strict=True
            )
            if time < cut
        ]
        assert kept.items[kept.of(user)].tolist() == before


@given(EVENTS)
def test_counts_and_owners_agree(events: list[tuple[int, int, int]]) -> None:
    interactions = build(events)
    assert interactions.item_counts().sum() == len(events)
    assert np.bincount(interactions.users, minlength=5).tolist() == interactions.lengths.tolist()
