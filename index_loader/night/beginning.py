"""The first step: is nobody else at work, which night is it, what serves, and is everything there that it will need?

What is wrong with the input or the bucket is said before anything is written; then the lease is taken, and every later
step is told what was found. Run again it finds its own lease. `handler.py` calls it.
"""

from __future__ import annotations

import time
from typing import Any, Final

from contracts.errors import DatasetError, NightIncomplete
from contracts.night import (
    DATASETS,
    NightFacts,
    NightInput,
    SealedRelease,
    Serving,
    Step,
    dataset_listing,
    dataset_prefix,
    night_prefix,
    snapshot_prefix,
    token_of,
)
from index_loader.night.events import Begin
from index_loader.night.executions import is_running
from index_loader.night.needs import GoneOn, check_needs
from index_loader.night.trained import training_prefix
from index_loader.night.workplace import Workplace

SHOWN: Final = 5
"""Names of datasets in a message."""


def begin(place: Workplace, event: Begin) -> dict[str, Any]:
    """Take the lease and say where the jobs of the night read and write.

    Raises NightRunning where another night runs, DatasetError where it is not clear what to train on, NightIncomplete
    where an earlier night is gone on with that lacks something.
    """
    night, dataset = _chosen(place, event.input)
    lease = place.nights.take_lease(event.execution, is_running, night)
    serving = _serving(place)
    check_needs(GoneOn(place.nights, place.releases, lease.night, serving), event.input.begin)
    facts = NightFacts(
        night=lease.night,
        token=lease.token,
        execution=event.execution,
        dataset=dataset,
        begun_at=int(time.time()),
        serving=serving,
        accept=event.input.accept,
    )
    place.nights.write(lease.night, facts)
    return {
        "night": lease.night,
        "token": lease.token,
        "begin": event.input.begin.value,
        "job_prefix": f"{place.settings.prefix}-{lease.night}",
        "snapshot_uri": place.data.url(snapshot_prefix(lease.night)),
        "training_uri": place.data.url(training_prefix(lease.night)),
        "checkpoints_uri": place.data.url(f"{night_prefix(lease.night)}checkpoints/"),
        "release": _release(place.nights.find(lease.night, SealedRelease)),
    }


def _release(sealed: SealedRelease | None) -> dict[str, Any]:
    """As `seal` answers, for a run that begins behind it."""
    return {"release": sealed.release if sealed else "", "indexed": sealed is not None and sealed.indexed}


def _chosen(place: Workplace, asked: NightInput) -> tuple[str, str]:
    """The night to go on with (the named, else with a later first step the newest; empty: a new one), its dataset."""
    if not asked.night and asked.begin is Step.SNAPSHOT:
        return "", _dataset(place)
    if asked.night:
        token_of(asked.night)
    night = asked.night or max(place.nights.ids(), default="")
    if not night:
        raise NightIncomplete(f"there is no night yet to begin {asked.begin} of.", fix="Start one with {}.")
    return night, place.nights.read(night, NightFacts).dataset


def _dataset(place: Workplace) -> str:
    """Name of the dataset to train on. Raises DatasetError where it is not there, or none is named of several."""
    bucket, chosen = place.data, place.settings.dataset
    if chosen:
        if bucket.etag(dataset_listing(chosen)) is None:
            fix = f"Send it: `tandem aws seed DATASET --name {chosen}`."
            raise DatasetError(
                f"{bucket.url(dataset_prefix(chosen))}: there is no whole dataset of that name.", fix=fix
            )
        return chosen
    names = place.nights.datasets()
    if not names:
        fix = "Send one: `tandem aws seed DATASET`."
        raise DatasetError(f"{bucket.url(DATASETS)}: there is no whole dataset to train on.", fix=fix)
    if len(names) > 1:
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        fix = "Say which: npx cdk deploy --all -c dataset=NAME (TANDEM_DATASET), or remove the others."
        raise DatasetError(f"{bucket.url(DATASETS)}: there are {len(names)} datasets: {shown}.", fix=fix)
    return names[0]


def _serving(place: Workplace) -> Serving | None:
    """What serves now."""
    if (current := place.releases.current()) is None:
        return None
    publication = current.publication
    return Serving(publication=publication.id, release=publication.release, etag=current.etag, night=publication.night)
