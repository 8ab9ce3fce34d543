"""Runs put together: what is trained, judged and kept, and what a home looks like after one that failed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import isnan, nan
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from contracts.errors import DatasetError, JobFailed
from experiments.analysis.event_files import read_events
from experiments.analysis.exposures import read_exposures
from local_mode.simulation import pool, simulate
from local_mode.simulation.arms import ARMS, CONTROL
from local_mode.simulation.pooling import pooled
from local_mode.simulation.results import ArmEffect, Simulation
from local_mode.simulation.settings import SimulationSettings
from local_mode.simulation.simulate import FOLDER, RESULT, Plan
from local_mode.simulation.simulate import simulate as run_simulation
from local_mode.simulation.variety import Shown, coverage_of
from tests.local_mode.simulation_jobs import OnTheSpot

WORLD = SimulationSettings(users=80, items=60, warm_days=14, days=5, new_items_per_day=0.5)
"""Too short for retention, and for a second night."""


@contextmanager
def on_the_spot() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(simulate, "Jobs", OnTheSpot)
        patched.setattr(os, "fsync", lambda _file: None)
        yield


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Simulation, Path]:
    home = tmp_path_factory.mktemp("simulated")
    with on_the_spot():
        return run_simulation(Plan(world=WORLD, runs=2, doses=(0.0, 1.0)), home), home


def test_every_run_has_its_own_seed_and_every_effect_its_truth(simulated: tuple[Simulation, Path]) -> None:
    simulation, _ = simulated
    assert [(run.run, run.seed, len(run.releases)) for run in simulation.runs] == [(1, 7, 1), (2, 8, 1)]
    assert simulation.runs[0].arms != simulation.runs[1].arms
    for run in simulation.runs:
        assert [arm.arm for arm in run.arms] == simulation.arms == list(ARMS)
        assert {(one.metric, one.arm) for one in run.effects} == {
            (metric, arm)
            for metric in ("clicks", "sessions", "retention", "coverage", "diversity")
            for arm in ARMS
            if arm != CONTROL
        }
        for one in run.effects:
            assert (one.true_effect is not None and isnan(one.true_effect)) == (one.metric == "retention")


def test_the_dose_has_a_point_for_every_alpha(simulated: tuple[Simulation, Path]) -> None:
    simulation, _ = simulated
    assert [(point.alpha, point.arm) for point in simulation.dose] == [
        (0, "two_tower_reranked"),
        (0, "oracle"),
        (1, "two_tower_reranked"),
        (1, "oracle"),
    ]
    assert simulation.off_policy
    assert simulation.verdict


def test_what_is_kept_is_what_was_judged(simulated: tuple[Simulation, Path]) -> None:
    simulation, home = simulated
    kept = msgspec.json.decode((home / FOLDER / RESULT).read_bytes())
    assert kept["pooled"][0]["estimate"] == simulation.pooled[0].estimate
    for run in simulation.runs:
        folder = home / FOLDER / f"run-{run.run}"
        exposures = read_exposures(folder / "exposures")
        assert exposures["user_id"].n_unique() == sum(arm.users for arm in run.arms)
        assert len(read_events(folder / "dataset" / "events"))
        nights = msgspec.json.decode((folder / "nights.json").read_bytes())
        assert [night["trained"] for night in nights] == run.releases
    assert sorted(path.name for path in home.iterdir()) == [FOLDER]
    assert not list(home.rglob("home"))


def test_progress_counts_the_days_of_all_lines() -> None:
    assert Plan(world=WORLD, runs=2, doses=(0.0, 1.0), alone=True).days == (2 * (1 + 4 + 4) + 4 + 2) * 5
    assert Plan(world=WORLD, runs=1, doses=()).days == 25


def test_a_run_that_fails_leaves_the_home_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    home = tmp_path / "home"
    with on_the_spot(), pytest.raises(DatasetError):  # nobody came before the first night
        run_simulation(Plan(world=replace(WORLD, warm_days=0), runs=1, doses=()), home)
    assert not home.exists()
    assert not list((tmp_path / "scratch").iterdir())


def test_what_is_no_simulation_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "thesis.txt").write_text("years of work")
    with pytest.raises(DatasetError, match="not overwritten"):
        run_simulation(Plan(world=WORLD), tmp_path)
    assert (tmp_path / FOLDER / "thesis.txt").read_text() == "years of work"


def test_processes_come_to_the_same_figures(simulated: tuple[Simulation, Path], tmp_path: Path) -> None:
    simulation, _ = simulated
    told: list[tuple[int, int]] = []
    plan = Plan(world=WORLD, runs=1, doses=(), processes=2)
    again = run_simulation(plan, tmp_path, lambda done, total, _text: told.append((done, total)))
    for one, other in zip(again.runs[0].effects, simulation.runs[0].effects, strict=True):
        # threads of this process add in another order than the one thread of a process of the pool
        assert numbers(one) == pytest.approx(numbers(other), rel=1e-9, abs=1e-12, nan_ok=True)
    assert again.runs[0].arms == simulation.runs[0].arms
    assert again.off_policy == simulation.off_policy
    assert told[0] == (0, 25)
    assert told[-1] == (25, 25)


def numbers(one: ArmEffect) -> list[float]:
    return [value for value in msgspec.structs.astuple(one) if isinstance(value, float)]


def test_a_process_that_dies_is_a_named_failure() -> None:
    jobs = pool.Jobs(1, lambda _days: None)
    jobs.add(print, os._exit, 1)
    with pytest.raises(JobFailed, match="ended from outside"):
        jobs.finish()


def effect(estimate: float, error: float, true: float | None = None) -> ArmEffect:
    low, high = estimate - 1.96 * error, estimate + 1.96 * error
    return ArmEffect(
        arm="als", metric="clicks", value=10 + estimate, control_value=10, estimate=estimate, low=low, high=high,
        relative=estimate / 10, relative_low=low / 10, relative_high=high / 10, p_adjusted=1.0, true_effect=true,
    )  # fmt: skip


def test_runs_are_weighted_by_their_precision() -> None:
    (one,) = pooled([[effect(1.0, 0.1, 1.1)], [effect(3.0, 0.2, 2.9)]])
    assert one.estimate == pytest.approx((1.0 * 100 + 3.0 * 25) / 125)
    assert one.true_effect == pytest.approx((1.1 * 100 + 2.9 * 25) / 125)
    assert (one.high - one.low) / 2 == pytest.approx(1.96 / 125**0.5, rel=1e-3)
    assert (one.relative, one.value) == pytest.approx((0.14, 11.4))
    assert one.p_adjusted < 1e-9


def test_a_run_without_a_value_counts_for_nothing() -> None:
    (one,) = pooled([[effect(nan, nan)], [effect(3.0, 0.2)]])
    assert (one.estimate, one.true_effect) == (pytest.approx(3.0), None)
    (none,) = pooled([[effect(nan, nan)], [effect(nan, nan)]])
    assert isnan(none.estimate)
    assert isnan(none.p_adjusted)


def test_users_who_are_all_alike_have_no_interval() -> None:
    (one,) = pooled([[effect(0.0, 0.0)], [effect(0.0, 0.0)]])
    assert (one.estimate, one.low, one.high, one.p_adjusted) == (0, 0, 0, 1)


SHOWN = Shown(
    users=np.array([0, 0, 1, 2]),
    slates=np.array([[0, 1], [2, 3], [0, 0], [5, -1]], np.int32),
    n_items=8,
    category=np.array([0, 1, 0, 0, 0, 2, 2, 2]),
)


def test_coverage_is_the_share_of_the_catalogue_in_the_slates() -> None:
    assert SHOWN.coverage(np.array([0]), 4) == 4 / 8
    assert SHOWN.coverage(np.array([1, 2]), 4) == 2 / 8
    assert SHOWN.coverage(np.array([3]), 4) == 0
    everybody = coverage_of(SHOWN, np.array([0, 1, 2]), sample=3, n_users=4, seed=0)
    assert everybody.value == 5 / 8
    assert set(everybody.halves) == {4 / 8, 1 / 8}  # one of the three


def test_diversity_is_the_mean_number_of_categories_in_a_slate() -> None:
    assert SHOWN.diversity(4) == pytest.approx([1.5, 1, 1, nan], nan_ok=True)


def test_a_frame_of_a_simulation_is_read_by_anybody(simulated: tuple[Simulation, Path]) -> None:
    _, home = simulated
    lines = pl.read_ndjson(sorted((home / FOLDER / "run-1" / "exposures").rglob("*.jsonl")))
    assert {"user_id", "timestamp", "experiment_id", "variation_id", "route", "release", "model"} <= set(lines.columns)
    assert set(lines["variation_id"].unique()) == set(ARMS)
