"""`python -m training_job`, with SageMaker's environment variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from contracts.fitted import from_bundle
from data_sources.dataset import write_dataset
from retrieval.golden import replay_golden
from stores.release_files import read_bundle
from stores.releases import LocalReleases
from training_job.__main__ import main


@pytest.fixture
def dataset(clustered, tmp_path):
    world = clustered()
    events = pl.DataFrame(
        {
            "user_id": world.user_ids.gather(world.interactions.users),
            "item_id": world.item_ids.gather(world.interactions.items),
            "timestamp": world.interactions.times,
        }
    )
    users = world.users.insert_column(0, world.user_ids.alias("user_id"))
    items = world.items.insert_column(0, world.item_ids.alias("item_id"))
    write_dataset(tmp_path / "data", world.schema, events, users, items)
    return tmp_path / "data"


def _run(environment, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SM_")} | environment
    command = [sys.executable, "-m", "training_job", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_training_job_leaves_a_bundle_that_seals(dataset, tmp_path):
    done = _run(
        {
            "SM_CHANNEL_TRAINING": str(dataset),
            "SM_MODEL_DIR": str(tmp_path / "model"),
            "SM_OUTPUT_DATA_DIR": str(tmp_path / "output"),
            "SM_CHECKPOINT_DIR": str(tmp_path / "checkpoints"),
            "SM_HPS": '{"effort": "quick", "seed": 4, "sagemaker_program": "train.py"}',
            "SM_HP_THREADS": "1",
        },
        *("--effort", "quick", "--unheard-of", "x"),  # as the toolkit passes what is in the environment, too
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "output" / "report.json").read_text())
    assert (report["seed"], report["effort"]) == (4, "quick")
    model = from_bundle(read_bundle(tmp_path / "model"))
    replay_golden(model)
    assert np.isfinite(model.items.two_tower).all()
    manifest = LocalReleases(tmp_path / "home").seal(tmp_path / "model")
    assert manifest.training["seed"] == 4
    assert manifest.dim == 64


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({}, "settings-invalid"),
        ({"SM_CHANNEL_TRAINING": "/nowhere", "SM_MODEL_DIR": "/nowhere"}, "dataset-invalid"),
        ({"SM_HP_EFFORT": "heroic"}, "settings-invalid"),
    ],
)
def test_what_is_wrong_is_named_on_stderr(environment, code, capsys):
    assert main([], environment) == 1
    assert capsys.readouterr().err.startswith(f"{code}: ")


def test_a_failure_lies_where_the_toolkit_leaves_it_alone(tmp_path):
    assert main([], {"SM_HP_EFFORT": "heroic", "SM_OUTPUT_DIR": str(tmp_path / "output")}) == 1
    assert (tmp_path / "output" / "failure").read_text().startswith("settings-invalid: ")


def test_a_failure_that_cannot_be_written_is_told_all_the_same(tmp_path, capsys):
    (tmp_path / "output").write_text("a file")
    assert main([], {"SM_HP_EFFORT": "heroic", "SM_OUTPUT_DIR": str(tmp_path / "output")}) == 1
    assert capsys.readouterr().err.startswith("settings-invalid: ")


@pytest.mark.parametrize("arguments", [["chekc"], ["check"], ["gate", "--night", "n000001-20261126", "--token", "x"]])
def test_arguments_that_make_no_sense_are_refused(arguments):
    with pytest.raises(SystemExit, match="2"):
        main(arguments, {})
