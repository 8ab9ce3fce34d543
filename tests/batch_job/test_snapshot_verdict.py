"""What is usual, when a feed has broken, and when nothing is new."""

from __future__ import annotations

import msgspec
import pytest

from batch_job.snapshot_verdict import Now, compared, hour_text, last_days, verdict_on
from contracts.night import Accept, Decision, NightFacts, Serving, SnapshotReport

NOW = 1_795_132_800 + 1_800
"""Half past midnight: the half hour that has begun is judged tomorrow."""
HOUR = (NOW - NOW % 3_600) // 3_600


def arrivals(*days: int) -> dict[str, int]:
    """So many events in the last 24 hours, in those before, …: half at their beginning, half at their end."""
    found = {hour_text(HOUR): 7}
    for back, count in enumerate(days):
        found[hour_text(HOUR - 24 * back - 24)] = count // 2
        found[hour_text(HOUR - 24 * back - 1)] = count - count // 2
    return found


def report(hours: dict[str, int], *, unchanged: bool = False) -> SnapshotReport:
    known = dict.fromkeys(("night", "dataset", "base_events", "catalogue", "read_from", "position"), "x")
    counts = ("events", "users", "items", "log_events", "new_events", "repeated", "too_old", "newest_event")
    figures = dict.fromkeys(counts, 0)
    return SnapshotReport(base=None, unchanged=unchanged, arrivals=hours, **known, **figures)


def facts(*accept: Accept, serving: Serving | None = None) -> NightFacts:
    return NightFacts(night="n", token=1, execution="arn", dataset="shop", begun_at=NOW, serving=serving, accept=accept)


def decision(*days: int, percent: int = 20, accept: tuple[Accept, ...] = ()) -> Decision:
    return verdict_on(report(arrivals(*days)), facts(*accept), percent).decision


def test_days_are_whole_and_the_hour_that_has_begun_is_none_of_them() -> None:
    assert last_days(arrivals(10, 20, 30), NOW) == (10, [20, 30])
    assert last_days({}, NOW) == (0, [])
    long_ago = {hour_text(HOUR - 24 * 15): 1}
    assert last_days(long_ago, NOW) == (0, [0] * 7)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ((10, 100, 100, 100), Decision.REFUSE),
        ((19, 100, 100, 100), Decision.REFUSE),
        ((20, 100, 100, 100), Decision.GO),
        ((0, 100, 100, 100), Decision.REFUSE),
        ((10, 100, 100), Decision.GO),  # two days are not a habit
        ((1, 9, 9, 9), Decision.GO),  # nor are nine events
        ((10, 0, 0, 100, 100, 100, 0, 0), Decision.GO),  # mostly nothing comes
        ((10, 100, 0, 100, 100, 100, 0, 0), Decision.REFUSE),
        ((100, 100_000, 100, 100, 100), Decision.GO),  # a day that was loaded at once is no habit
    ],
)
def test_far_fewer_than_usual_is_refused(days: tuple[int, ...], expected: Decision) -> None:
    assert decision(*days) is expected


def test_an_operator_or_the_setting_lets_few_events_pass() -> None:
    assert decision(1, 100, 100, 100, accept=(Accept.FEW_EVENTS,)) is Decision.GO
    assert decision(1, 100, 100, 100, accept=(Accept.SCHEMA,)) is Decision.REFUSE
    assert decision(1, 100, 100, 100, percent=0) is Decision.GO


def test_a_feed_that_brings_nothing_is_broken_before_it_is_idle() -> None:
    dead, idle = arrivals(0, 100, 100, 100), arrivals(100, 100, 100, 100)
    assert verdict_on(report(dead, unchanged=True), facts(), 20).code == "too-few-events"
    assert verdict_on(report(idle, unchanged=True), facts(), 20).code == "nothing-new"
    assert verdict_on(report(dead, unchanged=True), facts(Accept.FEW_EVENTS), 20).code == "nothing-new"


def now(log_events: int, people: str = "who", live_items: int = 0) -> Now:
    return Now(log_events, "shop", "e", "c", people, live_items)


def serving(night: str | None) -> Serving:
    return Serving(publication="p", release="r", etag="t", night=night)


def served(**other: object) -> SnapshotReport:
    same = {"dataset": "shop", "base_events": "e", "catalogue": "c", "people": "who", "log_events": 10}
    return msgspec.structs.replace(report({}), **(same | other))


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (served(), (0, True)),
        (served(log_events=7), (3, False)),
        (served(catalogue="other"), (0, False)),
        (served(people="others"), (0, False)),  # somebody left
        (served(base_events="other"), (10, False)),
        (served(dataset="other"), (10, False)),
        (served(log_events=12), (0, False)),  # the log was begun anew
        (None, (10, False)),
    ],
)
def test_what_is_new_is_told_by_the_snapshot_of_what_serves(before, expected) -> None:
    assert compared(now(10), facts(serving=serving("n1")), before) == expected


def test_without_a_night_before_the_log_is_new() -> None:
    assert compared(now(10), facts(), None) == (10, False)
    assert compared(now(0), facts(), None) == (0, False)
    assert compared(now(10), facts(serving=serving(None)), None) == (10, False)
    by_hand = facts(serving=serving(None))
    assert compared(now(0, people=""), by_hand, None) == (0, True)
    assert compared(now(0), by_hand, None) == (0, False)
    assert compared(now(0, people="", live_items=1), by_hand, None) == (0, False)
