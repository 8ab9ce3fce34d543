"""Golden cases: synthetic users with the vectors that training computed for them.

Written at export by the trainer's own forward pass and replayed by the serving one whenever a release is opened: a
difference means that the two no longer compute the same thing, and the release is not served. No real user is in
them.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

TOLERANCE: Final = 1e-5
"""Largest difference of any coordinate: float32 sums in another order differ by about 1e-7."""


class GoldenCase(msgspec.Struct, frozen=True):
    """One synthetic user, history oldest first."""

    rows: list[int]
    weights: list[float]
    features: dict[str, Any]
    two_tower: list[float]
    """Expected query vector [d]."""
    als: list[float]
    """Expected folded-in factor [d] (empty history: empty list)."""
