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

from contracts.feature_encoder import Bag, FeatureEncoder, FieldVocabulary
from contracts.fitted import AlsArrays, ItemArrays
from contracts.golden import GoldenCase
from contracts.schema import FeatureKind
from training_job.batches import Examples
from training_job.step import Stepper
from training_job.towers import TorchBag, bag_sums

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
    newest = len(stepper.towers.dense["positions"])
    rows, weights = rows[-newest:], weights[-newest:]
    summed = None
    if len(features[0]):
        bag = Bag(*features, np.array([0, len(features[0])]))
        summed = bag_sums(stepper.towers.user_slots.values, TorchBag.of(bag, bag.slots, vectors.device))
    examples = Examples.now(np.zeros(1, np.int64), rows, weights, np.array([len(rows)]))
    return stepper.encode(examples, vectors, summed)[0].cpu().numpy()


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
