"""What changes between two nights, as its stores keep it: items told by clients, who left, what is popular now.

Live data sits beside a release, never inside it (decision 14). An item's vectors are kept per release, so that none is
ever scored against another release's. `stores/fresh_items.py`, `stores/identities.py` and `stores/live_counts.py` keep
these; the Lambda edge, the batch job and the steps of a night read and write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import msgspec

ANONYMOUS_PREFIX: Final = "anonymous:"
"""Of the user id under which a session without a user is kept and logged; no client may name such a user."""

EVENTS_COUNTED: Final = 20
"""Events of a fresh item that are counted: several times what makes an item warm, and a popular one costs no more."""

MAX_LIVE_FEATURES_BYTES: Final = 8 * 1024
"""Of an item's features, encoded: a long description; a hundred such items fill a page of DynamoDB."""

BUCKET_SECONDS: Final = 600
"""Of the counts of what is popular now."""

COUNTS_KEPT_SECONDS: Final = 2 * 24 * 3_600
"""After the end of a bucket: a release holds what is older than a day, and a night may fail once."""

COUNTED_ITEMS: Final = 1_000
"""Items of one writer's counts of one bucket: the most popular ones, 40 KB at most."""

DIGEST_CHARACTERS: Final = 32
"""128 bits: no two users of 10¹⁵ share a digest."""


class Encoding(msgspec.Struct, frozen=True, array_like=True):
    """A fresh item as one release sees it. d dimensions."""

    digest: str
    """Of the features that it was made of."""
    two_tower: bytes
    """[d] float32, little endian: the content part, leaning on its neighbours as training lets cold items lean."""
    als: bytes
    """[d] float32, little endian: the mean of its neighbours' factors, weighted by similarity."""
    neighbours: list[int]
    """Rows of its nearest hot items by TF-IDF, best first."""
    similarities: list[float]
    """[neighbours] cosine."""


class LiveItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was told of an item since it was last folded into a release, or what holds until somebody takes it back."""

    item_id: str
    features: dict[str, Any] | None = None
    """As the schema names them; None: only its state was told."""
    digest: str = ""
    """Of the features, see `features_digest`."""
    created_at: int = 0
    """Unix seconds: when its features were first told; decides who has a place where there are too many."""
    available: bool | None = None
    """Live stock; None: as at training."""
    hidden: bool = False
    events: int = 0
    """Events since it was told, EVENTS_COUNTED at most."""
    encodings: dict[str, Encoding] = {}
    """Release → its vectors there."""

    @property
    def has_state(self) -> bool:
        """Whether serving must know it although every release does."""
        return self.hidden or self.available is not None


class Tombstone(msgspec.Struct, frozen=True):
    """A user who left: nothing of them from before is trained on, folded in, exported or served again."""

    digest: str
    """`user_digest` of the id: enough to leave somebody out, not to know who it was."""
    deleted_at: int
    """Unix seconds; events that arrive later are a new beginning."""


class Merge(msgspec.Struct, frozen=True):
    """An anonymous session that turned out to be of a user."""

    session: str
    """User id of the session in log and profiles: ANONYMOUS_PREFIX and the session id."""
    user_id: str
    merged_at: int


class Counts(msgspec.Struct, frozen=True):
    """What one process counted in one bucket of time; written over as it grows, by nobody else."""

    bucket: int
    """Unix time // BUCKET_SECONDS."""
    writer: str
    weights: dict[str, float]
    """Item id → sum of positive event weights; COUNTED_ITEMS at most."""


def features_digest(features: Mapping[str, Any]) -> str:
    """The same for equal features in any order."""
    return sha256(msgspec.json.encode(features, order="deterministic")).hexdigest()[:DIGEST_CHARACTERS]


def user_digest(user_id: str) -> str:
    """How a tombstone names a user."""
    return sha256(b"user\0" + user_id.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_CHARACTERS]


def session_user(session_id: str) -> str:
    """The user id under which an anonymous session is kept."""
    return ANONYMOUS_PREFIX + session_id


def is_anonymous(user_id: str) -> bool:
    """Whether a user id is that of an anonymous session."""
    return user_id.startswith(ANONYMOUS_PREFIX)
