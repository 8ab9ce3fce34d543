"""Where a load does not fit a profile, and which one it needs: by arithmetic over what was measured, not by a trial.

A bill of something that cannot carry the load would be a lie with decimals. `tandem aws cost` prints what this finds
beneath the table.
"""

from __future__ import annotations

from typing import Final

from local_mode.aws import cost_assumptions as assumed
from local_mode.aws.cost import DAY_SECONDS, Load, SearchNodes, Sizes, training_hours
from local_mode.aws.prices import Prices

OPENED_ITEMS: Final = 500_000
"""A function has 512 MB for files and holds two releases of half of this catalogue's bytes each (docs/deploy.md)."""
PAGE_CACHE: Final = 0.5
"""Of a node's memory: the other half is the engine's heap."""
FULL: Final = 0.75
"""Of a volume; an alarm goes off there (infra/alarms.py)."""
MERGING: Final = 2.0
"""An index that is being merged is there twice."""
LONG_TRAINING_HOURS: Final = 6.0
"""Of one night's training: with the jobs around it, people wake before it has ended."""


def misfits(load: Load, sizes: Sizes, prices: Prices) -> list[str]:
    """Sentences for people, none where all is well."""
    found, above = [], sizes.engine_above
    if sizes.search is None and load.items > above:
        found.append(
            f"{sizes.profile} has no search domain and serves at most {above:,} items: {load.items:,} need profile dev."
        )
    if sizes.search is not None and load.items > above:
        found += _search(load, sizes.search, sizes.profile, prices)
    if load.items > OPENED_ITEMS:
        found.append(
            f"two releases of {load.items:,} items do not fit the 512 MB that a function has for files "
            f"(about {OPENED_ITEMS:,} do): see docs/deploy.md."
        )
    peak = assumed.PEAK.value * (load.requests_per_day + load.event_calls_per_day) / DAY_SECONDS
    if peak > sizes.requests_per_second:
        found.append(
            f"the busiest hour has about {peak:,.0f} calls a second and the API lets {sizes.requests_per_second:,} in: "
            "-c requests_per_second."
        )
    if (hours := training_hours(load, sizes)) > LONG_TRAINING_HOURS:
        found.append(
            f"a training would take about {hours:.0f} hours on {sizes.night.training_instance}: take a larger "
            "instance, or a shorter history."
        )
    return found


def _search(load: Load, search: SearchNodes, profile: str, prices: Prices) -> list[str]:
    """Every node has a copy of every index."""
    found = []
    gb = load.items * assumed.ITEM_INDEX_BYTES.value * assumed.KEPT_INDEXES.value / 1e9
    cache_gb = prices.of(f"search.{search.instance}").memory_gb * PAGE_CACHE
    next_profile = "prod, or " if profile == "dev" else ""
    if cache_gb and gb > cache_gb:
        found.append(
            f"{assumed.KEPT_INDEXES.value:.0f} indexes of {load.items:,} items are {gb:.1f} GB and {search.instance} "
            f"caches about {cache_gb:.1f} GB: searches would read the disk. Take {next_profile}-c search_instance."
        )
    if gb + gb / assumed.KEPT_INDEXES.value * (MERGING - 1) > search.volume_gb * FULL:
        found.append(
            f"{gb:.1f} GB of indexes, and the next one while it is merged, are more than three quarters of the "
            f"{search.volume_gb} GB volume of {profile}: take {next_profile}a larger volume (infra/profiles.py)."
        )
    return found
