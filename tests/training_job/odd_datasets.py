"""Data sets as people bring them on a bad day, each odd in one way, as tables: for the tests of training on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
import polars as pl

from contracts.schema import DatasetSchema, EventWeights, FeatureKind, TimeMeaning
from data_sources.dataset import Dataset

START: Final = 1_700_000_000
"""Unix seconds of the first event."""
FAR_FUTURE: Final = 32_503_680_000
"""The year 3000: a clock that was never set."""
USERS, ITEMS, TASTES, PER_USER = 60, 40, 4, 8
"""The ordinary events that most odd sets are made around: a user takes items of one taste of four."""

Make = Callable[[TimeMeaning], Dataset]
Ints = np.ndarray[Any, np.dtype[np.int64]]


def dataset(
    events: tuple[Any, Any],
    time: TimeMeaning,
    *,
    times: Any = None,
    types: Any = "view",
    catalogue: Mapping[str, Any] | None = None,
    people: Mapping[str, Any] | None = None,
    **schema: Any,
) -> Dataset:
    """Events of (user numbers, item numbers), a minute apart; `catalogue` and `people` are features of all."""
    users, items = (np.asarray(numbers, np.int64) for numbers in events)
    table = {
        "user_id": _ids("u", users),
        "item_id": _ids("i", items),
        "event_type": pl.repeat(types, len(users), eager=True) if isinstance(types, str) else pl.Series(types),
        "timestamp": np.asarray(START + np.arange(len(users)) * 60 if times is None else times, np.int64),
    }
    return Dataset(
        DatasetSchema(time=time, **schema),
        pl.DataFrame(table),
        _features("user_id", "u", people or {}),
        _features("item_id", "i", catalogue or {}),
    )


def _ids(letter: str, numbers: Ints) -> pl.Series:
    return letter + pl.Series(numbers).cast(pl.String).str.zfill(6)


def _features(key: str, letter: str, columns: Mapping[str, Any]) -> pl.DataFrame:
    size = max(map(len, columns.values()), default=0)
    return pl.DataFrame({key: _ids(letter, np.arange(size)), **columns})


def ordinary() -> tuple[Ints, Ints]:
    """Users and items of events with tastes, in the order in which they happened."""
    random = np.random.default_rng(0)
    users = random.permutation(np.repeat(np.arange(USERS), PER_USER))
    return users, random.integers(0, ITEMS // TASTES, len(users)) * TASTES + users % TASTES


def three_times(events: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """Events of a log that was delivered three times."""
    return np.tile(events[0], 3), np.tile(events[1], 3)


def after(*parts: tuple[Any, Any]) -> tuple[Ints, Ints]:
    """Some events after others."""
    users, items = zip(*parts, strict=True)
    return np.concatenate(users), np.concatenate(items)


def _equally_popular() -> tuple[Ints, Ints]:
    events = USERS * PER_USER
    return np.arange(events) % USERS, np.random.default_rng(0).permutation(np.arange(events) % ITEMS)


def _featured(time: TimeMeaning, price: Any, age: Any) -> Dataset:
    """One number on each side, and nothing else that says anything."""
    kinds = {"kind": FeatureKind.CATEGORICAL, "price": FeatureKind.NUMERIC}
    return dataset(
        ordinary(),
        time,
        catalogue={"kind": ["one"] * ITEMS, "price": price},
        people={"gender": ["x"] * USERS, "age": age},
        items=kinds,
        users={"gender": FeatureKind.CATEGORICAL, "age": FeatureKind.NUMERIC},
        category="kind",
        segment=("gender",),
    )


def _texts(events: tuple[Any, Any], titles: list[str], time: TimeMeaning) -> Dataset:
    return dataset(events, time, catalogue={"title": titles}, items={"title": FeatureKind.TEXT}, title="title")


def _untouched(kinds: list[str | None], time: TimeMeaning) -> Dataset:
    return dataset(ordinary(), time, catalogue={"kind": kinds}, items={"kind": FeatureKind.CATEGORICAL})


def weighing(time: TimeMeaning, weight: float, first: float | None = None) -> Dataset:
    """All events weigh `weight`; but the first, where that is given."""
    events = ordinary()
    types = ["first"] + ["other"] * (len(events[0]) - 1)
    weights = EventWeights(types={"first": weight if first is None else first, "other": weight})
    return dataset(events, time, types=types, event_weights=weights)


_N = USERS * PER_USER
_ROBOT = np.zeros(20_000, np.int64), np.arange(20_000) % 3_000
_FEW = np.repeat(np.arange(1, 7), 2), np.arange(12)
_SELDOM = np.arange(480) % USERS, np.arange(480)
_HUGE = [1e308, -1e308, 1e-308, float("inf"), float("-inf"), float("nan"), 0.0, 1.0]

SERVED: Final[dict[str, Make]] = {
    "two users, two items": partial(dataset, ([0, 1, 0, 1], [0, 1, 1, 0])),
    "two users, two items, again": partial(dataset, ([0, 1] * 20, [0, 1, 1, 0] * 10)),
    "all items equally popular": partial(dataset, _equally_popular()),
    "one user has almost all, first": partial(dataset, after(_ROBOT, _FEW)),
    "one user has almost all, last": partial(dataset, after(_FEW, _ROBOT)),
    "100,000 repeats by one user": partial(dataset, after(ordinary(), (np.zeros(100_000), np.zeros(100_000)))),
    "every event three times": partial(dataset, three_times(ordinary()), times=np.tile(START + np.arange(_N), 3)),
    "ids only": partial(dataset, ordinary()),
    "texts only, each item once": partial(
        _texts, _SELDOM, [f"word{number % USERS % TASTES} thing" for number in range(len(_SELDOM[0]))]
    ),
    "texts without a common word": partial(_texts, ordinary(), [f"x{number}" for number in range(ITEMS)]),
    "texts without a word": partial(_texts, ordinary(), [""] * ITEMS),
    "features that are the same for all": partial(_featured, price=[1.0] * ITEMS, age=[30.0] * USERS),
    "features with huge values": partial(
        _featured, price=_HUGE * (ITEMS // len(_HUGE)), age=[1.7e308, -1.7e308] * (USERS // 2)
    ),
    "nine items of ten untouched": partial(_untouched, [f"kind{number % TASTES}" for number in range(10 * ITEMS)]),
    "nine items of ten untouched and unknown": partial(_untouched, [None] * (10 * ITEMS)),
    "all times equal": partial(dataset, ordinary(), times=np.full(_N, START)),
    "all times in the far future": partial(dataset, ordinary(), times=FAR_FUTURE + np.arange(_N) * 60),
    "one time in the far future": partial(
        dataset, ordinary(), times=np.append(START + np.arange(_N - 1) * 60, FAR_FUTURE)
    ),
    "all times before 1970": partial(dataset, ordinary(), times=-START + np.arange(_N) * 60),
    "one weight of a million": partial(weighing, weight=1.0, first=1e6),
}
"""Those of which a model is made, whatever time means."""

TIMED_ONLY: Final[dict[str, Make]] = {
    "only newcomers in the slice": partial(dataset, after(ordinary(), (1_000 + np.arange(60), np.arange(60) % ITEMS))),
    "one event each": partial(dataset, (np.arange(30), np.arange(30) % 5)),
    "one item each, again and again": partial(dataset, (np.repeat(np.arange(20), 5), np.repeat(np.arange(20) % 5, 5))),
}
"""Those of which a model is made where time is known: without it nothing can be held out."""

REFUSED: Final[dict[str, tuple[Make, str, str]]] = {
    "one user": (partial(dataset, ([0] * 20, np.arange(20))), "1 users with 20 items", "two users"),
    "one item": (partial(dataset, (np.arange(20), [0] * 20)), "20 users with 1 items", "two items"),
    "one item beside others that nobody took": (
        partial(dataset, (np.arange(20), [0] * 20), catalogue={"n": [1.0] * 9}, items={"n": FeatureKind.NUMERIC}),
        "20 users with 1 items",
        "two items",
    ),
    "no event that weighs anything": (partial(weighing, weight=0.0), "0 of 480 events weigh", "event_weights"),
    "dislikes only": (partial(weighing, weight=-1.0), "0 of 480 events weigh", "event_weights"),
    "weights that are no number": (partial(weighing, weight=float("nan")), "0 of 480 events weigh", "event_weights"),
    "one like among dislikes": (partial(weighing, weight=-1.0, first=1.0), "1 of 480 events weigh", "event_weights"),
}
"""Those that are refused: how they are made, what the message says, what the fix names."""
