"""How retrieval behaves: thresholds and sizes, typed and checked at start.

An experiment's variant changes these values; the environment fills them at cold start; CDK writes them with `to_env`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from contracts.environment import from_variables, to_variables
from contracts.treatment import OF_RETRIEVAL, Treatment, changes_of

SERVED_MODELS: Final = ("two_tower", "als", "popularity")
_COUNTS: Final = (
    "cold_user_events",
    "tower_events",
    "cold_item_events",
    "pool_per_place",
    "min_pool",
    "max_fetch",
    "recent_items",
    "fresh_items",
)
_NO_TREATMENT: Final = Treatment()
_PREFIX: Final = "TANDEM_RETRIEVAL_"


@dataclass(frozen=True)
class RetrievalSettings:
    """One value each; ValueError names the setting that makes no sense."""

    served_model: str = "two_tower"
    """What answers a user with enough history: `two_tower`, `als` or `popularity`."""
    cold_user_events: int = 5
    """Below this many events a user is cold (the original system's threshold)."""
    tower_events: int = 1
    """From so many events on the towers answer a cold user alone: they learned from users of whom one item is known."""
    cold_item_events: int = 5
    """Below this many events an item is cold (the original system's threshold)."""
    pool_per_place: int = 10
    """Candidates per place of the slate: what diversity has to choose from."""
    min_pool: int = 100
    """Fewest candidates that are re-ranked, so that a slate of one has a choice too."""
    max_fetch: int = 1_000
    """Most rows of one query: a search engine's cost grows with k, and the wider query comes only when needed."""
    cold_quota: float = 0.1
    """Share of the slate, rounded up, that cold items near the history may take: their likeness is a guess."""
    recent_items: int = 10
    """Newest items of a history whose cold neighbours are looked at."""
    new_days: float = 30.0
    """An item published at most so long ago is new (`prefer: new`)."""
    session_weight: float = 1.5
    """How much more than an older event one of the running session weighs.

    Chosen on 1,000 users of the generated world: Recall@20 of the rest of a visit by the towers is .306 at 1, .307 at
    1.5 and .297 at 8; ALS goes on rising, from .268 to .276 at 8.
    """
    exploration_share: float = 0.05
    """Share of a slate that goes to fresh items without events; of ten places half a place, so one in every other."""
    fresh_items: int = 5_000
    """Most fresh items that are served before a night folds them in, the earliest first: scoring them is 20 µs a
    thousand, and reading them makes a cold start longer."""
    index_share: float = 0.6
    """Share of the remaining time that one query may take."""

    def __post_init__(self) -> None:
        if self.served_model not in SERVED_MODELS:
            raise ValueError(f"served_model is {self.served_model!r}, expected one of {', '.join(SERVED_MODELS)}")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not self.new_days >= 0:
            raise ValueError(f"new_days is {self.new_days}, expected 0 or more")
        if not 0 <= self.session_weight < float("inf"):
            raise ValueError(f"session_weight is {self.session_weight}, expected 0 or more")
        for name in ("cold_quota", "exploration_share", "index_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 to 1")

    def pool(self, places: int) -> int:
        """Eligible candidates wanted for a slate of so many places."""
        return max(self.min_pool, places * self.pool_per_place)

    def full_history(self, model: str) -> int:
        """Events from which a model needs no popularity beside it."""
        return min(self.tower_events, self.cold_user_events) if model == "two_tower" else self.cold_user_events

    def treated(self, treatment: Treatment) -> RetrievalSettings:
        """The same with what a variant changes of them, its model included."""
        if treatment == _NO_TREATMENT:  # nearly everybody's
            return self
        changes = changes_of(treatment, OF_RETRIEVAL)
        if treatment.model is not None:
            changes["served_model"] = treatment.model
        return replace(self, **changes)

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> RetrievalSettings:
        """Read TANDEM_RETRIEVAL_<NAME> for each setting; a missing one keeps its default.

        Raises SettingsInvalid where a value does not parse, ValueError where it makes no sense.
        """
        return from_variables(cls, _PREFIX, environment)

    def to_env(self) -> dict[str, str]:
        """The variables that `from_env` reads back equal."""
        return to_variables(self, _PREFIX)
