"""What a training job has left in the data bucket, as SageMaker puts it there uncompressed: found, and brought here.

A model is complete once its `training.json` is there; whether its files are whole is seen when it is opened.
`sealing.py` and `needs.py` call it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from contracts.errors import ReleaseCorrupt, naming_full_disk
from contracts.night import night_prefix
from stores.release_cache import check_room, run_all
from stores.release_files import TRAINING_FACTS
from stores.s3_bucket import Bucket, ObjectMissing

_MODEL: Final = "/output/model/"
"""Below the name of a job, in the place that it was given."""


def training_prefix(night: str) -> str:
    """Where the training jobs of a night write."""
    return f"{night_prefix(night)}training/"


def newest_model(bucket: Bucket, night: str) -> str | None:
    """The prefix of the newest complete model of a night, ending in a slash; None where there is none."""
    found = [
        (written, key.removesuffix(TRAINING_FACTS))
        for key, written in bucket.listing(training_prefix(night))
        if key.endswith(f"{_MODEL}{TRAINING_FACTS}")
    ]
    return max(found)[1] if found else None


def bring(bucket: Bucket, prefix: str, folder: Path) -> None:
    """Write the files of a model into a folder (created), some at once, each as a stream.

    Raises ReleaseCorrupt where they are none of a model, StorageFull before it begins where they do not fit.
    """
    sizes = {key.removeprefix(prefix): size for key, size in bucket.sizes(prefix)}
    files = {name: size for name, size in sizes.items() if not name.startswith(".")}  # marks of SageMaker
    if TRAINING_FACTS not in files or (nested := [name for name in files if "/" in name]):
        wrong = f"{nested[0]} is in a folder" if TRAINING_FACTS in files else f"it has no {TRAINING_FACTS}"
        raise ReleaseCorrupt(f"{bucket.url(prefix)}: not what a training leaves: {wrong}.", fix="Train again.")
    with naming_full_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        check_room(folder, sum(files.values()))
        run_all(partial(_write, bucket, prefix + name, folder / name, size) for name, size in files.items())


def _write(bucket: Bucket, key: str, path: Path, size: int) -> None:
    try:
        with path.open("wb") as file:
            for chunk in bucket.stream(key, size):
                file.write(chunk)
    except ObjectMissing as error:
        raise ReleaseCorrupt(f"{bucket.url(key)}: is gone.", fix="Train again.") from error
