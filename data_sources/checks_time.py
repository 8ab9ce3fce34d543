"""Checks of time: its unit and zone, the future and the past, whether events have an order at all.

`doctor` runs them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import polars as pl

from contracts.schema import FeatureKind, TimeMeaning
from data_sources.checks import FEW, MANY, Check, Examined, Needs, Outcome, failed, passed, share, warned
from data_sources.findings import FindingKind, Place
from data_sources.reading import Table

_DAY: Final = 86_400

_LARGEST_SECONDS: Final = 100_000_000_000
"""Year 5138. In milliseconds it is March 1973, before any event log: a larger number is no count of seconds."""
_UNITS: Final = ((10**14, "milliseconds"), (10**17, "microseconds"), (2**63, "nanoseconds"))

_PAST: Final = 631_152_000
"""1 January 1990: an event that is older was stamped by a clock that was not set."""

_CLOCK_SKEW: Final = _DAY
"""A day ahead of now is a time zone, not an error."""

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


def _time_columns(examined: Examined) -> list[tuple[Table, str]]:
    columns = [(examined.events, "timestamp")] if examined.schema.timed else []
    for side in ("users", "items"):
        columns += [(examined.table(side), name) for name in examined.features(side, FeatureKind.TIMESTAMP)]
    return columns


def _unit(examined: Examined) -> Outcome:
    found, places = [], []
    for table, column in _time_columns(examined):
        values = table.frame[column]
        large = (values.abs() > _LARGEST_SECONDS).fill_null(False)
        if large.any():
            typical = float(values.filter(large).cast(pl.Float64).abs().median() or 0.0)  # type: ignore[arg-type]
            unit = next(name for limit, name in _UNITS if typical <= limit)
            found.append(f"{table.name}.{column}: {share(int(large.sum()), len(values))} look like {unit}")
            places.append(table.place(column, large))
    return failed("; ".join(found), places) if found else passed("every time is a plausible count of seconds")


def _zones(examined: Examined) -> Outcome:
    mixed = examined.findings(FindingKind.TIME_ZONES)
    if not mixed:
        return passed("times name one zone, or are numbers")
    found, places = "; ".join(f"{f.place}: {f.message}" for f in mixed), [f.place for f in mixed]
    some_without = any("none: " in f.message for f in mixed)
    return failed(f"{found}; those without a zone were read as UTC", places) if some_without else warned(found, places)


def _future(examined: Examined) -> Outcome:
    times = examined.events.frame["timestamp"]
    ahead = ((times > examined.now + _CLOCK_SKEW) & (times <= _LARGEST_SECONDS)).fill_null(False)
    count = int(ahead.sum())
    if not count:
        return passed("no event lies in the future")
    found = f"{share(count, len(times))} events lie in the future (now is {_day(examined.now)})"
    places = [examined.events.place("timestamp", ahead)]
    return failed(found, places) if count > FEW * len(times) else warned(found, places)


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _past(examined: Examined) -> Outcome:
    times = examined.events.frame["timestamp"]
    old = (times < _PAST).fill_null(False)
    count = int(old.sum())
    if not count:
        return passed(f"no event is older than {_day(_PAST)}")
    found = f"{share(count, len(times))} events are older than {_day(_PAST)}"
    places = [examined.events.place("timestamp", old)]
    return failed(found, places) if count > MANY * len(times) else warned(found, places)


def _order(examined: Examined) -> Outcome:
    """Users with several events all at one moment."""
    frame = examined.events.frame.select("user_id", "timestamp").drop_nulls()
    users = frame.group_by("user_id").agg(pl.len().alias("n"), pl.col("timestamp").n_unique().alias("moments"))
    several = users.filter(pl.col("n") > 1)
    unordered = several.filter(pl.col("moments") == 1)
    found = f"{share(len(unordered), len(several))} users with several events have them all at one moment"
    if len(unordered) <= max(1, FEW * len(several)):
        return passed(found)
    mask = examined.events.frame["user_id"].is_in(unordered["user_id"].implode()).fill_null(False)
    return warned(found, [examined.events.place("timestamp", mask)])


def _resolution(examined: Examined) -> Outcome:
    times = examined.events.frame["timestamp"].drop_nulls()
    whole_days = int((times % _DAY == times.head(1).item() % _DAY).sum()) if len(times) else 0
    if len(times) > 1 and whole_days == len(times) and times.n_unique() > 1:
        return warned("times are whole days: what a user did on one day has no order")
    return passed("times are finer than days")


def _span(examined: Examined) -> Outcome:
    times = examined.events.frame["timestamp"].drop_nulls()
    times = times.filter((times >= _PAST) & (times <= _LARGEST_SECONDS))
    if times.is_empty():
        return warned("no event has a plausible time")
    first, last = int(times.min()), int(times.max())  # type: ignore[arg-type]  # integers
    found = f"events from {_day(first)} to {_day(last)}, {(last - first) / _DAY:.1f} days"
    return warned(found) if last - first < _SHORT_DAYS * _DAY else passed(found)


def _births(examined: Examined) -> Outcome:
    published = examined.schema.published
    if published is None or published not in examined.items.frame.columns:
        return passed("no feature says when items appeared")
    born = examined.items.frame.select("item_id", pl.col(published).alias("born")).drop_nulls()
    events = examined.events.frame.select("item_id", "timestamp")
    joined = events.join(born.unique("item_id"), on="item_id", how="left", maintain_order="left")
    early = (joined["timestamp"] < joined["born"] - _CLOCK_SKEW).fill_null(False)
    count = int(early.sum())
    if count <= FEW * len(events):
        return passed(f"{share(count, len(events))} events are older than their item")
    place: Place = examined.events.place("timestamp", early)
    return warned(f"{share(count, len(events))} events are older than their item ({published})", [place])


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
