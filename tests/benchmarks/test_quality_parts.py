"""Parts of the quality table from end to end, on worlds of a few hundred users and in this process."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from benchmarks import live_cold_users, live_new_items, quality_days, quality_ranking, quality_sets, quality_speed
from benchmarks.live_cold_users import ALS, AT, BEST_ALS, BEST_SEGMENT, SEGMENT, with_best
from benchmarks.quality import PARTS
from benchmarks.quality_rows import Cost, Options
from data_sources.generator import WorldSettings
from training_job.settings import Effort, TrainingSettings

OPTIONS = Options(
    Path("nowhere"),
    TrainingSettings(effort=Effort.QUICK, threads=1, seed=3),
    folds=1,
    world=WorldSettings(users=250, items=120, events_per_user=40),
)


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    """Processes of their own measure costs, which is not what is tested."""
    for module in (quality_sets, quality_ranking, quality_days, live_cold_users, live_new_items):
        monkeypatch.setattr(module, "alone", lambda work, *given: work(*given))


def check(rows, part):
    """What holds for the rows of every part."""
    assert {(row.part, row.seed) for row in rows} == {(part, 3)}
    assert len({(row.protocol, row.model, row.metric, row.case) for row in rows}) == len(rows), "a figure twice"
    for row in rows:
        assert math.isfinite(row.value)
        assert row.low <= row.value <= row.high
        assert row.metric.endswith("ratio") or 0 <= row.value <= 1
    trained = [row for row in rows if row.model == "two_tower"]
    assert all(row.cpu_seconds > 0 and row.peak_gb > 0 for row in trained)


def by_name(rows):
    return {(row.model, row.metric, row.case): row for row in rows}


def test_a_time_cut_is_judged_beside_als_and_popularity():
    rows = quality_ranking.measure("world", OPTIONS)
    check(rows, "world")
    found = by_name(rows)
    ratio = found["two_tower over als_tuned", "recall@20, ratio", ""]
    towers, als = (found[model, "recall@20", ""] for model in ("two_tower", "als_tuned"))
    assert ratio.value == pytest.approx(towers.value / als.value)
    assert towers.users == als.users == found["popularity", "ndcg@10", ""].users > 30


def test_the_week_after_a_training():
    rows = quality_days.measure("world-days", OPTIONS)
    check(rows, "world-days")
    returning = by_name(row for row in rows if "at the cut" in row.protocol)
    days = [returning["two_tower; live", "ndcg@10", f"day {day}"] for day in range(1, 8)]
    week = returning["two_tower; live", "ndcg@10", "days 1 to 7"]
    assert all(day.users <= week.users for day in days)
    assert {"two_tower, warm start; live", "two_tower, a week older; live", "als_tuned; frozen"} <= {
        model for model, *_ in returning
    }
    ratio = returning["two_tower; live over two_tower; frozen", "ndcg@10, ratio", ""]
    assert ratio.value == pytest.approx(week.value / returning["two_tower; frozen", "ndcg@10", "days 1 to 7"].value)


def test_users_held_out_whole():
    rows = live_cold_users.measure("cold-users", OPTIONS, "world")
    check(rows, "cold-users")
    found = by_name(rows)
    assert {case for model, _, case in found if model == ALS} == {"k = 1", "k = 3", "k = 5", "k = 10"}
    for known in (1, 3, 5, 10):
        case = f"k = {known}"
        assert found[BEST_ALS, "recall@20", case].value >= found[ALS, "recall@20", case].value, (
            "no rule beats hindsight"
        )
    assert found[BEST_SEGMENT, "recall@20", "k = 0"].note in {"gender", "age_group", "gender × age_group"}
    aimed = {row.case for row in rows if row.floor is not None}
    assert aimed == {"k = 0", "k = 1", "k = 3", "k = 5"}


def test_items_held_out():
    rows = live_new_items.measure("new-items", OPTIONS, "world")
    check(rows, "new-items")
    found = by_name(rows)
    assert len([row for row in rows if row.floor is not None]) <= 1
    for model in ("two_tower", "als"):
        with_new, without = (found[model, "recall@20", case] for case in ("old, among all", "old, without the new"))
        assert with_new.value <= without.value, "what competes with more is found less"
        assert with_new.users == without.users


def test_what_the_judged_users_choose_is_the_best_for_them():
    few, many = np.array([0.1, 0.2]), np.array([0.3, 0.2])
    recalls = {
        (AT + "1", 1): many,
        (AT + "10", 1): few,
        (ALS, 1): few,
        (SEGMENT + "gender", 0): few,
        (SEGMENT + "age", 0): many,
    }
    columns, notes = with_best(recalls)
    assert set(columns) == {(ALS, 1), (BEST_ALS, 1), (BEST_SEGMENT, 0)}
    assert columns[BEST_ALS, 1] is columns[BEST_SEGMENT, 0] is many
    assert notes == {(BEST_ALS, 1): "1", (BEST_SEGMENT, 0): "age"}


def test_memory_is_said_by_million(monkeypatch):
    """A training that takes 1 GB, 2 for a million events and 3 for a million items."""

    def trained(_work, world, _settings):
        events = world.users * 25
        return events, Cost(1.0, 1 + 2 * events / 1e6 + 3 * world.items / 1e6)

    monkeypatch.setattr(quality_speed, "alone", trained)
    monkeypatch.setattr(quality_speed, "prepared", lambda _name, options: nullcontext(options.world))
    values = {row.model: row.value for row in quality_speed.measure_memory("memory", OPTIONS)}
    assert values["a million events more"] == pytest.approx(2)
    assert values["a million items more"] == pytest.approx(3)


def test_every_part_of_the_table_names_a_set_that_there_is():
    sources = {part.source for part in PARTS.values() if part.source}
    assert sources <= set(quality_sets.SETS)
    assert [name for name, part in PARTS.items() if len(part.seeds) == 3][:3] == ["gowalla", "ml-1m-last", "ml-1m"]
