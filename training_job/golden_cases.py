"""Golden cases: what training's own forward passes say of synthetic users.

Written at export and replayed by serving whenever a release is opened (decision 10). The two-tower vectors come from
the torch towers, the ALS factors from the normal equations written out here, so that neither shares a line with what
it is compared to. No real user is in them. `fit.py` calls it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from contracts.feature_encoder import FeatureEncoder, FieldVocabulary
from contracts.fitted import AlsArrays, ItemArrays
from contracts.golden import GoldenCase
from contracts.schema import FeatureKind
from training_job.step import Stepper
from training_job.towers import Histories, TorchBag, bag_sums, user_vectors

HISTORY_LENGTHS: Final = (0, 0, 1, 1, 2, 3, 5, 8, 13, 21, 50, 100, 101, 140)
"""Nothing, little, the usual, exactly what a tower reads, and more than it reads."""


def golden_cases(
    stepper: Stepper, als: AlsArrays, items: ItemArrays, encoder: FeatureEncoder, seed: int
) -> list[GoldenCase]:
    """One case a length, every second one with features; of items whose vectors every process holds."""
    random = np.random.default_rng(seed)
    vectors, factors = stepper.catalogue(), items.als
    held = items.head if len(items.head) else np.arange(len(items))
    cases = []
    for number, length in enumerate(HISTORY_LENGTHS):
        rows = held[random.integers(0, len(held), length)].astype(np.int64)
        weights = random.choice(np.array([0.5, 1.0, 2.0], np.float32), length)
        features = {field.name: _value(field, random) for field in encoder.fields} if number % 2 else {}
        cases.append(
            GoldenCase(
                rows.tolist(),
                weights.tolist(),
                {name: value for name, value in features.items() if value is not None},
                _query(stepper, vectors, rows, weights, encoder.encode_one(features)).tolist(),
                _factor(als, factors, rows, weights).tolist() if length else [],
            )
        )
    return cases


def _value(field: FieldVocabulary, random: np.random.Generator) -> Any:
    """A value that the vocabulary knows, or None where it knows none."""
    if field.kind in (FeatureKind.NUMERIC, FeatureKind.TIMESTAMP):
        return float(random.choice(field.edges)) if field.edges else None
    if not field.terms:
        return None
    if field.kind is FeatureKind.CATEGORICAL:
        return str(random.choice(field.terms))
    chosen = [str(term) for term in random.choice(field.terms, min(3, len(field.terms)), replace=False)]
    return " ".join(chosen) if field.kind is FeatureKind.TEXT else chosen


@torch.no_grad()
def _query(
    stepper: Stepper,
    vectors: torch.Tensor,
    rows: NDArray[np.int64],
    weights: NDArray[np.float32],
    features: tuple[NDArray[np.int32], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """The two-tower vector [d] of one user, history oldest first."""
    read = slice(None, -len(stepper.towers.dense["positions"]) - 1, -1)  # the newest, newest first
    rows, weights = rows[read].copy(), weights[read].copy()
    device = vectors.device
    histories = Histories(
        torch.from_numpy(rows).to(device),
        torch.from_numpy(weights).to(device),
        torch.arange(len(rows), device=device),
        torch.zeros(len(rows), dtype=torch.int64, device=device),
        torch.tensor([0, len(rows)], device=device),
    )
    summed = None
    if len(features[0]):
        slots = torch.from_numpy(features[0].astype(np.int64)).to(device)
        bag = TorchBag(slots, torch.from_numpy(features[1]).to(device), torch.tensor([0, len(slots)], device=device))
        summed = bag_sums(stepper.towers.user_slots.values, bag)
    items = (vectors, stepper.pool_weights())
    return user_vectors(stepper.towers.dense, histories, items, summed)[0].cpu().numpy()


def _factor(
    als: AlsArrays, factors: NDArray[np.float32], rows: NDArray[np.int64], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Hu, Koren and Volinsky 2008, equation 4, event by event, in double precision [d]."""
    matrix = als.gram.astype(np.float64) + als.regularisation * np.eye(len(als.gram))
    target = np.zeros(len(als.gram))
    for row, weight in zip(rows, weights, strict=True):
        factor = factors[row].astype(np.float64)
        matrix += als.alpha * weight * np.outer(factor, factor)
        target += (1 + als.alpha * weight) * factor
    return np.linalg.solve(matrix, target).astype(np.float32)
