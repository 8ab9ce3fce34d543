"""What follows what is in force, and what a new payload may not do to people who are in a test."""

from __future__ import annotations

from typing import Any

import pytest

from contracts.errors import EnvelopeRefused, PayloadInvalid
from experiments.attributes import attributes_of
from experiments.changes import moved, refuse_moves
from experiments.envelope import open_envelope, seal
from experiments.payload import Payload, read_payload
from experiments.publishing import REISSUE_SECONDS, following
from experiments.running import Running
from tests.experiments.payloads import feature, rule, text_of

KEY = bytes(range(32))
NOW = 1_795_176_000
ALS, POPULARITY = {"model": "als"}, {"model": "popularity"}


def payload(*variations: dict[str, Any], **more: Any) -> Payload:
    return read_payload(text_of(model=feature(rule(*(variations or ({}, ALS)), **more))))


HALF = payload(coverage=0.5)


def test_the_first_is_number_one_and_the_next_one_more() -> None:
    first = following(None, HALF, KEY, NOW)
    assert first.sequence == 1
    assert first.data is not None
    assert following(first.data, HALF, KEY, NOW + REISSUE_SECONDS - 1) == (1, None)
    again = following(first.data, HALF, KEY, NOW + REISSUE_SECONDS)
    assert again.data is not None
    found, opened = open_envelope(again.data, KEY, after=1, now_seconds=NOW + REISSUE_SECONDS)
    assert (found.sequence, found.issued_at, opened) == (2, NOW + REISSUE_SECONDS, HALF)
    assert following(first.data, payload(coverage=0.6), KEY, NOW).sequence == 2


def test_one_that_ran_out_is_gone_on_from() -> None:
    old = seal(HALF, 9, NOW - 30 * 86_400, KEY)
    assert following(old, HALF, KEY, NOW).sequence == 10


def test_what_cannot_be_read_is_replaced_only_by_force() -> None:
    foreign = seal(HALF, 9, NOW, bytes(32))
    with pytest.raises(EnvelopeRefused, match="not signed"):
        following(foreign, HALF, KEY, NOW)
    assert following(foreign, HALF, KEY, NOW, force=True).sequence == 10
    assert following(b"damaged", HALF, KEY, NOW, force=True).sequence == 1


@pytest.mark.parametrize(
    ("new", "named"),
    [
        (payload(coverage=0.5, weights=[0.4, 0.6]), r"exp \(its weights were 0.5, 0.5 and are 0.4, 0.6\)"),
        (payload({}, ALS, POPULARITY, coverage=0.5), "its arms were 0, 1 and are 0, 1, 2"),
        (payload(ALS, {}, coverage=0.5, meta=[{"key": "1"}, {"key": "0"}]), "its arms were 0, 1 and are 1, 0"),
        (payload(coverage=0.4), "its coverage falls from 0.5 to 0.4"),
        (payload({}, POPULARITY, coverage=0.5), "what is served changes in 1"),
    ],
)
def test_a_running_test_is_not_disturbed(new: Payload, named: str) -> None:
    with pytest.raises(PayloadInvalid, match=named) as caught:
        refuse_moves(HALF, new)
    assert "phase" in caught.value.fix
    kept = following(None, HALF, KEY, NOW).data
    with pytest.raises(PayloadInvalid, match="change arms"):
        following(kept, new, KEY, NOW)
    assert following(kept, new, KEY, NOW, force=True).sequence == 2


@pytest.mark.parametrize(
    "new",
    [
        Payload({}),
        payload(coverage=0.9),
        payload(coverage=0.5, weights=[0.1, 0.9], seed="again"),
        payload(coverage=0.5, weights=[0.1, 0.9], phase="1"),
        payload({}, POPULARITY, key="another", seed="another"),
        payload(coverage=0.5, condition={"country": "DE"}),
        payload(coverage=0.5, name="Renamed"),
    ],
)
def test_what_moves_nobody_is_let_through(new: Payload) -> None:
    assert not list(moved(HALF, new))
    assert following(following(None, HALF, KEY, NOW).data, new, KEY, NOW).sequence in (1, 2)


def test_more_coverage_leaves_everybody_where_they_were() -> None:
    before, after = Running(HALF), Running(payload(coverage=0.9))
    for n in range(500):
        who = attributes_of(f"u{n}")
        was = before.assign(who).assignments
        assert not was or after.assign(who).assignments == was
