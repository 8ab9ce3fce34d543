"""What one training from a laptop reads, where its model goes, and what can be done with it then.

On the snapshot of a night the model lies where that night would have put its own, so that the night can go on with it;
on a seeded dataset it is a look, which nothing judges. `training_run.py` starts it.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.errors import DatasetError, NightIncomplete
from contracts.night import (
    DATASETS,
    TRAININGS,
    dataset_listing,
    dataset_prefix,
    night_prefix,
    snapshot_listing,
    snapshot_prefix,
)
from stores.nights import Nights
from stores.s3_bucket import Bucket


@dataclass(frozen=True)
class Source:
    """A dataset in the data bucket, and the prefix of what is trained on it."""

    name: str
    """A night, or a dataset."""
    uri: str
    """`s3://…/` of the files."""
    output: str
    """`s3://…/`: a job's model lies at `<job>/output/model/` below it."""
    of_night: bool


def snapshot_source(nights: Nights, night: str = "") -> Source:
    """The snapshot of a night, by default the one that the next night grows from. Raises NightIncomplete."""
    chosen = night or nights.base()
    if chosen is None:
        raise NightIncomplete(
            "no night has left a snapshot yet.",
            fix="Run one (`tandem aws run-nightly`), or train on a seeded dataset (`--dataset`).",
        )
    bucket = nights.bucket
    if bucket.etag(snapshot_listing(chosen)) is None:
        raise NightIncomplete(
            f"{bucket.url(snapshot_listing(chosen))}: {chosen} has no snapshot, or it has been swept.",
            fix="Take another night: `tandem aws status` shows the last ones.",
        )
    return Source(chosen, bucket.url(snapshot_prefix(chosen)), bucket.url(f"{night_prefix(chosen)}training/"), True)


def dataset_source(bucket: Bucket, name: str) -> Source:
    """A dataset by its name in the bucket. Raises DatasetError, naming those that are there."""
    if "/" in name or bucket.etag(dataset_listing(name)) is None:
        there = ", ".join(Nights(bucket).datasets()) or "none"
        raise DatasetError(
            f"{bucket.url(DATASETS)} has no dataset {name!r}; there is {there}.",
            fix="`tandem aws seed DATASET` brings one.",
        )
    return Source(name, bucket.url(dataset_prefix(name)), bucket.url(TRAININGS), False)


def next_command(source: Source, model: str) -> str:
    """What takes a trained model further: the rest of its night, or a copy of it on this machine."""
    if source.of_night:
        return f"tandem aws run-nightly --from seal --night {source.name}"
    return f"aws s3 cp --recursive {model} model"
