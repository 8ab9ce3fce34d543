"""A user is of the first arm, counted from the first exposure on, and retained in days 28 to 34 or not known yet."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from contracts.errors import ExposuresInvalid
from experiments.analysis.user_metrics import Intake, user_table

DAY = 86_400
START = 20_000 * DAY
"""A midnight."""


def exposures(*rows: tuple[str, float, str]) -> pl.DataFrame:
    """(user, day, variation)"""
    return pl.DataFrame(
        [(user, START + int(day * DAY), "e", arm) for user, day, arm in rows],
        schema=["user_id", "timestamp", "experiment_id", "variation_id"],
        orient="row",
    )


def events(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """(user, day, session or None, value or None, type)"""
    filled = [(user, START + int(day * DAY), *rest, *(None, None, "click")[len(rest) :]) for user, day, *rest in rows]
    schema = {"user_id": pl.String, "timestamp": pl.Int64, "session_id": pl.String, "value": pl.Float64}
    return pl.DataFrame(filled, schema=schema | {"event_type": pl.String}, orient="row")


def of(table: pl.DataFrame, user: str) -> dict[str, Any]:
    (found,) = table.filter(pl.col("user_id") == user).to_dicts()
    return found


def test_only_what_comes_after_the_first_exposure_counts() -> None:
    shown = exposures(("u", 1.5, "a"), ("u", 3, "a"), ("v", 1, "b"))
    did = events(("u", 1.4), ("u", 1.5, "s", 2.0), ("u", 1.6, "s", 3.0), ("u", 2.1), ("u", 2.9), ("stranger", 2))
    intake = Intake()
    table = user_table(shown, did, intake=intake)
    found = of(table, "u")
    assert (found["clicks"], found["value"]) == (4, 5.0)
    assert found["sessions"] == 3  # s, day 2 without an id, and day 3, when nothing was found
    assert found["active_days"] == 3
    assert found["first_exposure"] == START + int(1.5 * DAY)
    assert (of(table, "v")["clicks"], of(table, "v")["sessions"]) == (0, 1)
    assert (intake.users, intake.events, intake.events_of_others) == (2, 5, 1)


def test_event_types_choose_what_a_click_is_but_not_who_was_there() -> None:
    did = events(("u", 1, None, 2.0, "view"), ("u", 2, None, 3.0, "purchase"))
    found = of(user_table(exposures(("u", 0, "a")), did, event_types=["purchase"]), "u")
    assert (found["clicks"], found["value"], found["active_days"]) == (1, 3.0, 3)
    with pytest.raises(ExposuresInvalid, match="no event is of type 'buy'; there are purchase, view"):
        user_table(exposures(("u", 0, "a")), did, event_types=["buy"])


@pytest.mark.parametrize(("active", "retained"), [(27.9, False), (28, True), (34.9, True), (35, False), (0.5, False)])
def test_retention_is_days_28_to_34_by_days_of_utc(active: float, retained: bool) -> None:
    shown = exposures(("u", 0.6, "a"), ("late", 1, "a"))
    table = user_table(shown, events(("u", active)), until=START + 35 * DAY)
    assert of(table, "u")["retained"] is retained
    assert of(table, "late")["retained"] is None  # day 35 is not over
    later = user_table(exposures(("u", 0.6, "a"), ("u", active, "a")), events().clear(), until=START + 35 * DAY)
    assert of(later, "u")["retained"] is retained  # an exposure is activity, too


def test_without_an_end_the_last_day_is_not_whole() -> None:
    shown = exposures(("u", 0, "a"), ("v", 0, "b"))
    assert of(user_table(shown, events(("u", 34.9))), "u")["retained"] is None
    assert of(user_table(shown, events(("u", 34.9), ("v", 35.1))), "u")["retained"] is True


def test_users_in_two_variations_are_in_none() -> None:
    shown = exposures(("u", 0, "a"), ("m", 1, "b"), ("m", 2, "a"))
    intake = Intake()
    table = user_table(shown, events(("m", 3)), intake=intake)
    assert table["user_id"].to_list() == ["u"]
    assert (intake.users_in_two, intake.events_of_others) == (1, 1)
    (said,) = intake.notices
    assert said.code == "users-in-two-variations"
    assert "1 users (50.00%)" in said.message
    assert said.loud
    quiet = Intake()
    user_table(
        exposures(*((f"u{n}", 0, "a") for n in range(200)), ("m", 1, "b"), ("m", 2, "a")), events(), intake=quiet
    )
    assert not quiet.notices[0].loud


@pytest.mark.parametrize(("reach", "days"), [(40, 28), (28, 28), (10.5, 10), (6.9, 0)])
def test_what_was_before_is_counted_over_the_same_days_for_all(reach: float, days: int) -> None:
    shown = exposures(("u", 0, "a"), ("v", 5, "b"))
    did = events(("u", -reach), ("u", -5, None, 2.0), ("u", 0), ("v", -5), ("v", 4, None, 1.0))
    intake = Intake()
    table = user_table(shown, did, intake=intake)
    assert intake.before_days == days
    if not days:
        assert "clicks_before" not in table.columns
        return
    assert of(table, "u")["clicks_before"] == (2 if reach in (28, 10.5) and reach <= days else 1)
    assert (of(table, "v")["clicks_before"], of(table, "v")["value_before"]) == (2 if days >= 10 else 1, 1.0)


def test_the_experiment_must_be_clear() -> None:
    two = pl.concat([exposures(("u", 0, "a")), exposures(("u", 0, "x")).with_columns(experiment_id=pl.lit("f"))])
    with pytest.raises(ExposuresInvalid, match="several experiments: e, f"):
        user_table(two, events())
    with pytest.raises(ExposuresInvalid, match="exposed to 'g'; the experiments are e, f"):
        user_table(two, events(), "g")
    assert user_table(two, events(), "f")["variation_id"].to_list() == ["x"]
