"""Checks of time: its unit and zone, the future and the past, whether events have an order at all.

`doctor` runs them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import polars as pl

from contracts.schema import FeatureKind, TimeMeaning
from data_sources.checks import FEW, MANY, Check, Examined, Needs, Outcome, failed, passed, share, warned
from data_sources.event_log import Sought
from data_sources.findings import FindingKind, Place
from data_sources.odd_times import DAY, PAST, not_seconds, other_units, typical_unit
from data_sources.reading import ID_OF

_SHORT_DAYS: Final = 7
"""Under a week a cut in time separates days of the week, not taste."""


def _meaning(examined: Examined) -> Outcome:
    time = examined.schema.time
    if time is TimeMeaning.TIMESTAMP:
        return passed("times are Unix seconds: order, decay, recency and time cuts all work")
    lost = "decay, recency and time cuts" + (" and the order of events" if time is TimeMeaning.NONE else "")
    return warned(f"time = {time}: {lost} are not available; training and serving work without")


def _present(examined: Examined) -> Outcome:
    missing = [f for f in examined.findings(FindingKind.MISSING_VALUE) if f.place.column == "timestamp"]
    if missing:
        return failed("; ".join(f.message for f in missing), [f.place for f in missing])
    return passed("every event has its time")


def _unit(examined: Examined) -> Outcome:
    found: list[str] = []
    places: list[Place | Sought] = []
    if examined.schema.timed:
        counts = {unit: examined.figures.counts[unit] for unit in other_units("timestamp")}
        if count := sum(counts.values()):
            found.append(_looks_like("events.timestamp", counts, examined.events.rows))
            places.append(Sought("timestamp", not_seconds("timestamp"), count))
    for side in ID_OF:
        table = examined.table(side)
        for name in examined.features(side, FeatureKind.TIMESTAMP):
            counted = {unit: where.sum() for unit, where in other_units(name).items()}
            counts = table.frame.select(**counted).row(0, named=True)
            if sum(counts.values()):
                found.append(_looks_like(f"{side}.{name}", counts, table.rows))
                places.append(table.place(name, table.frame.select(not_seconds(name)).to_series()))
    return failed("; ".join(found), places) if found else passed("every time is a plausible count of seconds")


def _looks_like(column: str, counts: dict[str, int], rows: int) -> str:
    return f"{column}: {share(sum(counts.values()), rows)} look like {typical_unit(counts)}"


def _zones(examined: Examined) -> Outcome:
    mixed = examined.findings(FindingKind.TIME_ZONES)
    if not mixed:
        return passed("times name one zone, or are numbers")
    found, places = "; ".join(f"{f.place}: {f.message}" for f in mixed), [f.place for f in mixed]
    some_without = any("none: " in f.message for f in mixed)
    return failed(f"{found}; those without a zone were read as UTC", places) if some_without else warned(found, places)


def _future(examined: Examined) -> Outcome:
    count, events = examined.figures.counts["future"], examined.events.rows
    if not count:
        return passed("no event lies in the future")
    found = f"{share(count, events)} events lie in the future (now is {_day(examined.now)})"
    places = [Sought("timestamp", examined.odd["future"], count)]
    return failed(found, places) if count > FEW * events else warned(found, places)


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _past(examined: Examined) -> Outcome:
    count, events = examined.figures.counts["past"], examined.events.rows
    if not count:
        return passed(f"no event is older than {_day(PAST)}")
    found = f"{share(count, events)} events are older than {_day(PAST)}"
    places = [Sought("timestamp", examined.odd["past"], count)]
    return failed(found, places) if count > MANY * events else warned(found, places)


def _order(examined: Examined) -> Outcome:
    """Users with several events all at one moment."""
    several = examined.per("users").filter(pl.col("timed") > 1)
    unordered = several.filter(pl.col("first") == pl.col("last"))["id"]
    found = f"{share(len(unordered), len(several))} users with several events have them all at one moment"
    if len(unordered) <= max(1, FEW * len(several)):
        return passed(found)
    return warned(found, examined.events_of("users", unordered, shows="timestamp"))


def _resolution(examined: Examined) -> Outcome:
    times = examined.figures.times
    if times["first"] != times["last"] and times["first_of_day"] == times["last_of_day"]:
        return warned("times are whole days: what a user did on one day has no order")
    return passed("times are finer than days")


def _span(examined: Examined) -> Outcome:
    first, last = (examined.figures.times[name] for name in ("first_plausible", "last_plausible"))
    if first is None or last is None:
        return warned("no event has a plausible time")
    found = f"events from {_day(first)} to {_day(last)}, {(last - first) / DAY:.1f} days"
    return warned(found) if last - first < _SHORT_DAYS * DAY else passed(found)


def _births(examined: Examined) -> Outcome:
    if "early" not in examined.odd:
        return passed("no feature says when items appeared")
    count, events = examined.figures.counts["early"], examined.events.rows
    found = f"{share(count, events)} events are older than their item"
    if count <= FEW * events:
        return passed(found)
    return warned(f"{found} ({examined.schema.published})", [Sought("timestamp", examined.odd["early"], count)])


CHECKS: Final = (
    Check(
        "time-meaning",
        "Without times nothing ages: old and new events weigh the same, and a cut in time is impossible.",
        'If the source knows when events happened, add the column timestamp and set time = "timestamp".',
        _meaning,
        (Needs.SCHEMA,),
    ),
    Check(
        "times-present",
        "An event without a time cannot be ordered or cut.",
        'Fill the column timestamp, or set time = "order" or "none".',
        _present,
        (Needs.EVENTS, Needs.ORDER),
    ),
    Check(
        "time-unit",
        "Milliseconds read as seconds lie 50,000 years ahead: decay makes everything equally old.",
        "Divide by 1,000 (milliseconds), a million or a billion, so that times are Unix seconds.",
        _unit,
        (Needs.READ,),
    ),
    Check(
        "time-zones",
        "Times with different zones, or some with and some without, are easily shifted by hours against each other.",
        "Write all times in UTC, or as Unix seconds.",
        _zones,
        (Needs.READ,),
    ),
    Check(
        "time-future",
        "Events ahead of now make everything else look old, and a time cut would train on them.",
        "Correct the clock or the zone of the source; remove test events.",
        _future,
        (Needs.EVENTS, Needs.SECONDS),
    ),
    Check(
        "time-past",
        "Times near 1970 are clocks that were not set, or positions rather than seconds.",
        'Correct the times; if they are positions, set time = "order".',
        _past,
        (Needs.EVENTS, Needs.SECONDS),
    ),
    Check(
        "time-order",
        "The model learns what comes next; events at one moment have no next.",
        'Use the time of the event rather than of its loading, or set time = "none".',
        _order,
        (Needs.EVENTS, Needs.ORDER),
    ),
    Check(
        "time-resolution",
        "What comes next within a visit is the strongest signal, and days hide it.",
        "Keep seconds when exporting.",
        _resolution,
        (Needs.EVENTS, Needs.SECONDS),
    ),
    Check(
        "time-span",
        "The default evaluation cuts in time; over a few days it judges one weekend.",
        "Export a longer window, a month or more.",
        _span,
        (Needs.EVENTS, Needs.SECONDS),
    ),
    Check(
        "item-births",
        "Events before an item appeared mean that one of the times is wrong; recency and new items first rely on it.",
        "Correct the time of publication (it is often the time of the last change).",
        _births,
        (Needs.EVENTS, Needs.ITEMS, Needs.SECONDS),
    ),
)
