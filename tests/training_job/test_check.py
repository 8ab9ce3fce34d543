"""The check of a night: what passes becomes the base; what it refuses is named, and nothing is adopted then."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import polars as pl
import pytest

from contracts.errors import DatasetError
from contracts.night import Accept, Decision, Step, StepVerdict
from contracts.schema import DatasetSchema, EventWeights, FeatureKind, TimeMeaning
from data_sources.dataset import read_schema
from tests.toy_world import toy_model
from tests.training_job.night_place import NightPlace
from training_job.night_job import REASON_CHARACTERS, refuse
from training_job.schema_changes import schema_changes


def _verdict(place: NightPlace):
    verdict = place.nights.verdict(place.night, Step.CHECK)
    assert verdict is not None
    return verdict


@pytest.fixture
def dataset(world_folder: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return shutil.copytree(world_folder, tmp_path / "data")


def test_the_first_dataset_passes_and_is_adopted(place, world_folder):
    place.begin()
    assert place.run("check", world_folder) == (0, "")
    verdict = _verdict(place)
    assert verdict.decision is Decision.GO
    assert "80 items" in verdict.reason
    assert place.nights.base() == place.night


def test_warnings_are_told_and_block_nothing(place, dataset):
    items = pl.read_parquet(dataset / "items.parquet")
    items.with_columns(brand=pl.lit("one")).write_parquet(dataset / "items.parquet")
    place.begin()
    place.run("check", dataset)
    assert _verdict(place).decision is Decision.GO
    assert "items.parquet, column brand" in _verdict(place).reason


def _spoil_prices(dataset: Path, value: float, rows: range) -> None:
    items = pl.read_parquet(dataset / "items.parquet")
    price = [value if row in rows else 1.0 + row for row in range(len(items))]
    items.with_columns(price=pl.Series(price)).write_parquet(dataset / "items.parquet")


def _infinite(dataset: Path) -> None:
    _spoil_prices(dataset, float("inf"), range(2, 8, 3))


def test_a_nan_is_a_missing_value_and_a_feature_of_them_is_told(place, dataset):
    """So `docs/dataset.md` promises: many exports write it. Where most of a feature is lost, people read of it."""
    _spoil_prices(dataset, float("nan"), range(1, 80))
    place.begin()
    place.run("check", dataset)
    assert _verdict(place).decision is Decision.GO
    assert "items.price: 79 of 80 (98.75%) empty (items.parquet, column price, rows 2, 3" in _verdict(place).reason


def _lost(dataset: Path) -> None:
    _spoil_prices(dataset, float("nan"), range(1_000))


def test_users_whom_only_the_log_knows_are_told_and_block_nothing(place, dataset):
    users = pl.read_parquet(dataset / "users.parquet")
    users.head(len(users) // 4).write_parquet(dataset / "users.parquet")
    place.begin()
    place.run("check", dataset)
    assert _verdict(place).decision is Decision.GO
    assert "users-known: " in _verdict(place).reason


def _no_users(dataset: Path) -> None:
    for path in dataset.glob("users*"):
        path.unlink()


def _cut(dataset: Path) -> None:
    path = dataset / "items.parquet"
    path.write_bytes(path.read_bytes()[:500])


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (_infinite, ("items.parquet, column price, rows 3, 6", "finite number", "another kind")),
        (_lost, ("items.price: 80 of 80", "items.parquet, column price, rows 1, 2", "Fill it at its source")),
        (_no_users, ("users", "there is no table")),
        (_cut, ("items.parquet",)),
        (lambda dataset: (dataset / "schema.toml").write_text("time = 3"), ("schema.toml",)),
        (shutil.rmtree, ("no such folder",)),
    ],
)
def test_what_the_doctor_fails_is_refused_by_name(place, dataset, spoil, named):
    spoil(dataset)
    place.begin()
    assert place.run("check", dataset)[0] == 0
    verdict = _verdict(place)
    assert (verdict.decision, verdict.code) == (Decision.REFUSE, "dataset-invalid")
    for words in named:
        assert words in verdict.reason
    assert place.nights.base() is None


def test_another_schema_is_refused_until_it_is_accepted(place, world_folder):
    now = read_schema(world_folder)
    before = msgspec.structs.replace(
        now,
        items={**now.items, "brand": FeatureKind.TEXT, "colour": FeatureKind.CATEGORICAL},
        users={name: kind for name, kind in now.users.items() if name != "region"},
        event_weights=EventWeights(types={"view": 9.0}),
    )
    serving = place.serve_schema(before)
    place.begin(serving)
    place.run("check", world_folder)
    verdict = _verdict(place)
    assert (verdict.decision, verdict.code) == (Decision.REFUSE, "schema-changed")
    assert (
        "users.region (categorical) is new; items.brand was text, is categorical; items.colour (categorical) is gone."
    ) in verdict.reason
    assert "--accept schema" in verdict.reason
    assert place.nights.base() is None
    place.begin(serving, accept=(Accept.SCHEMA,))
    place.run("check", world_folder)
    assert _verdict(place).decision is Decision.GO
    assert place.nights.base() == place.night


def test_other_weights_are_no_other_schema(place, world_folder):
    schema = msgspec.structs.replace(read_schema(world_folder), event_weights=EventWeights(default=3.0))
    place.begin(place.serve_schema(schema))
    place.run("check", world_folder)
    assert _verdict(place).decision is Decision.GO


def test_everything_else_that_a_schema_says_is_compared():
    before = DatasetSchema(
        users={"gender": FeatureKind.CATEGORICAL},
        items={"kind": FeatureKind.CATEGORICAL, "name": FeatureKind.TEXT},
        segment=("gender",),
        category="kind",
    )
    now = msgspec.structs.replace(
        before, time=TimeMeaning.ORDER, given_split=True, segment=(), category=None, title="name"
    )
    assert schema_changes(before, now) == [
        "time was timestamp, is order",
        "given_split was false, is true",
        "segment was gender, is none",
        "category was kind, is none",
        "title was none, is name",
    ]
    assert schema_changes(before, before) == []


def test_every_field_of_a_schema_is_compared_or_free():
    """A field that is added later cannot be forgotten: it differs, so it is told."""
    fields = {"given_split": True, "time": TimeMeaning.NONE, "segment": ("x",)} | dict.fromkeys(
        ("category", "title", "published", "expires", "available"), "x"
    )
    assert {*fields, "version", "users", "items", "event_weights"} == set(DatasetSchema.__struct_fields__)
    for name, value in fields.items():
        assert len(schema_changes(DatasetSchema(), msgspec.structs.replace(DatasetSchema(), **{name: value}))) == 1


def test_a_newer_night_ends_this_one_and_nothing_is_adopted(place, world_folder):
    place.begin()
    place.nights.take_lease("arn:second", lambda _: False)
    status, message = place.run("check", world_folder)
    assert status == 1
    assert message.startswith("lease-lost: ")
    assert place.nights.base() is None
    assert place.nights.verdict(place.night, Step.CHECK) is None


def test_what_served_and_was_swept_since_ends_the_night(place, world_folder):
    place.begin(place.serve_schema(read_schema(world_folder)))
    (swept,) = place.releases.ids()
    place.publish(place.seal(toy_model(n_items=30, n_cold=2)).id, "p000002-bbbbbbbb")
    place.remove(swept)
    status, message = place.run("check", world_folder)
    assert (status, message.split(":")[0]) == (1, "pointer-conflict")
    assert swept in message
    assert place.nights.base() is None


def test_what_serves_and_is_not_there_is_named(place, world_folder):
    place.begin(place.serve_schema(read_schema(world_folder)))
    place.remove(*place.releases.ids())
    assert place.run("check", world_folder)[1].startswith("release-not-found: ")


def test_a_night_that_has_not_begun_is_named(place, world_folder, capsys):
    assert place.run("check", world_folder)[0] == 1
    assert capsys.readouterr().err.startswith("night-incomplete: ")


def test_settings_that_are_missing_are_named(place, world_folder):
    place.settings = replace(place.settings, releases_bucket="")
    status, message = place.run("check", world_folder)
    assert (status, message.startswith("settings-invalid: TANDEM_RELEASES_BUCKET")) == (1, True)


def test_a_reason_fits_into_the_state_of_the_machine():
    long = refuse(Step.CHECK, DatasetError("x" * 9_000))
    assert len(long.reason) == REASON_CHARACTERS
    assert msgspec.json.decode(msgspec.json.encode(long), type=StepVerdict) == long


def test_a_check_starts_without_torch():
    """A processing job for it may be small, and begins in a second."""
    code = "import sys, training_job.__main__, training_job.check; print({'torch', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
