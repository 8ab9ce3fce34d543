"""What a night does after its snapshot: go on, end well because nothing is new, or stop because a feed broke.

Pure arithmetic on a report. A broken feed is looked for first: one that brings nothing at all brings nothing new.
`snapshot.py` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Final, NamedTuple

from contracts.errors import TooFewEvents
from contracts.night import Accept, Decision, NightFacts, SnapshotReport, Step, StepVerdict

NOTHING_NEW: Final = "nothing-new"
"""Code of the verdict."""

USUAL_DAYS: Final = 7
"""A whole week, so that it holds every day of the week once."""
LEAST_DAYS: Final = 3
"""Fewer say nothing of what is usual: a first night has none."""
LEAST_USUAL: Final = 10
"""Events of a usual day; of fewer, one day in a thousand has a tenth by chance."""

_FEW: Final = (
    "Under {percent} % of a usual day a feed has most likely broken; nothing was changed. Look at what sends events, "
    f"and at the log's alarms; where that is right, `tandem aws run-nightly --accept {Accept.FEW_EVENTS}` lets it pass."
)

_HOUR: Final = "%Y-%m-%dT%H"
_DAY: Final = timedelta(days=1)


def hour_text(unix_hour: int) -> str:
    """An hour since 1970 as `SnapshotReport.arrivals` names it."""
    return f"{datetime.fromtimestamp(unix_hour * 3_600, UTC):{_HOUR}}"


class Now(NamedTuple):
    """Of a snapshot, as in its report, what is compared with the one that the serving release was trained on."""

    log_events: int
    dataset: str
    base_events: str
    catalogue: str
    people: str
    live_items: int


def compared(now: Now, facts: NightFacts, served: SnapshotReport | None) -> tuple[int, bool]:
    """How many events are new since what serves, and whether nothing is.

    `served`: the snapshot of what serves. A release that no night made has seen the dataset, and nothing of the log nor
    of what was told since; where nothing serves, everything is new. Somebody who left makes a night, whether or not
    they had any events: that they are in no model any more must not wait for others to come.
    """
    if facts.serving is None:
        return now.log_events, False
    if facts.serving.night is None:
        return now.log_events, not (now.log_events or now.live_items or now.people)
    if served is None or (now.dataset, now.base_events) != (served.dataset, served.base_events):
        return now.log_events, False
    new = max(0, now.log_events - served.log_events)
    same = (now.log_events, now.catalogue, now.people) == (served.log_events, served.catalogue, served.people)
    return new, same


def verdict_on(report: SnapshotReport, facts: NightFacts, few_events_percent: int) -> StepVerdict:
    """What is to be done with a snapshot."""
    last, before = last_days(report.arrivals, facts.begun_at)
    usual = median(before) if len(before) >= LEAST_DAYS else 0.0
    few = usual >= LEAST_USUAL and last * 100 < few_events_percent * usual
    if few and Accept.FEW_EVENTS not in facts.accept:
        found = f"{last} events came in the last 24 hours; usual are {usual:.0f} (median of {len(before)} days)."
        return _verdict(Decision.REFUSE, TooFewEvents.code, f"{found} {_FEW.format(percent=few_events_percent)}")
    if report.unchanged:
        return _verdict(Decision.STOP, NOTHING_NEW, "The serving release has been trained on all that is there.")
    return _verdict(Decision.GO)


def _verdict(decision: Decision, code: str = "", reason: str = "") -> StepVerdict:
    return StepVerdict(step=Step.SNAPSHOT, decision=decision, code=code, reason=reason)


def last_days(arrivals: Mapping[str, int], now: int) -> tuple[int, list[int]]:
    """Events of the 24 whole hours before `now` (Unix seconds), and of up to USUAL_DAYS times 24 hours before these.

    Only days that lie wholly after the first event that ever came: before it there was no feed.
    """
    hours = {datetime.strptime(hour, _HOUR).replace(tzinfo=UTC): count for hour, count in arrivals.items()}
    end = datetime.fromtimestamp(now - now % 3_600, UTC)
    days = [_within(hours, end - (back + 1) * _DAY) for back in range(USUAL_DAYS + 1)]
    first = min(hours, default=end)
    known = [count for back, count in enumerate(days) if end - (back + 1) * _DAY >= first]
    return days[0], known[1:] if known else []


def _within(hours: Mapping[datetime, int], start: datetime) -> int:
    return sum(count for hour, count in hours.items() if start <= hour < start + _DAY)
