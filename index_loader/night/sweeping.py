"""The last step of a night that published: remove what nothing can come back to.

Indexes first, for they are known by their releases; then releases; then the snapshots that neither the next night grows
from, nor what serves or a rollback reaches was trained on; last, serving forgets the live items that all releases know
which are left. Artifacts of nights expire by the bucket's own rules. `handler.py` calls it.
"""

from __future__ import annotations

import re
import time
from typing import Any, Final

from contracts.night import NIGHT_PATTERN, SNAPSHOTS, snapshot_listing, snapshot_prefix, token_of
from index_loader.fresh_encodings import settle
from index_loader.night.events import Night
from index_loader.night.workplace import Workplace, naming_engine_faults
from index_loader.sweep import sweep as sweep_indexes

KEEP_SNAPSHOTS: Final = 2
"""The newest: this night's, and the one before for who asks what changed."""


@naming_engine_faults()
def sweep(place: Workplace, event: Night) -> dict[str, Any]:
    """How many releases, indexes and snapshots were removed, and how many live items settled."""
    place.entered(event)
    indexes = sweep_indexes(place.releases, place.engine, delete=True).doomed if place.settings.opensearch_url else []
    return {
        "indexes": len(indexes),
        "releases": len(place.releases.sweep()),
        "snapshots": len(sweep_snapshots(place, event.night)),
        "settled": settle(place.releases, place.fresh_items, int(time.time())),
    }


def sweep_snapshots(place: Workplace, night: str) -> list[str]:
    """Remove snapshots that are not needed, and what is left of unfinished ones; returns their nights."""
    keys = {key for key, _ in place.data.listing(SNAPSHOTS)}
    found = {match[1] for key in keys if (match := _NIGHT.match(key))}
    whole = sorted(one for one in found if snapshot_listing(one) in keys)
    kept = {place.nights.base(), night, *whole[-KEEP_SNAPSHOTS:]}
    kept |= {publication.night for publication in place.releases.kept()}
    doomed = sorted(one for one in found - kept if token_of(one) < token_of(night))
    for one in doomed:
        place.data.delete([snapshot_listing(one)])  # from here on it is none
        place.data.delete([key for key in keys if key.startswith(snapshot_prefix(one))])
    return doomed


_NIGHT: Final = re.compile(rf"{SNAPSHOTS}({NIGHT_PATTERN})(?:/|\.)")
