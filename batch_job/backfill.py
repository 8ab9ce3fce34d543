"""Profiles of all users from the events that training has read, so that serving knows on the first day what it knows.

Streams user by user: memory does not grow with the number of users beyond the indexed dataset. The nightly run calls
it after a publication.
"""

from __future__ import annotations

from data_sources.indexed import IndexedDataset
from stores.profiles import Profiles


def backfill_profiles(indexed: IndexedDataset, profiles: Profiles) -> int:
    """Write the profile of every user of a dataset; returns how many. Killed half-way, it can be run again."""
    return profiles.bulk_load(
        indexed.user_ids,
        indexed.item_ids.to_list(),
        indexed.interactions,
        indexed.users.iter_rows(named=True) if indexed.users.width else None,
        timed=indexed.schema.timed,
    )
