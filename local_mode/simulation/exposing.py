"""What a day of a line leaves in the logs: exposures, and clicks as events, as the edge would have written them.

Rows are made here and nowhere else, for the files that an experiment is read from and for the frames of a twin. It does
not know who is in which arm, nor why a slate is as it is; `lines.py` makes the days, `nights.py` and `runs.py` write
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from contracts.profile import HistoryEvent
from contracts.served import Exposure
from local_mode.simulation.arms import EXPERIMENT
from local_mode.simulation.nature import CLICK, Nature

DAY_SECONDS: Final = 86_400

SECONDS_A_PLACE: Final = 20
"""Between two looks: a visit to ten places takes three minutes."""

_EVENTS: Final = {
    "user_id": pl.String,
    "item_id": pl.String,
    "event_type": pl.String,
    "timestamp": pl.Int64,
    "session_id": pl.String,
    "event_id": pl.String,
}
_EXPOSURES: Final = {
    "user_id": pl.String,
    "timestamp": pl.Int64,
    "experiment_id": pl.String,
    "variation_id": pl.String,
}


@dataclass(frozen=True)
class Day:
    """The visits of one day of one line: each user once."""

    day: int
    users: NDArray[np.int64]
    """[a] ascending."""
    slates: NDArray[np.int32]
    """[a, places] item numbers, -1 where there was none."""
    clicks: NDArray[np.bool_]
    """[a, places]"""
    arms: NDArray[np.int8]
    """[a] places in the experiment's list of arms; of no meaning in the warm-up."""
    routes: Sequence[str] = ()
    models: Sequence[str] = ()
    """[a], of the days of the experiment."""
    release: str = ""


def session_id(nature: Nature, user: int, day: int) -> str:
    """Of the one visit of a user on a day."""
    return f"{nature.user_ids[user]}-{day}"


def visit_events(nature: Nature, day: Day) -> list[list[HistoryEvent]]:
    """[a] the clicks of each visit, as a profile has them."""
    ids, began = nature.item_ids, nature.visit_second(day.day, day.users).tolist()
    weight = nature.schema.event_weights.of(CLICK)
    found: list[list[HistoryEvent]] = [[] for _ in began]
    visits, places = np.nonzero(day.clicks)
    items = day.slates[visits, places].tolist()
    for visit, place, item in zip(visits.tolist(), places.tolist(), items, strict=True):
        found[visit].append(HistoryEvent(ids[item], began[visit] + int(_after_begin(place)), weight))
    return found


def event_frame(nature: Nature, day: Day) -> pl.DataFrame:
    """The clicks of a day as rows of the events table."""
    visits, places = np.nonzero(day.clicks)
    users = day.users[visits].tolist()
    sessions = [session_id(nature, user, day.day) for user in users]
    columns = {
        "user_id": [nature.user_ids[user] for user in users],
        "item_id": [nature.item_ids[item] for item in day.slates[visits, places].tolist()],
        "event_type": [CLICK] * len(users),
        "timestamp": nature.visit_second(day.day, day.users)[visits] + _after_begin(places),
        "session_id": sessions,
        "event_id": [f"{session}-{place}" for session, place in zip(sessions, places.tolist(), strict=True)],
    }
    return pl.DataFrame(columns, schema=_EVENTS)


def _after_begin(place: ArrayLike) -> NDArray[np.int64]:
    """Seconds from the begin of a visit to the click at a place."""
    return (np.asarray(place, np.int64) + 1) * SECONDS_A_PLACE


def exposures(nature: Nature, day: Day, arms: Sequence[str]) -> list[Exposure]:
    """[a] one a visit: a user comes once a day."""
    seconds = nature.visit_second(day.day, day.users).tolist()
    rows = zip(day.users.tolist(), seconds, day.arms.tolist(), day.routes, day.models, strict=True)
    return [
        Exposure(
            user_id=nature.user_ids[user],
            timestamp=second,
            experiment_id=EXPERIMENT,
            variation_id=arms[arm],
            route=route,
            release=day.release,
            model=model,
        )
        for user, second, arm, route, model in rows
    ]


def exposure_frame(nature: Nature, day: Day, arms: Sequence[str]) -> pl.DataFrame:
    """The same as `exposures`, as the columns that an analysis needs."""
    columns = {
        "user_id": [nature.user_ids[user] for user in day.users.tolist()],
        "timestamp": nature.visit_second(day.day, day.users),
        "experiment_id": [EXPERIMENT] * len(day.users),
        "variation_id": [arms[arm] for arm in day.arms.tolist()],
    }
    return pl.DataFrame(columns, schema=_EXPOSURES)
