"""The training inside a container of SageMaker's toolkit, or anywhere with its folders.

Reads the dataset from SM_CHANNEL_TRAINING and the settings from the hyperparameters, writes the bundle to SM_MODEL_DIR
and its report to SM_OUTPUT_DATA_DIR, and resumes from SM_CHECKPOINT_DIR (or SageMaker's own folder, where that exists).
Prints the report's essence as one JSON line. Of the processes that torchrun starts only rank 0 does any of this; the
others train with it. Sealing and gating are other steps. `__main__.py` calls it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from tqdm import tqdm

from contracts.errors import SettingsInvalid
from data_sources.streamed import index_folder
from training_job.device import device_of
from training_job.export import export
from training_job.fit import fit
from training_job.ranks import Ranks
from training_job.settings import TrainingSettings
from training_job.shares import take_part

SAGEMAKER_CHECKPOINTS: Final = Path("/opt/ml/checkpoints")
"""Where SageMaker mirrors a folder to S3, if the job was given one."""


def train(environment: Mapping[str, str]) -> None:
    """Train. Raises SettingsInvalid before anything is read, and whatever reading the dataset and `fit` raise."""
    settings, ranks = TrainingSettings.from_env(environment), Ranks.of(environment)
    with ranks.joined(device_of(settings.device, ranks)):
        if ranks.rank == 0:
            _train(environment, settings, ranks)
        else:
            take_part(settings, ranks)


def _train(environment: Mapping[str, str], settings: TrainingSettings, ranks: Ranks) -> None:
    source, target = _folder(environment, "SM_CHANNEL_TRAINING"), _folder(environment, "SM_MODEL_DIR")
    indexed = index_folder(source)
    with tqdm(file=sys.stderr, disable=None) as bar:
        fitted = fit(
            indexed,
            indexed.interactions,
            settings,
            progress=_Bar(bar),
            checkpoints=_checkpoints(environment),
            ranks=ranks,
        )
    export(fitted, target)
    report = msgspec.json.encode(fitted.report)
    if "SM_OUTPUT_DATA_DIR" in environment:
        output = Path(environment["SM_OUTPUT_DATA_DIR"])
        output.mkdir(parents=True, exist_ok=True)
        (output / "report.json").write_bytes(report)
    sys.stdout.write(report.decode() + "\n")


def failure_file(environment: Mapping[str, str]) -> Path | None:
    """Where a training job says why it failed: what lies there the toolkit leaves alone. None outside of one."""
    folder = environment.get("SM_OUTPUT_DIR")
    return Path(folder) / "failure" if folder else None


class _Bar:
    """Moves a tqdm bar."""

    def __init__(self, bar: tqdm) -> None:
        self.bar = bar

    def __call__(self, done: int, total: int, text: str) -> None:
        self.bar.total = total
        self.bar.set_description(text, refresh=False)
        self.bar.update(done - self.bar.n)


def _folder(environment: Mapping[str, str], name: str) -> Path:
    if not environment.get(name):
        raise SettingsInvalid(f"{name} is not set.", fix=f"Set {name} to a folder, as SageMaker does.")
    return Path(environment[name])


def _checkpoints(environment: Mapping[str, str]) -> Path | None:
    if environment.get("SM_CHECKPOINT_DIR"):
        return Path(environment["SM_CHECKPOINT_DIR"])
    return SAGEMAKER_CHECKPOINTS if SAGEMAKER_CHECKPOINTS.is_dir() else None
