"""What a client may ask or tell: recommendations, items, users, every limit in its type.

msgspec checks types, bounds and unknown fields while it parses, so nothing is allocated by a number that the client
chose. The Lambda edge parses with it; the CLI and the tests build requests from it; `docs/openapi.yaml` is held to it.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

MAX_BODY_BYTES: Final = 64 * 1024
MAX_ITEMS: Final = 100
MAX_HISTORY: Final = 200
MAX_EXCLUDED: Final = 1_000
MAX_FILTER_VALUES: Final = 50
MAX_FILTERS: Final = 10
MAX_FEATURES: Final = 50
MAX_ITEMS_PUT: Final = 100
"""Of one request: a second of encoding, and what one transaction of the store takes."""
MAX_TEXT: Final = 4_000
"""Characters of one feature of an item: a description."""

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
"""An opaque id; 128 characters here, 128 bytes of UTF-8 where it is stored."""
Word = Annotated[str, msgspec.Meta(max_length=256)]
Scalar = Word | float | int | bool
FeatureValue = Word | float | bool | None | Annotated[list[Word], msgspec.Meta(max_length=MAX_FILTER_VALUES)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
ItemFeatureValue = Text | float | bool | None | Annotated[list[Word], msgspec.Meta(max_length=MAX_FILTER_VALUES)]


class Interaction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One event that the client tells inline."""

    item_id: Id
    event_type: Word | None = None
    timestamp: Annotated[float, msgspec.Meta(ge=0, le=4_102_444_800)] | None = None
    """Unix seconds, up to the year 2100."""


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A visit: its events, oldest first, or the id under which they were sent, or both."""

    history: Annotated[list[Interaction], msgspec.Meta(max_length=MAX_HISTORY)] = []
    session_id: Id | None = None
    """Of a visitor without a user id: what was stored of the session is read, where no history is told."""


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of a numeric or timestamp feature, inclusive."""

    gte: float | None = None
    lte: float | None = None


FilterValue = Word | Annotated[list[Word], msgspec.Meta(min_length=1, max_length=MAX_FILTER_VALUES)] | Range


class RecommendationRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/recommendations`."""

    user_id: Id | None = None
    num_items: Annotated[int, msgspec.Meta(ge=1, le=MAX_ITEMS)] = 10
    history: Annotated[list[Interaction], msgspec.Meta(max_length=MAX_HISTORY)] | None = None
    """Oldest first; replaces the stored history for this request."""
    features: Annotated[dict[Word, FeatureValue], msgspec.Meta(max_length=MAX_FEATURES)] | None = None
    """Added over the stored features for this request."""
    filters: Annotated[dict[Word, FilterValue], msgspec.Meta(max_length=MAX_FILTERS)] = {}
    """Item feature → a value, one of several values, or a range; all must hold."""
    exclude_ids: Annotated[list[Id], msgspec.Meta(max_length=MAX_EXCLUDED)] = []
    session: Session | None = None
    prefer: Literal["new"] | None = None
    explain: bool = False


class SimilarRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The parameters of `GET /v1/items/{id}/similar`."""

    item_id: Id
    num_items: Annotated[int, msgspec.Meta(ge=1, le=MAX_ITEMS)] = 10
    explain: bool = False


class PopularRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The parameters of `GET /v1/popular`."""

    category: Word | None = None
    segment: Annotated[dict[Word, Word], msgspec.Meta(max_length=MAX_FEATURES)] = {}
    """User feature → value, as the demographic segment of the schema names them."""
    window: Literal["1h", "6h", "1d", "7d"] | None = None
    """What is popular now, of a window of `contracts/trending.py`; None: the tables of the last night."""
    num_items: Annotated[int, msgspec.Meta(ge=1, le=MAX_ITEMS)] = 10
    explain: bool = False


Features = Annotated[dict[Word, FeatureValue], msgspec.Meta(max_length=MAX_FEATURES)]


class ItemFeatures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /v1/items/{id}`."""

    features: Annotated[dict[Word, ItemFeatureValue], msgspec.Meta(max_length=MAX_FEATURES)]


class ItemToPut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One element of the body of `POST /v1/items`."""

    item_id: Id
    features: Annotated[dict[Word, ItemFeatureValue], msgspec.Meta(max_length=MAX_FEATURES)]


class ItemBatch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several items at once; each is validated, written and answered on its own."""

    items: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MAX_ITEMS_PUT)]


class ItemState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PATCH /v1/items/{id}`: what is not named stays as it is."""

    available: bool | msgspec.UnsetType | None = msgspec.UNSET
    """null: as at training again."""
    hidden: bool | msgspec.UnsetType = msgspec.UNSET


class UserFeatures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /v1/users/{id}`; the features replace those that are stored."""

    features: Features


class MergeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /v1/users/{id}/merge`."""

    session_id: Id
