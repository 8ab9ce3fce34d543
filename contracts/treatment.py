"""What a variant of an experiment may change of how a slate is made: typed, bounded, and nothing else.

A field that is named replaces the process's own setting for the users of the variant; the names are those of
`RetrievalSettings` and `RerankSettings`. The value of a feature of a payload is one of these, `experiments/payload.py`
checks it, the Lambda edge lays it over its settings.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from contracts.request import MAX_ITEMS

Model = Literal["two_tower", "als", "popularity"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

MAX_RANDOM_PLACES: Final = 10
"""Of a slate; whoever draws all of it learns most and serves worst."""

RANDOM_POOL: Final = 20
"""Candidates that a random place is drawn from, each as likely: the next ones after those that were chosen."""


class Treatment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Changes of one variant; None: as the process has it. The control changes nothing."""

    model: Model | None = None
    """What answers a user with enough history, instead of the publication's model."""
    interleave: Model | None = None
    """Another model whose slate is drafted into that of the first, place by place (team draft)."""
    num_items: Annotated[int, msgspec.Meta(ge=1, le=MAX_ITEMS)] | None = None
    """Places of a slate, whatever the client asked for."""
    random_places: Annotated[int, msgspec.Meta(ge=0, le=MAX_RANDOM_PLACES)] | None = None
    """Places that are drawn from the next RANDOM_POOL candidates with known probabilities, see `ServedSlate`; none are
    where fewer candidates than places are left, as a category cap may have it."""
    cold_user_events: Annotated[int, msgspec.Meta(ge=1, le=1_000)] | None = None
    session_weight: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    exploration_share: Share | None = None
    diversity: Literal["category", "mmr", "none"] | None = None
    category_penalty: Share | None = None
    mmr_relevance: Share | None = None
    recency_weight: Share | None = None
    recency_half_life_days: Annotated[float, msgspec.Meta(gt=0, le=36_500)] | None = None
    category_cap: Annotated[int, msgspec.Meta(ge=0, le=MAX_ITEMS)] | None = None


OF_RETRIEVAL: Final = ("cold_user_events", "session_weight", "exploration_share")
OF_RERANK: Final = (
    "diversity",
    "category_penalty",
    "mmr_relevance",
    "recency_weight",
    "recency_half_life_days",
    "category_cap",
)
"""Fields that go by the same name in the settings of the two units."""


def changes_of(treatment: Treatment, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields among `names` that a treatment changes."""
    return {name: value for name in names if (value := getattr(treatment, name)) is not None}


def changed_fields(treatment: Treatment) -> frozenset[str]:
    """Names of all fields that a treatment changes: two experiments must not change the same one."""
    return frozenset(name for name in treatment.__struct_fields__ if getattr(treatment, name) is not None)
