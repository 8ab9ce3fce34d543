"""The second half of a night: a release that is sealed and judged comes to serve, in whichever stores it is given.

Index → publish → profiles → sweep, each step safe to run again. Knows no training and not where the stores are; the
laptop's night gives it folders, the first day in AWS buckets and tables. `retrain` and `aws/seed` call it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batch_job.backfill import backfill_profiles
from contracts.release import GateReport, Publication
from data_sources.indexed import IndexedDataset
from index_loader.fresh_encodings import encoded_around, settle
from index_loader.publish import check_gate, publish
from index_loader.run import publish_or_load_again
from index_loader.run import run as run_loading
from index_loader.sweep import sweep as sweep_indexes
from stores.fresh_items import FreshItems
from stores.profiles import Profiles
from stores.releases import Releases

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

Progress = Callable[[int, int, str], None]
"""done, total, what is being done."""


class StepClock:
    """Wall seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] = round(time.perf_counter() - begun, 3)


@dataclass(frozen=True)
class Place:
    """Where a release comes to serve."""

    releases: Releases
    """Holds the sealed release already."""
    profiles: Profiles
    items: FreshItems
    """Encoded for the release before it serves, and let go once all releases know them."""
    engine: OpenSearch | None = None
    """Takes the index; None where the release is searched itself."""
    clock: StepClock = field(default_factory=StepClock)
    progress: Progress | None = None


def publish_candidate(place: Place, gate: GateReport, if_match: str | None) -> Publication:
    """Load, verify and publish the release that `gate` let through; what it blocks is not loaded.

    `if_match`: etag of what served when the gate judged. Raises GateBlocked, IndexLoadFailed, VerificationFailed,
    PointerConflict, LiveDataUnavailable and whatever opening a release raises; what served before goes on serving.
    """
    store, release = place.releases, gate.release
    with place.clock("index"):
        wanted = place.engine if not gate.blocked else None
        loaded = run_loading(store, wanted, release, progress=place.progress) if wanted else None
    with place.clock("publish"):
        check_gate(gate, release)  # nothing is encoded for what it blocks
        with encoded_around(store, release, place.items):
            current = (
                publish_or_load_again(store, release, gate, if_match, loaded)
                if loaded
                else publish(store, release, gate, if_match)
            )
    return current.publication


def follow_up(place: Place, indexed: IndexedDataset) -> None:
    """What comes after the pointer has moved: the users' profiles, and the end of what nothing can come back to."""
    with place.clock("profiles"):
        if place.progress is not None:
            place.progress(0, 0, f"writing profiles of {len(indexed.user_ids)} users")
        backfill_profiles(indexed, place.profiles)
    with place.clock("sweep"):
        if place.engine is not None:
            sweep_indexes(place.releases, place.engine, delete=True)  # first: it knows its indexes by the releases
        place.releases.sweep()
        settle(place.releases, place.items, int(time.time()))
