"""The gate as a step of a night: the same verdict as on a laptop, from artifacts alone, and only on the right slice."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import polars as pl
import pytest

from contracts.errors import GateBlocked
from contracts.fitted import FittedModel
from contracts.night import Decision, SealedRelease, Serving, Step
from contracts.release import GateReport, Manifest
from index_loader.publish import publish
from local_mode.retrain import Retrained, start_night, train_candidate
from stores.releases import LocalReleases
from tests.training_job.night_place import NightPlace
from training_job.settings import Effort, TrainingSettings


@dataclass
class Laptop:
    """Two nights of a laptop: what the first made serves, the second was judged against it."""

    home: Path
    served: Retrained
    candidate: Retrained

    @property
    def model(self) -> FittedModel:
        return self.candidate.fitted.model


@pytest.fixture(scope="module")
def laptop(world_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    home = tmp_path_factory.mktemp("home")
    store, nights = LocalReleases(home), []
    for seed in (1, 2):
        night = start_night(world_folder, home, TrainingSettings(effort=Effort.QUICK, seed=seed))
        nights.append(train_candidate(night))
        if seed == 1:
            publish(store, nights[0].manifest.id, None, None, served_model="als")
    return Laptop(home, *nights)


@pytest.fixture
def begun(place: NightPlace, laptop: Laptop) -> NightPlace:
    """The same two releases in a bucket: one serves, the other is the candidate of the night."""
    store = LocalReleases(laptop.home)
    for done in (laptop.served, laptop.candidate):
        place.releases.copy_in(store, done.manifest.id)
    _begin(place, laptop.candidate.manifest, place.publish(laptop.served.manifest.id, served_model="als"))
    return place


def _begin(place: NightPlace, manifest: Manifest, serving: Serving | None = None) -> None:
    place.begin(serving)
    place.nights.write(
        place.night,
        SealedRelease(
            release=manifest.id, digest=manifest.digest, n_items=manifest.n_items, model="s3://there/", indexed=False
        ),
    )


def _without_an_event(dataset: Path) -> None:
    file = next(dataset.rglob("*events*.parquet"))
    pl.read_parquet(file)[1:].write_parquet(file)


def test_the_verdict_is_that_of_a_laptop(begun, laptop, world_folder):
    assert begun.run("gate", world_folder) == (0, "")
    report = begun.nights.read(begun.night, GateReport)
    assert report == laptop.candidate.gate
    assert report.compared_with == laptop.served.manifest.id
    assert {check.name for check in report.checks} >= {"popularity", "als", "serving_release", "catalogue"}
    verdict = begun.nights.verdict(begun.night, Step.GATE)
    decided = (Decision.REFUSE, "gate-blocked") if report.blocked else (Decision.GO, "")
    assert (verdict.decision, verdict.code) == decided
    assert begun.run("gate", world_folder) == (0, "")  # again, as after a kill
    assert begun.nights.read(begun.night, GateReport) == report


def test_a_first_release_is_compared_with_nothing(begun, laptop, world_folder):
    _begin(begun, laptop.candidate.manifest)
    begun.run("gate", world_folder)
    assert begun.nights.read(begun.night, GateReport).compared_with is None


def test_a_blocked_candidate_is_refused_in_the_words_of_publishing(place, laptop, world_folder):
    """Its item vectors point the other way: neither golden cases nor probes can answer as they did."""
    items = replace(laptop.model.items, two_tower=-laptop.model.items.two_tower)
    manifest = place.seal(replace(laptop.model, items=items), laptop.candidate.manifest.training)
    _begin(place, manifest)
    assert place.run("gate", world_folder) == (0, "")
    verdict = place.nights.verdict(place.night, Step.GATE)
    assert (verdict.decision, verdict.code) == (Decision.REFUSE, "gate-blocked")
    report = place.nights.read(place.night, GateReport)
    with pytest.raises(GateBlocked) as told:
        publish(place.releases, manifest.id, report, None)
    assert verdict.reason == str(told.value)
    assert f"{manifest.id} is blocked. " in verdict.reason


def test_another_slice_is_never_judged_on(begun, world_folder, tmp_path):
    other = shutil.copytree(world_folder, tmp_path / "other")
    _without_an_event(other)
    status, message = begun.run("gate", other)
    assert (status, message.split(":")[0]) == (1, "slice-changed")
    assert begun.nights.find(begun.night, GateReport) is None
    assert begun.nights.verdict(begun.night, Step.GATE) is None


@pytest.mark.parametrize("training", [{}, {"seed": 2}, {"slice": "0" * 64}, {"seed": "2", "slice": "0" * 64}])
def test_a_release_without_the_digest_of_its_slice_is_not_judged(place, laptop, world_folder, training):
    _begin(place, place.seal(laptop.model, training))
    assert place.run("gate", world_folder)[1].startswith("slice-changed: ")


def test_what_the_night_did_not_seal_is_not_judged(begun, laptop, world_folder):
    _begin(begun, msgspec.structs.replace(laptop.candidate.manifest, digest="0" * 64))
    assert begun.run("gate", world_folder)[1].startswith("release-corrupt: ")


def test_without_a_sealed_release_there_is_nothing_to_judge(place, world_folder):
    place.begin()
    status, message = place.run("gate", world_folder)
    assert (status, message.split(":")[0]) == (1, "night-incomplete")


def test_who_has_lost_the_lease_writes_nothing(begun, world_folder):
    begun.nights.take_lease("arn:second", lambda _: False)
    assert begun.run("gate", world_folder)[1].startswith("lease-lost: ")
    assert begun.nights.find(begun.night, GateReport) is None


def test_what_served_and_was_swept_since_ends_the_night(begun, laptop, world_folder):
    begun.publish(laptop.candidate.manifest.id, "p000002-bbbbbbbb")
    begun.remove(laptop.served.manifest.id)
    assert begun.run("gate", world_folder)[1].startswith("pointer-conflict: ")
