"""What was served, as its two logs keep it: exposures, which experiments are judged by, and slates.

    exposures   once per user, experiment, variation and day: the assignment table of GrowthBook and of our own report
    slates      once per answer: what was shown, why, and with which probability where chance decided

Both are at-least-once: a repeated exposure is known by `exposure_key`, a repeated slate by its recommendation id. The
Lambda edge writes them, `stores/served_log.py` keeps them, `experiments/analysis` reads them. The columns of their
tables in AWS are in `event_columns.py`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec

_DAY_SECONDS: Final = 86_400
_KEY_BYTES: Final = 16


class Exposure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody was served by a variation. The first four are what GrowthBook asks of an assignment query."""

    user_id: str
    """`anonymous:<session>` of a visitor of whom only a session is known."""
    timestamp: int
    """Unix seconds."""
    experiment_id: str
    variation_id: str
    route: str
    """Of the slate that was served first on that day; a dimension, never a reason to leave somebody out."""
    release: str
    country: str | None = None
    model: str | None = None
    """What the slate was made by, which is not the variation's where it could not be served."""
    degraded: bool = False
    sequence: int = 0
    """Of the payload that decided."""


class ServedSlate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer. k places."""

    recommendation_id: str
    user_id: str
    """As in `Exposure`; empty where nobody can be told from anybody else."""
    timestamp: int
    """Unix seconds."""
    route: str
    model: str
    release: str
    publication: str
    items: list[str]
    """[k] in serving order."""
    scores: list[float]
    """[k]"""
    propensities: list[float]
    """[k] probability with which the item got its place, given the places before; 1 where chance had no part."""
    teams: list[int] = []
    """[k] 0: the variant's model put it there, 1: the one that is interleaved, -1: neither. Empty: no interleaving."""
    variants: list[str] = []
    """`Assignment.label` of each experiment that the user takes part in."""
    degraded: list[str] = []
    country: str | None = None


encode_served: Final = msgspec.json.Encoder().encode
decode_exposure: Final = msgspec.json.Decoder(Exposure).decode
decode_slate: Final = msgspec.json.Decoder(ServedSlate).decode


def exposure_key(exposure: Exposure) -> str:
    """The same for exposures of one user to one variation on one day (UTC)."""
    day = str(exposure.timestamp // _DAY_SECONDS)
    parts = (exposure.user_id, exposure.experiment_id, exposure.variation_id, day)
    text = "\0".join(f"{len(part)}:{part}" for part in parts)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).hexdigest()
