"""A tiny experiment from the first day to its figures: nights, logs, twins, and what the analysis makes of files."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from contracts.experiment import NOBODY
from experiments.analysis.effects import effects
from experiments.analysis.event_files import read_events
from experiments.analysis.exposures import read_exposures
from experiments.attributes import attributes_of
from experiments.payload import read_payload
from experiments.running import Running
from local_mode.simulation import runs
from local_mode.simulation.arms import ARMS, CONTROL, DOSE_ARMS, EXPERIMENT, assigned, payload_of
from local_mode.simulation.exposing import DAY_SECONDS, Day
from local_mode.simulation.lines import Line
from local_mode.simulation.measuring import BY_USER, users_of
from local_mode.simulation.nature import Nature, make_nature
from local_mode.simulation.runs import Mixed, alone, mixed, twin
from local_mode.simulation.settings import SimulationSettings
from local_mode.simulation.truth import Values

SETTINGS = SimulationSettings(users=80, items=60, warm_days=14, days=36, retrain_days=18, new_items_per_day=0.5)
"""The smallest world in which retention exists and a second night comes."""


@dataclass
class Tiny:
    """What one run left."""

    nature: Nature
    folder: Path
    days: list[Day]
    """Of the mixed line."""
    mixed: Mixed
    twin_days: dict[str, list[Day]]
    twins: dict[str, Values]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A mixed line with its twins; the days of all are remembered."""
    folder = tmp_path_factory.mktemp("simulation") / "run-1"
    lived: list[Day] = []
    serve = Line.serve

    def remembered(line: Line, *arguments: object) -> Day:
        lived.append(serve(line, *arguments))  # type: ignore[arg-type]
        return lived[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Line, "serve", remembered)
        patched.setattr(os, "fsync", lambda _file: None)  # waiting for the disk is what tests of the stores are about
        done = mixed(SETTINGS, tuple(ARMS), folder)
        days, twin_days, twins = list(lived), {}, {}
        for arm in ARMS:
            lived.clear()
            twins[arm] = twin(SETTINGS, arm, done.kept, done.sample)
            twin_days[arm] = list(lived)
    return Tiny(make_nature(SETTINGS), folder, days, done, twin_days, twins)


def test_nights_come_when_they_are_due_and_serve_from_then_on(tiny: Tiny) -> None:
    nights = tiny.mixed.kept.nights
    assert [night.day for night in nights] == [14, 32]
    served = {day.day: day.release for day in tiny.days}
    assert served == {day: nights[0 if day < 32 else 1].release for day in range(14, 50)}
    assert all(night.release == night.trained or night.blocked for night in nights)


def test_a_night_has_seen_the_log_before_its_day_and_nothing_else(tiny: Tiny) -> None:
    events = pl.concat([pl.read_parquet(path) for path in sorted(tiny.folder.glob("dataset/events/*.parquet"))])
    for night in tiny.mixed.kept.nights:
        items = tiny.mixed.kept.releases.open(night.trained).items
        before = events.filter(pl.col("timestamp") < SETTINGS.start + night.day * DAY_SECONDS)
        logged = dict(before.group_by("item_id").len().iter_rows())
        trained = dict(zip(items.ids.texts(np.arange(len(items))), items.events.tolist(), strict=True))
        assert trained.keys() == set(tiny.nature.item_ids[: tiny.nature.n_born(night.day)])
        assert all(count <= logged.get(item, 0) for item, count in trained.items())
        assert sum(trained.values()) > 0.6 * len(before)  # the rest judges


def test_slates_hold_items_that_are_born_each_once(tiny: Tiny) -> None:
    for day in (*tiny.days, *(day for days in tiny.twin_days.values() for day in days)):
        shown = day.slates[day.slates >= 0]
        assert (tiny.nature.born_day[shown] <= day.day).all()
        assert all(len(set(slate[slate >= 0].tolist())) == (slate >= 0).sum() for slate in day.slates)
        assert (day.slates >= 0).all(axis=1).mean() > 0.9


def test_items_are_served_before_a_night_has_seen_them(tiny: Tiny) -> None:
    shown = {
        int(item)
        for day in tiny.days
        for item in np.unique(day.slates)
        if item >= 0 and 14 < tiny.nature.born_day[item] < 32 and day.day < 32
    }
    assert shown


def test_exposures_are_of_the_arm_that_served_and_of_one_a_user(tiny: Tiny) -> None:
    exposures = read_exposures(tiny.folder / "exposures")
    assert exposures["experiment_id"].unique().to_list() == [EXPERIMENT]
    assert (exposures.group_by("user_id").agg(pl.col("variation_id").n_unique())["variation_id"] == 1).all()
    visits = {(tiny.nature.user_ids[user], day.day) for day in tiny.days for user in day.users.tolist()}
    logged = exposures.with_columns(day=(pl.col("timestamp") - SETTINGS.start) // DAY_SECONDS)
    assert set(logged.select("user_id", "day").iter_rows()) == visits
    running = Running(read_payload((tiny.folder / runs.PAYLOAD).read_text()))
    for user_id, arm in exposures.select("user_id", "variation_id").unique().iter_rows():
        (assignment,) = running.assign(attributes_of(user_id, user_id=user_id)).assignments
        assert assignment.variation == arm


def test_events_are_the_clicks(tiny: Tiny) -> None:
    events = read_events(tiny.folder / "dataset" / "events")
    during = events.filter(pl.col("timestamp") >= SETTINGS.start + 14 * DAY_SECONDS)
    assert len(during) == sum(int(day.clicks.sum()) for day in tiny.days)
    assert events["timestamp"].to_numpy().max() < SETTINGS.start + SETTINGS.total_days * DAY_SECONDS


def test_the_estimate_is_what_the_files_say(tiny: Tiny) -> None:
    table = users_of(
        tiny.nature, read_exposures(tiny.folder / "exposures"), read_events(tiny.folder / "dataset" / "events")
    )
    again = {(one.metric, one.arm): one for one in effects(table, BY_USER, CONTROL)}
    found = {(one.metric, one.arm): one for one in tiny.mixed.effects}
    assert set(again) < set(found)
    for key, one in again.items():
        assert (found[key].estimate, found[key].low) == pytest.approx((one.estimate, one.low), nan_ok=True)
    assert {metric for metric, _ in found} == {"clicks", "sessions", "retention", "coverage", "diversity"}
    assert len(found) == 5 * 3


def test_clicks_of_the_control_are_those_of_its_days(tiny: Tiny) -> None:
    exposed = {user for day in tiny.days for user in day.users.tolist()}
    assert sum(one.users for one in tiny.mixed.split) == len(exposed)
    twins = tiny.twin_days[CONTROL]
    clicks = sum(int(day.clicks.sum()) for day in twins)
    assert tiny.twins[CONTROL]["clicks"] == pytest.approx(clicks / len({u for d in twins for u in d.users.tolist()}))


def test_twins_have_the_users_of_the_experiment_first_seen_on_the_same_days(tiny: Tiny) -> None:
    def first_seen(days: list[Day]) -> dict[int, int]:
        return {user: day.day for day in reversed(days) for user in day.users.tolist()}

    expected = first_seen(tiny.days)
    assert len(expected) > 60
    for days in tiny.twin_days.values():
        assert first_seen(days) == expected


def test_a_user_is_served_in_the_mixed_line_as_in_the_twin_of_their_arm(tiny: Tiny) -> None:
    day = tiny.days[0]
    for place, arm in enumerate(ARMS):
        (twin_day,) = (one for one in tiny.twin_days[arm] if one.day == day.day)
        mine = day.arms == place
        assert mine.any()
        assert np.array_equal(day.slates[mine], twin_day.slates[mine])


def test_arms_are_served_differently(tiny: Tiny) -> None:
    slates = {arm: days[0].slates for arm, days in tiny.twin_days.items()}
    for one in ARMS:
        for other in ARMS:
            if one < other:
                assert not np.array_equal(slates[one], slates[other])


def test_without_a_dose_nothing_that_is_shown_brings_anybody_back(tiny: Tiny, tmp_path: Path) -> None:
    still = replace(SETTINGS, alpha=0.0)
    values = [twin(still, arm, tiny.mixed.kept, tiny.mixed.sample) for arm in DOSE_ARMS]
    assert values[0]["retention"] == values[1]["retention"] == values[2]["retention"] > 0
    assert values[0]["sessions"] == values[1]["sessions"] == values[2]["sessions"]
    assert values[0]["clicks"] != values[1]["clicks"] < values[2]["clicks"]
    done = mixed(still, DOSE_ARMS, tmp_path / "dose", tiny.mixed.kept)
    assert done.kept == tiny.mixed.kept
    assert not (tmp_path / "dose" / "home").exists()  # it trained nothing
    assert {one.arm for one in done.effects} == set(DOSE_ARMS[1:])


def test_an_arm_trained_alone_logs_only_itself(tiny: Tiny, tmp_path: Path) -> None:
    values = alone(SETTINGS, CONTROL, tmp_path / "alone", tiny.mixed.sample)
    assert values.keys() == tiny.twins[CONTROL].keys()
    assert not (tmp_path / "alone" / "exposures").exists()


def test_another_seed_splits_otherwise_and_shares_are_equal() -> None:
    ids = [f"u{number:07}" for number in range(2_000)]
    splits = [assigned(ids, payload_of(tuple(ARMS), seed), tuple(ARMS)) for seed in ("1", "2")]
    assert not np.array_equal(*splits)
    for split in splits:
        assert np.bincount(split, minlength=4) == pytest.approx(np.full(4, 500), abs=75)
    assert Running(payload_of(tuple(ARMS), "1")).assign({"id": ""}) == NOBODY
