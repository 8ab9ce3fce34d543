"""Short runs: the best contender goes on, gives way where long training only learned the log by heart, costs little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.interactions import Interactions
from contracts.schema import DatasetSchema, TimeMeaning
from training_job.fit import Training, fit
from training_job.loop import Standing
from training_job.recipe import TEMPERATURE, WARM_TEMPERATURE, derive_recipe
from training_job.settings import Effort, TrainingSettings
from training_job.short_runs import ShortRun, best_of
from training_job.tuned import RecipeChanges

QUICK = TrainingSettings(effort=Effort.QUICK, threads=1)


@pytest.fixture
def sets(clustered):
    return clustered(time=TimeMeaning.NONE)


@pytest.fixture
def scored(monkeypatch):
    """Tuning scores that are made up: of a short run by its temperature, of the long one."""

    def made_up(short, long):
        def tuning_score(self, stepper):
            recipe = stepper.recipe
            value = short[recipe.temperature] if recipe.rounds == 1 else long
            return lambda: np.full(len(self.tuners), value)

        monkeypatch.setattr(Training, "tuning_score", tuning_score)

    return made_up


def _events(users, per_user):
    number = users * per_user
    return Interactions.from_events(
        np.repeat(np.arange(users), per_user),
        np.arange(number) % 1_000,
        np.arange(number),
        np.ones(number),
        users,
        1_000,
    )


def _run(score):
    return lambda recipe: ShortRun(recipe, stepper=None, standing=Standing(kept_score=score[recipe.temperature]))


@pytest.mark.parametrize(("scores", "won"), [((0.2, 0.3), 1), ((0.3, 0.2), 0), ((0.2, 0.2), 0)])
def test_the_best_wins_and_of_equals_the_first(scores, won):
    contenders = derive_recipe(DatasetSchema(time=TimeMeaning.NONE), _events(100, 20), Effort.STANDARD).contenders()
    assert [recipe.temperature for recipe in contenders] == [TEMPERATURE, WARM_TEMPERATURE]
    best, seen = best_of(contenders, _run(dict(zip((TEMPERATURE, WARM_TEMPERATURE), scores, strict=True))))
    assert best.recipe == contenders[won]
    assert list(seen.values()) == list(scores)


def test_the_winner_is_trained_at_length(sets, scored):
    scored(short={TEMPERATURE: 0.1, WARM_TEMPERATURE: 0.2}, long=0.3)
    fitted = fit(sets, sets.interactions, QUICK)
    assert fitted.report["short_runs"] == {"0.12": pytest.approx(0.1), "0.2": pytest.approx(0.2)}
    assert fitted.report["recipe"]["temperature"] == WARM_TEMPERATURE == pytest.approx(1 / fitted.model.tower.sharpness)
    assert fitted.report["recipe"]["epochs"] == 16


def test_a_short_run_that_found_more_is_what_ships(sets, scored):
    scored(short={TEMPERATURE: 0.3, WARM_TEMPERATURE: 0.2}, long=0.1)
    short = fit(sets, sets.interactions, QUICK)
    assert (short.report["recipe"]["epochs"], short.report["recipe"]["temperature"]) == (6, TEMPERATURE)
    scored(short={TEMPERATURE: 0.3, WARM_TEMPERATURE: 0.2}, long=0.4)
    long = fit(sets, sets.interactions, QUICK)
    assert long.report["recipe"]["epochs"] == 16
    assert not np.array_equal(short.model.items.two_tower, long.model.items.two_tower)


def test_the_long_training_is_the_same_with_and_without_them(sets, scored):
    """So that figures of one recipe compare: what short runs draw, the long one does not miss."""
    scored(short={TEMPERATURE: 0.2, WARM_TEMPERATURE: 0.1}, long=0.3)
    with_them = fit(sets, sets.interactions, QUICK)
    without = fit(sets, sets.interactions, QUICK, changes=RecipeChanges({"passes": 1.0}))
    assert without.report["short_runs"] == {}
    assert np.array_equal(with_them.model.items.two_tower, without.model.items.two_tower)


def test_a_warm_start_goes_on_at_its_temperature_and_without_short_runs(sets, scored):
    scored(short={TEMPERATURE: 0.1, WARM_TEMPERATURE: 0.2}, long=0.3)
    first = fit(sets, sets.interactions, QUICK)
    again = fit(sets, sets.interactions, QUICK, warm_start=first.model).report
    assert again["warm_start_items"] > 0
    assert again["short_runs"] == {}
    assert again["recipe"]["temperature"] == pytest.approx(WARM_TEMPERATURE)


def test_where_nothing_can_be_continued_short_runs_decide(clustered, sets):
    other = clustered(time=TimeMeaning.ORDER)
    report = fit(sets, sets.interactions, QUICK, warm_start=fit(other, other.interactions, QUICK).model).report
    assert report["warm_start_items"] == 0
    assert list(report["short_runs"]) == ["0.12", "0.2"]


@pytest.mark.parametrize(
    ("time", "events", "effort", "expected"),
    [
        (TimeMeaning.NONE, (100, 20), Effort.STANDARD, 6),
        (TimeMeaning.NONE, (100, 20), Effort.BEST, 6),
        (TimeMeaning.NONE, (100, 20), Effort.QUICK, 6),
        (TimeMeaning.ORDER, (100, 20), Effort.STANDARD, 0),
        (TimeMeaning.NONE, (50_000, 100), Effort.STANDARD, 0),
    ],
)
def test_they_are_an_eighth_of_the_standard_passes_and_neither_moments_nor_large_data_have_any(
    time, events, effort, expected
):
    recipe = derive_recipe(DatasetSchema(time=time), _events(*events), effort)
    assert recipe.short_epochs == expected
    if expected:
        assert recipe.shortened() == replace(recipe, epochs=expected, rounds=1)
