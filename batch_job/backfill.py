"""Profiles of all users from the events that training has read, so that serving knows on the first day what it knows.

Streams user by user: memory does not grow with the number of users beyond the indexed events. What users did after the
newest event stays on top. The laptop's night calls it with all users, `folder_backfill.py` with some of them at a time.
"""

from __future__ import annotations

from data_sources.indexed import IndexedDataset
from stores.profiles import Profiles


def backfill_profiles(indexed: IndexedDataset, profiles: Profiles, watermark: int | None = None) -> int:
    """Bring the profile of every user up to a dataset; returns how many. Killed half-way, it can be run again.

    `watermark`: the newest time (Unix seconds) of the dataset whose users these are; None: they are all of them.
    """
    times = indexed.interactions.times
    if watermark is None and len(times):
        watermark = int(times.max())  # not the release's: all events are loaded here, those too that only judged it
    return profiles.bulk_load(
        indexed.user_ids,
        indexed.item_ids.to_list(),
        indexed.interactions,
        indexed.users.iter_rows(named=True) if indexed.users.width else None,
        timed=indexed.schema.timed,
        watermark=watermark,
    )
