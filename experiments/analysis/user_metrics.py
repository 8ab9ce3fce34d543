"""One row a user of one experiment: what they did after their first exposure, came back or not, and did before it.

Intention to treat: a user is of the variation of the first exposure, whatever served them afterwards and however. Users
who were seen in two variations belong to neither: they are left out and counted, because a split that moves users is
broken in a way that no statistic mends. It knows nothing of statistics; `effects.py` takes the frame. The report and
the simulation call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from contracts.errors import ExposuresInvalid
from experiments.analysis.exposures import DAY_SECONDS
from experiments.analysis.notices import Notice, notice

RETENTION_DAYS: Final = (28, 34)
"""A user is retained who is active on one of these days after the first exposure (day 0), by days of UTC."""
LONGEST_BEFORE_DAYS: Final = 28
"""What users did before is counted over so many days (four whole weeks) …"""
SHORTEST_BEFORE_DAYS: Final = 7
"""… or as many as the log reaches back before anybody's first exposure, but of less than a week it says little."""
MIXED_ALARM: Final = 0.01
"""Above this share of users in two variations the split itself is in doubt."""

COUNTED: Final = ("clicks", "sessions", "active_days", "value")


@dataclass
class Intake:
    """What a table was made of, and what was left out of it."""

    users: int = 0
    """In one variation: the rows of the table."""
    users_in_two: int = 0
    events: int = 0
    """Of the users of the table, before and after."""
    events_of_others: int = 0
    """Of users who are in no variation, or in two."""
    before_days: int = 0
    """Over which the columns *_before count; 0: there are none."""
    notices: list[Notice] = field(default_factory=list)


def user_table(
    exposures: pl.DataFrame,
    events: pl.DataFrame,
    experiment: str | None = None,
    *,
    event_types: Sequence[str] = (),
    until: int | None = None,
    intake: Intake | None = None,
) -> pl.DataFrame:
    """user_id, variation_id, first_exposure, COUNTED, retained, and COUNTED with `_before` where the log reaches back.

    `exposures` and `events` as their readers give them. `event_types`: which events are clicks and have values; none
    named: all. `until`: Unix seconds up to which the logs are whole; None: the last day that there is something of is
    not. `retained` is null where day 34 is not whole. Raises ExposuresInvalid where the experiment is not in the log.
    """
    intake = intake if intake is not None else Intake()
    exposed = exposures.filter(pl.col("experiment_id") == only_experiment(exposures, experiment))
    users = _assigned(exposed, intake)
    theirs = events.join(users.select("user_id", "first_exposure"), on="user_id", how="inner")
    intake.events, intake.events_of_others = len(theirs), len(events) - len(theirs)
    _check_types(events, event_types)
    counts = pl.col("event_type").is_in(event_types) if event_types else pl.lit(value=True)
    theirs = theirs.with_columns(counts.alias("counts"))
    seen = exposed.select("user_id", "timestamp").join(users.select("user_id", "first_exposure"), on="user_id")
    last = pl.concat([exposed["timestamp"], theirs["timestamp"]]).to_numpy().max() if until is None else until
    after = _counted(theirs.filter(pl.col("timestamp") >= pl.col("first_exposure")), seen)
    table = users.join(after, on="user_id", how="left").join(_retained(users, theirs, seen, int(last)), on="user_id")
    table = table.join(_before(theirs, users, intake), on="user_id", how="left")
    filled = [name for name in table.columns if name.removesuffix("_before") in COUNTED]
    return table.with_columns(pl.col(filled).fill_null(0)).sort("user_id")


def only_experiment(exposures: pl.DataFrame, experiment: str | None) -> str:
    """The key of the experiment that is meant. Raises ExposuresInvalid where that is none, or not clear."""
    there = sorted(exposures["experiment_id"].unique())
    listed = ", ".join(there) or "none"
    if experiment is None and len(there) == 1:
        return str(there[0])
    if experiment is None:
        raise ExposuresInvalid(f"there are several experiments: {listed}.", fix="Name one of them (--experiment).")
    if experiment not in there:
        raise ExposuresInvalid(f"nobody was exposed to {experiment!r}; the experiments are {listed}.")
    return experiment


def _assigned(exposed: pl.DataFrame, intake: Intake) -> pl.DataFrame:
    """[users of one variation] user_id, variation_id, first_exposure."""
    users = exposed.group_by("user_id").agg(
        pl.col("variation_id").first(),
        pl.col("timestamp").min().alias("first_exposure"),
        pl.col("variation_id").n_unique().alias("variations"),
    )
    one = users.filter(pl.col("variations") == 1).drop("variations")
    intake.users, intake.users_in_two = len(one), len(users) - len(one)
    if intake.users_in_two:
        share = intake.users_in_two / len(users)
        said = f"{intake.users_in_two} users ({share:.2%}) were seen in two variations and are left out"
        doubt = "; with so many the split itself is in doubt" if share > MIXED_ALARM else ""
        notice(intake.notices, "users-in-two-variations", f"{said}{doubt}.", loud=share > MIXED_ALARM)
    return one


def _check_types(events: pl.DataFrame, event_types: Sequence[str]) -> None:
    there = sorted(events["event_type"].drop_nulls().unique()) if event_types else []
    for name in event_types:
        if name not in there:
            raise ExposuresInvalid(
                f"no event is of type {name!r}; there are {', '.join(there) or 'none'}.", fix="Name others (--clicks)."
            )


def _day(column: str) -> pl.Expr:
    return pl.col(column) // DAY_SECONDS


def _counted(events: pl.DataFrame, seen: pl.DataFrame | None) -> pl.DataFrame:
    """[users who did something] user_id and COUNTED.

    A session is what a `session_id` says, or a day without one; a day with an exposure and no event is a session, too:
    somebody came, and found nothing.
    """
    days = events.select("user_id", _day("timestamp").alias("day"), "session_id")
    visits = days.with_columns(pl.coalesce("session_id", pl.col("day").cast(pl.String)).alias("visit"))
    if seen is not None:
        shown = seen.select("user_id", _day("timestamp").alias("day")).unique()
        shown = shown.join(days, on=["user_id", "day"], how="anti")
        visits = pl.concat([visits, shown.with_columns(pl.col("day").cast(pl.String).alias("visit"))], how="diagonal")
    came = visits.group_by("user_id").agg(
        pl.col("visit").n_unique().alias("sessions"), pl.col("day").n_unique().alias("active_days")
    )
    did = events.group_by("user_id").agg(
        pl.col("counts").sum().alias("clicks"), pl.col("value").filter(pl.col("counts")).sum().alias("value")
    )
    return came.join(did, on="user_id", how="left").select("user_id", *COUNTED)


def _retained(users: pl.DataFrame, events: pl.DataFrame, seen: pl.DataFrame, until: int) -> pl.DataFrame:
    """user_id and whether they were active in RETENTION_DAYS; null where those days are not over."""
    since = _day("timestamp") - _day("first_exposure")
    columns = ["user_id", "timestamp", "first_exposure"]
    active = pl.concat([events.select(columns), seen.select(columns)]).filter(since.is_between(*RETENTION_DAYS))
    whole = _day("first_exposure") + RETENTION_DAYS[1] < until // DAY_SECONDS
    came = pl.col("user_id").is_in(active["user_id"].unique().implode())
    return users.select("user_id", pl.when(whole).then(came).alias("retained"))


def _before(events: pl.DataFrame, users: pl.DataFrame, intake: Intake) -> pl.DataFrame:
    """user_id and COUNTED with `_before`, over the same number of days for everybody."""
    nobody = users.select("user_id").clear()
    if not len(events) or not len(users):
        return nobody
    reach = int(users["first_exposure"].to_numpy().min() - events["timestamp"].to_numpy().min()) // DAY_SECONDS
    days = min(reach, LONGEST_BEFORE_DAYS)
    if days < SHORTEST_BEFORE_DAYS:
        return nobody
    intake.before_days = days
    age = pl.col("first_exposure") - pl.col("timestamp")
    counted = _counted(events.filter(age.is_between(1, days * DAY_SECONDS)), None)
    return counted.rename({name: f"{name}_before" for name in COUNTED})
