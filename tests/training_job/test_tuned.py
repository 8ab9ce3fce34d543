"""What may be tuned: the table agrees with the recipe, and changes are refused or applied, never half."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter

import msgspec
import numpy as np
import pytest

from contracts.errors import SettingsInvalid
from contracts.interactions import Interactions
from contracts.schema import DatasetSchema, TimeMeaning
from training_job.fit import fit
from training_job.recipe import FULL_SOFTMAX_ITEMS, derive_recipe
from training_job.settings import Effort, TrainingSettings
from training_job.tuned import TUNABLES, Choice, Kind, RecipeChanges, TunedFile, apply_changes, tunables

QUICK = TrainingSettings(effort=Effort.QUICK, threads=1)


def _recipe(time, effort=Effort.STANDARD, n_items=50):
    events = Interactions.from_events(
        np.repeat(np.arange(n_items), 2), np.tile(np.arange(n_items), 2), np.arange(2 * n_items),
        np.ones(2 * n_items), n_items, n_items,
    )  # fmt: skip
    return derive_recipe(DatasetSchema(time=time), events, effort)


def _ends(domain):
    return domain.values if isinstance(domain, Choice) else (domain.low, domain.high)


@pytest.mark.parametrize("n_items", [50, 2 * FULL_SOFTMAX_ITEMS])
@pytest.mark.parametrize("effort", Effort)
@pytest.mark.parametrize("time", TimeMeaning)
def test_the_derived_recipe_is_a_point_of_its_table(time, effort, n_items):
    recipe = _recipe(time, effort, n_items)
    entries = tunables(kind := Kind.of(recipe, DatasetSchema(time=time)))
    derived = {name: entry.default(recipe) for name, entry in entries.items()}
    assert all(entries[name].domain.holds(value) for name, value in derived.items()), derived
    assert apply_changes(recipe, RecipeChanges(derived), kind) == recipe


@pytest.mark.parametrize("time", TimeMeaning)
def test_every_entry_sets_its_field_and_no_other(time):
    kind = Kind.of(recipe := _recipe(time), DatasetSchema(time=time))
    for name, entry in tunables(kind).items():
        before = attrgetter(entry.field)(recipe)
        for value in _ends(entry.domain):
            changed = apply_changes(recipe, RecipeChanges({name: value}), kind)
            after = attrgetter(entry.field)(changed)
            assert after == (round(before * value) if entry.factor else value)
            assert isinstance(after, int) or not isinstance(before, int), name
            back = 1.0 if entry.factor else before
            assert entry.factor or entry.applied(changed, back) == recipe, f"{name} changes more than its field"


def test_what_means_nothing_for_the_data_is_refused():
    recipe = _recipe(TimeMeaning.ORDER)
    with pytest.raises(SettingsInvalid, match=r"kept is for data without order, or .*, and this is data with an order"):
        apply_changes(recipe, RecipeChanges({"kept": 0.5}), Kind.ORDERED)
    assert set(tunables(Kind.TIMED)) - set(tunables(Kind.ORDERED)) == {"horizon.gap_power"}
    assert set(tunables(Kind.SETS)) - set(tunables(Kind.TIMED)) == {"kept"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"learning_rate": 0.1}, "there is no 'learning_rate'.*There are dense_rate"),
        ({"temperature": 0.01}, "temperature is 0.01. Give a number from 0.05 to 0.4"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": True}, "temperature is True"),
        ({"temperature": "warm"}, "temperature is 'warm'"),
        ({"users_per_batch": 64.5}, "users_per_batch is 64.5. Give a whole number from 32 to 512"),
        ({"hidden": 100}, "hidden is 100. Give one of 0, 128, 256, 512"),
        ({"hidden": False}, "hidden is False"),
    ],
)
def test_a_change_that_cannot_be_is_named_with_what_can(values, said):
    with pytest.raises(SettingsInvalid, match=said):
        RecipeChanges(values)


def test_the_longest_changes_fit_a_hyperparameter_and_read_back():
    lasts = RecipeChanges({name: _ends(entry.domain)[-1] for name, entry in TUNABLES.items()})
    thirds = RecipeChanges({"temperature": 1 / 3, "passes": 4 / 3, "hidden": 128})
    for changes in (lasts, thirds, RecipeChanges()):
        assert RecipeChanges.of_text(changes.text) == changes
    assert len(lasts.text) + 16 * len(TUNABLES) < 2_500, "as long as it gets: each a float of 17 digits"


@pytest.mark.parametrize("text", ["temperature", "temperature=", "temperature=hot", "=0.1", "temperature=0.1;passes=1"])
def test_a_text_that_is_none_is_refused(text):
    with pytest.raises(SettingsInvalid):
        RecipeChanges.of_text(text)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"trials": []}', b'{"changes": {"temperature": "hot"}}'])
def test_a_file_that_is_no_tuned_json_is_named(tmp_path, content):
    path = tmp_path / "tuned.json"
    path.write_bytes(content)
    with pytest.raises(SettingsInvalid, match=r"tuned\.json.*tandem tune"):
        TunedFile.read(path)
    with pytest.raises(SettingsInvalid, match=r"nowhere\.json"):
        TunedFile.read(tmp_path / "nowhere.json")
    path.write_bytes(msgspec.json.encode({"changes": {"passes": 9}}))
    with pytest.raises(SettingsInvalid, match=r"tuned\.json: passes is 9"):
        TunedFile.read(path)


def test_a_training_is_changed_by_its_settings_or_by_its_caller(clustered):
    world = clustered()
    changes = RecipeChanges({"temperature": 0.2, "horizon.window": 3, "newcomers.share": 0.5, "passes": 0.5})
    told = fit(world, world.interactions, replace(QUICK, tuned=changes.text)).report
    assert told["changes"] == changes.values
    recipe = told["recipe"]
    assert (recipe["temperature"], recipe["horizon"]["window"], recipe["newcomers"]["share"]) == (0.2, 3, 0.5)
    assert recipe == fit(world, world.interactions, QUICK, changes=changes).report["recipe"]
    derived = fit(world, world.interactions, QUICK).report
    assert recipe["epochs"] == round(derived["recipe"]["epochs"] / 2)
    assert derived["changes"] == {}
    with pytest.raises(SettingsInvalid, match=r"horizon\.window is for data with an order"):
        fit(world, world.interactions, replace(QUICK, tuned="kept=0.4,horizon.window=3"))


def test_a_checkpoint_of_another_recipe_is_left_alone(clustered, tmp_path):
    world = clustered()
    settings = replace(QUICK, checkpoint_seconds=0)
    fit(world, world.interactions, settings, checkpoints=tmp_path)
    changed = replace(settings, tuned="temperature=0.3")
    epochs = []

    def watch(done, total, text):
        if text.startswith("epoch"):
            epochs.append(done)

    fit(world, world.interactions, changed, checkpoints=tmp_path, progress=watch)
    assert epochs[0] == 0
