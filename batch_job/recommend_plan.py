"""What a batch of recommendations is told: for whom, how, and where the stores are.

Knows no store and no file format. The CLI and `python -m batch_job` fill these, `recommend.py` works from them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from contracts.errors import SettingsInvalid
from contracts.request import MAX_ITEMS, FilterValue
from reranking.settings import RerankSettings
from retrieval.settings import RetrievalSettings
from stores.fresh_items import FreshItems
from stores.identities import Identities
from stores.profiles import Profiles
from stores.releases import Releases

PART_USERS: Final = 10_000
"""Of a part: some seconds of work, which is what a kill loses, and a megabyte of ten places each."""


def promotion_from_env(environment: Mapping[str, str] = os.environ) -> tuple[dict[str, FilterValue], float]:
    """What is promoted and its least share, as the functions read them. Raises SettingsInvalid."""
    told, share = environment.get("TANDEM_PROMOTED") or "{}", environment.get("TANDEM_PROMOTED_SHARE") or "0"
    try:
        return msgspec.json.decode(told, type=dict[str, FilterValue]), float(share)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SettingsInvalid(
            f"TANDEM_PROMOTED, TANDEM_PROMOTED_SHARE: {error}.", fix="As the functions have them."
        ) from error


@dataclass(frozen=True)
class Sources:
    """How the stores are opened. Other processes call these, so they must be picklable."""

    releases: Callable[[], Releases]
    profiles: Callable[[], AbstractContextManager[Profiles]]
    fresh_items: Callable[[], FreshItems]
    identities: Callable[[], Identities]


@dataclass(frozen=True)
class Plan:
    """What is to be made. Raises SettingsInvalid for what makes no sense."""

    users: Path | None
    """File of ids, see `recommend_users.py`; None: everybody with a profile."""
    now_seconds: int
    """Unix seconds: the moment of all slates, of a folder that is begun now."""
    num_items: int = 10
    """Places of a slate."""
    retrieval: RetrievalSettings = field(default_factory=RetrievalSettings)
    """Its `served_model` gives way to the publication's."""
    rerank: RerankSettings = field(default_factory=RerankSettings)
    promoted: Mapping[str, FilterValue] = field(default_factory=dict)
    """Filters: the items that are promoted; empty: none."""
    promoted_share: float = 0.0
    """Least share of every slate that must be promoted items, as far as candidates are."""
    processes: int = 1
    restart: bool = False
    """Begin anew, whatever the folder holds of an earlier batch."""
    part_users: int = PART_USERS

    def __post_init__(self) -> None:
        if not 1 <= self.num_items <= MAX_ITEMS:
            raise SettingsInvalid(f"num_items is {self.num_items}.", fix=f"Give 1 to {MAX_ITEMS}.")
        for name in ("processes", "part_users"):
            if getattr(self, name) < 1:
                raise SettingsInvalid(f"{name} is {getattr(self, name)}.", fix="Give 1 or more.")

    def settings(self) -> dict[str, str]:
        """What decides the slates beside publication, users and places, as text that can be compared."""
        promotion = {"PROMOTED": msgspec.json.encode(self.promoted, order="deterministic").decode()}
        promotion |= {"PROMOTED_SHARE": str(self.promoted_share), "PART_USERS": str(self.part_users)}
        return self.retrieval.to_env() | self.rerank.to_env() | promotion
