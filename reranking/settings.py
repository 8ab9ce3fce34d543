"""How a slate is put together: weights and limits, typed and checked at start.

An experiment's variant changes these values; the environment fills them at cold start; CDK writes them with `to_env`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from contracts.environment import from_variables, to_variables
from contracts.treatment import OF_RERANK, Treatment, changes_of

DIVERSITIES: Final = ("category", "mmr", "none")
_NO_TREATMENT: Final = Treatment()
_PREFIX: Final = "TANDEM_RERANK_"


@dataclass(frozen=True)
class RerankSettings:
    """One value each; ValueError names the setting that makes no sense."""

    diversity: str = "category"
    """`category`: a penalty per repeat; `mmr`: against similar vectors; `none`."""
    category_penalty: float = 0.02
    """What each item of the same category before it costs, on a scale where the best candidate has 1, the worst 0.

    Chosen on validation cuts of MovieLens (100K; 1M, the half with times): 5.3 and 4.7 instead of 4.7 and 4.1
    categories in ten places for no NDCG and no recall, in ten places or twenty. 0.05 gives 5.8 and 5.3, costs 5 and 2 %
    of NDCG@10, and 7 % of Recall@20 on 1M: repeats add up, so in long slates it outweighs any score.
    """
    mmr_relevance: float = 0.8
    """Weight of the score in MMR; the rest is the weight of being unlike what is already there."""
    recency_weight: float = 0.1
    """Share of its score that an item loses as it grows old; 0: age does not matter."""
    recency_half_life_days: float = 30.0
    """Age at which half of that share is lost."""
    category_cap: int = 0
    """Most items of one category in a slate, as long as others are left; 0: no cap."""

    def __post_init__(self) -> None:
        if self.diversity not in DIVERSITIES:
            raise ValueError(f"diversity is {self.diversity!r}, expected one of {', '.join(DIVERSITIES)}")
        for name in ("category_penalty", "mmr_relevance", "recency_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 to 1")
        if not self.recency_half_life_days > 0:
            raise ValueError(f"recency_half_life_days is {self.recency_half_life_days}, expected more than 0")
        if self.category_cap < 0:
            raise ValueError(f"category_cap is {self.category_cap}, expected 0 or more")

    def treated(self, treatment: Treatment) -> RerankSettings:
        """The same with what a variant changes of them."""
        if treatment == _NO_TREATMENT:  # nearly everybody's
            return self
        return replace(self, **changes_of(treatment, OF_RERANK))

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> RerankSettings:
        """Read TANDEM_RERANK_<NAME> for each setting; a missing one keeps its default.

        Raises SettingsInvalid where a value does not parse, ValueError where it makes no sense.
        """
        return from_variables(cls, _PREFIX, environment)

    def to_env(self) -> dict[str, str]:
        """The variables that `from_env` reads back equal."""
        return to_variables(self, _PREFIX)
