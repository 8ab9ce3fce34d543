"""Begin where an earlier release ended: its vectors by item id, its embeddings by term.

A release holds vectors, not the id parts that made them, so an id part is the direction less what the content part
now gives, and the sum has the direction that served. Items and terms that the release does not know start fresh. It
decides nothing about passes; `fit.py` calls it.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from contracts.feature_encoder import FeatureEncoder
from contracts.fitted import FittedModel
from training_job.attention import STEEPNESS
from training_job.step import Stepper
from training_job.towers import TorchBag, Towers, bag_sums


def can_continue(model: FittedModel, towers: Towers) -> bool:
    """Whether a release has towers of the same shape."""
    names = ("positions", "match", "recency", "hidden_weight", "crowd")
    return model.items.two_tower.shape[1:] == towers.items.values.shape[1:] and all(
        getattr(model.tower, name).shape == towers.dense[name].shape for name in names
    )


@torch.no_grad()
def continue_from(
    model: FittedModel, stepper: Stepper, item_ids: pl.Series, encoders: tuple[FeatureEncoder, ...]
) -> int:
    """Load a release into fresh towers; `encoders` are the new (user, item) ones. Returns the items that it knew."""
    towers = stepper.towers
    _copy_terms(towers.user_slots.values, encoders[0], model.tower.slots, model.user_encoder)
    _copy_terms(towers.item_slots.values, encoders[1], model.tower.item_slots, model.item_encoder)
    for name, tensor in towers.dense.items():
        if name != "pool_power":  # a release holds the weights that it made; the exponent is learned again at once
            served = torch.from_numpy(np.array(getattr(model.tower, name)))
            tensor.copy_(served / STEEPNESS if name in ("match", "value") else served)
    old = model.items.ids.rows(item_ids.to_list())
    known = np.flatnonzero((old >= 0) & (_lengths(model.items.two_tower)[old] > 0))
    directions = model.items.two_tower[old[known]]
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    ids = torch.from_numpy(directions.astype(np.float32)).to(stepper.device)
    if len(towers.item_slots):
        bag = stepper.data.item_features.take(known)
        ids -= bag_sums(towers.item_slots.values, TorchBag.of(bag, bag.slots, stepper.device))
    towers.items.values[torch.from_numpy(known).to(stepper.device)] = ids
    return len(known)


def _lengths(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1)
    return lengths


def _copy_terms(
    table: torch.Tensor, encoder: FeatureEncoder, old_table: NDArray[np.float32], old: FeatureEncoder
) -> None:
    """Rows of terms that both vocabularies have; buckets of a number only where the edges are the same."""
    old_fields = {field.name: field for field in old.fields}
    for field in encoder.fields:
        before = old_fields.get(field.name)
        if before is None or before.kind is not field.kind:
            continue
        first, old_first = encoder.first_slots[field.name], old.first_slots[field.name]
        if field.terms:
            place = {term: number for number, term in enumerate(before.terms)}
            pairs = [(number, place[term]) for number, term in enumerate(field.terms) if term in place]
        else:
            pairs = [(number, number) for number in range(field.n_slots)] if field.edges == before.edges else []
        if pairs:
            new_rows, old_rows = np.array(pairs).T
            table[torch.from_numpy(first + new_rows).to(table.device)] = torch.from_numpy(
                old_table[old_first + old_rows]
            ).to(table.device)
