"""Checks of events: enough of them, none twice, types that weigh something, nobody who drowns the rest.

`doctor` runs them.
"""

from __future__ import annotations

from math import isfinite
from typing import Final

import polars as pl

from contracts.schema import DEFAULT_EVENT_TYPE
from data_sources.checks import FEW, MANY, Check, Examined, Needs, Outcome, failed, listed, passed, share, warned
from data_sources.event_log import Sought
from data_sources.findings import FindingKind
from data_sources.reading import ID_OF
from data_sources.repeats import Repeated

_FEWEST_EVENTS: Final = 10
_COMFORTABLE_EVENTS: Final = 1_000
"""Under the first nothing can be held out; under the second no metric tells two models apart."""

_WARM: Final = 5
"""Events from which a user or an item is warm: the default threshold of routing."""
_WARM_SHARE: Final = 0.1

_USER_SHARE: Final = 0.05
_ITEM_SHARE: Final = 0.2
_TIMES_EVEN: Final = 10
"""Absurd is a share over these that is also this many times the even one (in a tiny set everybody's share is large)."""


def _enough(examined: Examined) -> Outcome:
    events, users, items = examined.events.rows, len(examined.per("users")), len(examined.per("items"))
    found = f"{events:,} events of {users:,} users on {items:,} items"
    if events < _FEWEST_EVENTS or users < 2 or items < 2:
        return failed(f"only {found}")
    return warned(f"only {found}") if events < _COMFORTABLE_EVENTS else passed(found)


def _warm(examined: Examined, side: str) -> Outcome:
    counts = examined.per(side)["n"]
    warm = int((counts >= _WARM).sum())
    found = f"{share(warm, len(counts))} {side} with events have at least {_WARM}"
    return warned(found) if warm < _WARM_SHARE * len(counts) else passed(found)


def _users_warm(examined: Examined) -> Outcome:
    return _warm(examined, "users")


def _items_warm(examined: Examined) -> Outcome:
    return _warm(examined, "items")


def _duplicated(examined: Examined) -> Outcome:
    repeated, events = examined.figures.duplicates, examined.events.rows
    if not repeated.count:
        return passed("no event is there twice")
    found = f"{share(repeated.count, events)} events repeat an earlier one exactly"
    return warned(found, [_first_of(repeated, "user_id")])


def _event_ids(examined: Examined) -> Outcome:
    repeated, events = examined.figures.event_ids, examined.events.rows
    if repeated is None:
        return passed("there is no column event_id")
    if not repeated.count:
        return passed("every event_id is there once")
    found = f"{share(repeated.count, events)} events carry the event_id of an earlier one"
    places = [_first_of(repeated, "event_id")]
    return failed(found, places) if repeated.count > FEW * events else warned(found, places)


def _first_of(repeated: Repeated, shows: str) -> Sought:
    return Sought(shows, pl.col("row").is_in(repeated.first), repeated.count)


def _types(examined: Examined) -> Outcome:
    weights, present = examined.schema.event_weights, examined.figures.types
    listed_types = ", ".join(f"{kind}: {n:,}" for kind, n in present.head(10).iter_rows())
    if not weights.types:
        return passed(f"all types weigh {weights.default} ({listed_types})")
    unweighed = present.filter(~pl.col("id").is_in(list(weights.types)))
    if unweighed.is_empty():
        return passed(f"every type has a weight ({listed_types})")
    names = listed(unweighed["id"].to_list())
    found = f"{len(unweighed)} types have no weight of their own and count {weights.default} ({names})"
    where = pl.col("event_type").fill_null(DEFAULT_EVENT_TYPE).is_in(unweighed["id"].implode())
    return warned(found, [Sought("event_type", where, int(unweighed["n"].sum()))])


def _weights(examined: Examined) -> Outcome:
    weights = examined.schema.event_weights
    present = set(examined.figures.types["id"].to_list())
    weighed = {**weights.types, "default": weights.default}
    absurd = [f"{kind} = {weight}" for kind, weight in weighed.items() if not isfinite(weight)]
    if absurd:
        return failed(f"weights must be finite numbers: {', '.join(absurd)}")
    if not any(weights.of(kind) > 0 for kind in present):
        return failed("no event that is there says that somebody liked something")
    if weights.default < 0:
        return failed(f"every type without a weight of its own would count as a dislike (default = {weights.default})")
    absent = sorted(kind for kind in set(weights.types) - present if weights.of(kind) >= 0)  # dislikes may come live
    if absent:
        return warned(f"types with a weight that no event has: {listed(absent)}")
    return passed("the weights fit the event types")


def _share_of_one(examined: Examined, side: str, limit: float) -> Outcome:
    counts, total = examined.per(side), examined.events.rows
    busiest = counts.filter(pl.col("n") == pl.col("n").max()).sort("id").head(1)
    most = int(busiest["n"].item())
    found = f"the busiest of {len(counts):,} {side} has {share(most, total)} events"
    if most <= max(limit, _TIMES_EVEN / len(counts)) * total:
        return passed(found)
    places = examined.places(side, busiest["id"])
    return failed(found, places) if most > MANY * total else warned(found, places)


def _user_share(examined: Examined) -> Outcome:
    return _share_of_one(examined, "users", _USER_SHARE)


def _item_share(examined: Examined) -> Outcome:
    return _share_of_one(examined, "items", _ITEM_SHARE)


def _repeats(examined: Examined) -> Outcome:
    repeats, events = examined.figures.returns.count, examined.events.rows
    found = f"{share(repeats, events)} events return to an item that the user already had"
    return warned(found) if repeats > MANY * events else passed(found)


def _split_values(examined: Examined) -> Outcome:
    odd = examined.findings(FindingKind.SPLIT_VALUE)
    odd += [f for f in examined.findings(FindingKind.MISSING_VALUE) if f.place.column == "split"]
    if odd:
        return failed("; ".join(f.message for f in odd), [f.place for f in odd])
    counts = dict(examined.figures.splits.iter_rows())
    if set(counts) != {"train", "test"}:
        return failed(f"both train and test must occur, found {listed(list(counts))}")
    return passed(f"{counts['train']:,} events to train on, {counts['test']:,} to test")


def _split_sides(examined: Examined) -> Outcome:
    found = []
    for side, column in ID_OF.items():
        test = examined.per(side).filter(pl.col("test") > 0)
        unseen = int((test["train"] == 0).sum())
        if unseen > FEW * len(test):
            found.append(f"{share(unseen, len(test))} of the {column}s in test are not in train")
    return warned("; ".join(found)) if found else passed("test holds users and items that train knows")


CHECKS: Final = (
    Check(
        "events-enough",
        "A model learned from a handful of events is a guess, and nothing can be held out to see how good it is.",
        "Collect more events, or try things out on `tandem generate` until then.",
        _enough,
        (Needs.EVENTS,),
    ),
    Check(
        "users-warm",
        "Where nearly all users have under five events, most answers come from popularity, not from the model.",
        "Collect a longer window, or more kinds of events (views beside purchases).",
        _users_warm,
        (Needs.EVENTS,),
    ),
    Check(
        "items-warm",
        "Items with under five events are found through their content only.",
        "Collect a longer window; give items attributes and text.",
        _items_warm,
        (Needs.EVENTS,),
    ),
    Check(
        "events-duplicated",
        "An event that is there twice counts twice: popularity and confidence grow without a reason.",
        "Remove exact repeats; a log that is delivered at least once needs an event_id.",
        _duplicated,
        (Needs.EVENTS,),
    ),
    Check(
        "event-ids-unique",
        "An event_id names one event: a repeat was delivered or loaded twice.",
        "Keep the first event of each event_id.",
        _event_ids,
        (Needs.EVENTS,),
    ),
    Check(
        "event-types",
        "A type without a weight counts like any other: a purchase as much as a glance.",
        "Give each type a weight under [event_weights.types], or correct its spelling.",
        _types,
        (Needs.EVENTS,),
    ),
    Check(
        "event-weights",
        "A negative weight is a dislike, so the default cannot be; a type that never comes is a misspelling.",
        "Correct [event_weights] in schema.toml.",
        _weights,
        (Needs.EVENTS,),
    ),
    Check(
        "user-share",
        "One account with a large part of all events is a robot, a test or a shared login; it bends every vector.",
        "Remove it, or cap its events.",
        _user_share,
        (Needs.EVENTS,),
    ),
    Check(
        "item-share",
        "One item with a large part of all events is a default or a tracking error; all would be recommended it.",
        "Remove it if nobody chose it.",
        _item_share,
        (Needs.EVENTS,),
    ),
    Check(
        "events-repeated",
        "What a user already had is not recommended again, so such events cannot be won by any model.",
        "If returning is the point (music, groceries), keep them; if they are reloads of a page, count a visit once.",
        _repeats,
        (Needs.EVENTS,),
    ),
    Check(
        "split-values",
        "With given_split every event belongs to train or to test; anything else would be lost or leak.",
        "Write train or test in every row.",
        _split_values,
        (Needs.EVENTS, Needs.SPLIT),
    ),
    Check(
        "split-sides",
        "Users and items that only test knows are cold there: the figures mix two questions.",
        "Read the cold rows of the evaluation apart, or split again.",
        _split_sides,
        (Needs.EVENTS, Needs.SPLIT),
    ),
)
