"""Training as SageMaker runs it: AWS's own toolkit, the archive that is deployed, S3, and an instance that goes away.

What no laptop has is not shown here: the image, its GPU, and the moment at which SageMaker copies a checkpoint.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from contracts.errors import RequestInvalid
from contracts.release import Manifest
from local_mode.rehearsal.toolkit import Attempt, JobStatus, TrainingResult
from retrieval.golden import replay_golden
from stores.releases import LocalReleases
from tests.sagemaker.conftest import SETTINGS, TrainingAccount


def _sealed(account: TrainingAccount, result: TrainingResult, folder: Path) -> tuple[LocalReleases, Manifest]:
    store = LocalReleases(folder / "home")
    return store, store.seal(account.model(result, folder / "model"))


def test_a_training_job_leaves_a_bundle_that_seals_and_answers_as_it_was_told(account, undisturbed, tmp_path):
    log = undisturbed.attempts[0].log.read_text()
    assert (undisturbed.status, undisturbed.failure_reason) == (JobStatus.COMPLETED, ""), log
    assert undisturbed.model == account.uri("nights/n1/training/undisturbed/output/model/")
    store, manifest = _sealed(account, undisturbed, tmp_path)
    replay_golden(store.open(manifest.id))
    assert (manifest.training["seed"], manifest.training["effort"]) == (SETTINGS.seed, "quick")
    key = "nights/n1/training/undisturbed/output/data/report.json"
    report = json.loads(account.s3.get_object(Bucket=account.bucket, Key=key)["Body"].read())
    assert report == manifest.training
    assert "train.py --checkpoint_seconds 0.0 --deterministic True" in log


class Spot:
    """Takes the first instance away as soon as a checkpoint lies there, and looks at what the second one writes."""

    def __init__(self) -> None:
        self.seen: dict[int, list[str]] = {0: [], 1: []}

    def __call__(self, attempt: Attempt) -> bool:
        whole = {path.parent.name for path in (attempt.ml / "checkpoints").glob("checkpoint-*/state.json")}
        self.seen[attempt.number] += sorted(whole - set(self.seen[attempt.number]))
        return attempt.number == 0 and len(self.seen[0]) >= 2


def test_an_instance_that_is_taken_away_costs_what_came_after_its_checkpoint_and_nothing_else(
    account, undisturbed, tmp_path
):
    spot = Spot()
    result = account.run(account.request("taken", "whole"), spot)
    assert (result.status, len(result.attempts)) == (JobStatus.COMPLETED, 2), result.attempts[-1].log.read_text()
    assert not (result.attempts[0].ml / "output" / "success").exists()
    assert len(account.keys("checkpoints/taken/")) >= 4  # two of two files each, at the least
    restored, later = spot.seen[0][-1], spot.seen[1]
    assert min(later) >= spot.seen[0][0]  # it did not begin again: none of its checkpoints is of an earlier epoch
    assert max(later) > restored
    digests = {_sealed(account, job, tmp_path / job.job)[1].digest for job in (undisturbed, result)}
    assert len(digests) == 1


def test_a_bad_dataset_is_named_where_people_look_first(account, tmp_path):
    shutil.copytree(account.folder / "world", tmp_path / "bad")
    items = pl.read_parquet(tmp_path / "bad" / "items.parquet")
    items.with_columns(price=float("inf")).write_parquet(tmp_path / "bad" / "items.parquet")
    account.put_dataset(tmp_path / "bad", "bad")
    result = account.run(account.request("bad", "bad"))
    assert result.status is JobStatus.FAILED
    assert result.failure_reason.startswith("AlgorithmError: dataset-invalid: items.parquet, column price, rows 1, 2")
    assert "Correct these values" in result.failure_reason
    assert result.failure_reason.endswith("exit code: 1")
    assert account.keys("nights/n1/training/bad/output/model/") == []


def test_a_channel_without_objects_fails_before_anything_runs(account):
    result = account.run(account.request("empty", "nowhere"))
    assert result.failure_reason.startswith("ClientError: Data download failed: no S3 objects under")


def test_what_the_stand_in_would_do_otherwise_is_refused(account):
    request = account.request("packed", "whole")
    request["OutputDataConfig"]["CompressionType"] = "GZIP"
    with pytest.raises(RequestInvalid, match="packed"):
        account.run(request)
    request = account.request("many", "whole")
    request["ResourceConfig"]["InstanceCount"] = 2
    with pytest.raises(RequestInvalid, match="2 instances"):
        account.run(request)
