"""The archive that is deployed, entered as a processing job enters it: the check of a night, which needs no torch."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from contracts.night import Decision, Step
from tests.sagemaker.conftest import TrainingAccount
from tests.training_job.night_place import NightPlace


@pytest.fixture(scope="module")
def unpacked(jobs_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    with tarfile.open(jobs_archive) as archive:
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # noqa: S202
    return folder


def _job(unpacked: Path, place: NightPlace, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_") or name == "PATH"}
    told = {"AWS_ENDPOINT_URL": endpoint, "TANDEM_ML": str(place.folder / "ml")}
    return subprocess.run(
        [sys.executable, str(unpacked / "job.py"), *arguments],
        env=environment | told | place.settings.to_env(),
        cwd=place.folder,
        capture_output=True,
        text=True,
    )


def test_the_check_of_a_night_runs_from_the_archive(unpacked: Path, account: TrainingAccount, tmp_path: Path) -> None:
    place = NightPlace.make(tmp_path, "entered", account.s3)
    place.begin()
    night = ("--night", place.night, "--token", str(place.token))
    done = _job(unpacked, place, account.endpoint, "check", *night, "--dataset", str(account.folder / "world"))
    assert done.returncode == 0, done.stderr
    verdict = place.nights.verdict(place.night, Step.CHECK)
    assert verdict is not None
    assert verdict.decision is Decision.GO
    place.nights.release_lease(place.token)
    done = _job(unpacked, place, account.endpoint, "check", *night, "--dataset", str(account.folder / "world"))
    assert done.returncode == 1
    assert (place.folder / "ml" / "output" / "message").read_text() == done.stderr
    assert done.stderr.startswith("lease-lost: ")
