"""Golden cases: the vectors of synthetic users, replayed whenever a release is opened.

Training writes the cases with its own forward pass; this is the serving side of the comparison. `OpenModel` calls
`replay_golden` before a release may serve, sealing and the gate call it before one may ship.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contracts.errors import ParityBroken
from contracts.fitted import FittedModel, Floats
from contracts.golden import TOLERANCE, GoldenCase
from retrieval.als import fold_in
from retrieval.user_tower import encode_user


def golden_vector(
    model: FittedModel, rows: Sequence[int], weights: Sequence[float], features: Mapping[str, Any]
) -> Floats:
    """The two-tower query vector [d] that serving computes for a history (oldest first) and raw features."""
    encoded = model.user_encoder.encode_one(features)
    return encode_user(model.tower, model.items, np.array(rows, np.int32), np.array(weights, np.float32), encoded)


def golden_factor(model: FittedModel, rows: Sequence[int], weights: Sequence[float]) -> Floats:
    """The ALS factor that serving folds a history into [d], empty for an empty history."""
    if not rows:
        return np.empty(0, np.float32)
    factors = model.items.vectors("als", np.array(rows, np.int32))
    return fold_in(model.als, factors, np.array(weights, np.float32))


def replay_golden(model: FittedModel) -> None:
    """Raise ParityBroken where serving computes another vector than training wrote, naming the case and the model."""
    for number, case in enumerate(model.golden):
        _compare(number, "two_tower", golden_vector(model, case.rows, case.weights, case.features), case)
        _compare(number, "als", golden_factor(model, case.rows, case.weights), case)


def _compare(number: int, name: str, computed: Floats, case: GoldenCase) -> None:
    expected = np.asarray(getattr(case, name), np.float32)
    same_shape = computed.shape == expected.shape
    difference = np.max(np.abs(computed - expected), initial=0.0) if same_shape else np.inf
    if not difference <= TOLERANCE:  # a NaN is no parity either
        raise ParityBroken(
            f"golden case {number}: the {name} vector differs from training's by {difference:.2g} "
            f"(allowed {TOLERANCE:g}).",
            fix="Serve with the code of the version that trained, or train again with this one.",
        )
