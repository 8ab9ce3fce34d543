"""Profiles of all users from the events that training has read, so that serving knows on the first day what it knows.

Streams user by user: memory does not grow with the number of users beyond the indexed dataset. What users did after its
newest event stays on top. The nightly run calls it after a publication.
"""

from __future__ import annotations

from data_sources.indexed import IndexedDataset
from stores.profiles import Profiles


def backfill_profiles(indexed: IndexedDataset, profiles: Profiles) -> int:
    """Bring the profile of every user up to a dataset; returns how many. Killed half-way, it can be run again."""
    times = indexed.interactions.times
    return profiles.bulk_load(
        indexed.user_ids,
        indexed.item_ids.to_list(),
        indexed.interactions,
        indexed.users.iter_rows(named=True) if indexed.users.width else None,
        timed=indexed.schema.timed,
        # Not the release's watermark: all events are loaded here, those too that only judged it.
        watermark=int(times.max()) if len(times) else None,
    )
