"""What the steps of a night are told: one frozen class, filled by the stacks and read by jobs and functions.

Every step reads the same variables; each uses those that its role allows. Nothing is read at import.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.environment import from_variables, to_variables
from contracts.errors import SettingsInvalid
from contracts.fitted import HEAD_ITEMS

_PREFIX: Final = "TANDEM_"


@dataclass(frozen=True)
class NightSettings:
    """Where the stores of a night are, and its thresholds."""

    data_bucket: str = ""
    """Bucket of datasets, snapshots, events and nights."""
    releases_bucket: str = ""
    profiles_table: str = ""
    live_table: str = ""
    """Fresh items, who left and whose sessions are whose."""
    opensearch_url: str = ""
    """The search domain; empty where every release is searched itself."""
    opensearch_region: str = ""
    """AWS region whose signature the domain wants; empty: requests are not signed."""
    dataset: str = ""
    """Name of the dataset to train on; empty: the only one there is."""
    engine_above: int = HEAD_ITEMS
    """A catalogue of more items than this is searched in the domain."""
    part_items: int = 50_000
    """Items that one call of the loader takes: two minutes of a small domain, far from a function's 15."""
    few_events_percent: int = 20
    """A day with fewer events than this part of a usual one is refused: a feed broke. 0: never."""
    history_days: int = 0
    """Older events leave the snapshot. 0: none do, for a seeded dataset may be from years ago; give a living deployment
    two seasons."""
    home: Path = Path("/tmp/tandem")  # noqa: S108  # the one folder that a function can write, its own
    """Where files of releases are kept while a step runs."""
    service: str = "tandem-night"
    """What log lines and metrics go by."""
    prefix: str = "tandem"
    """Of the deployment: names of training and processing jobs begin with it."""

    def __post_init__(self) -> None:
        for name in ("engine_above", "few_events_percent", "history_days"):
            if getattr(self, name) < 0:
                raise SettingsInvalid(f"TANDEM_{name.upper()} is {getattr(self, name)}.", fix="Give 0 or more.")
        if self.part_items < 1:
            raise SettingsInvalid(f"TANDEM_PART_ITEMS is {self.part_items}.", fix="Give 1 or more.")
        if self.few_events_percent > 100:
            raise SettingsInvalid(f"TANDEM_FEW_EVENTS_PERCENT is {self.few_events_percent}.", fix="Give 0 to 100.")

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> NightSettings:
        """Read the variables that are set, defaults for the others. Raises SettingsInvalid, naming the variable."""
        return from_variables(cls, _PREFIX, os.environ if environment is None else environment)

    def to_env(self) -> dict[str, str]:
        """The variables that `from_env` reads back equal."""
        return to_variables(self, _PREFIX)

    def needed(self, *names: str) -> None:
        """Raise SettingsInvalid where one of these is empty."""
        if missing := [f"TANDEM_{name.upper()}" for name in names if not getattr(self, name)]:
            raise SettingsInvalid(f"{', '.join(missing)} is not set.", fix="Deploy with the stacks of this repository.")
