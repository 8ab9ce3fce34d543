"""`python -m training_job`: the training of a release inside a SageMaker training job, or anywhere with its folders.

Reads the dataset from SM_CHANNEL_TRAINING, settings from the hyperparameters (SM_HPS, SM_HP_*), writes the bundle to
SM_MODEL_DIR and its report to SM_OUTPUT_DATA_DIR, and resumes from SM_CHECKPOINT_DIR (or SageMaker's own folder,
where that exists). Prints the report's essence as one JSON line. Sealing and gating are other steps.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from tqdm import tqdm

from contracts.errors import SettingsInvalid, TandemError
from data_sources.dataset import open_dataset
from data_sources.indexed import index_dataset
from training_job.export import export
from training_job.fit import fit
from training_job.settings import TrainingSettings

SAGEMAKER_CHECKPOINTS: Final = Path("/opt/ml/checkpoints")
"""Where SageMaker mirrors a folder to S3, if the job was given one."""


def main(environment: Mapping[str, str] = os.environ) -> int:
    """Train; returns the exit status (1 for a named failure, told on stderr)."""
    try:
        _train(environment)
    except TandemError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return 1
    return 0


def _train(environment: Mapping[str, str]) -> None:
    settings = TrainingSettings.from_env(environment)
    source, target = _folder(environment, "SM_CHANNEL_TRAINING"), _folder(environment, "SM_MODEL_DIR")
    indexed = index_dataset(open_dataset(source))
    with tqdm(file=sys.stderr, disable=None) as bar:
        fitted = fit(
            indexed,
            indexed.interactions,
            settings,
            progress=_Bar(bar),
            checkpoints=_checkpoints(environment),
        )
    export(fitted, target)
    report = msgspec.json.encode(fitted.report)
    if "SM_OUTPUT_DATA_DIR" in environment:
        output = Path(environment["SM_OUTPUT_DATA_DIR"])
        output.mkdir(parents=True, exist_ok=True)
        (output / "report.json").write_bytes(report)
    sys.stdout.write(report.decode() + "\n")


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


if __name__ == "__main__":
    sys.exit(main())
