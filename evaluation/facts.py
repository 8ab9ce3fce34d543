"""What judging needs to know of items and users besides lists: popularity, content, and who is cold or heavy.

Everything is counted on training events only. Groups are sets of users (a boolean per judged user) or of items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from contracts.fitted import FittedModel
from contracts.interactions import Interactions
from evaluation.metrics.diversity import content_space, holder_space

COLD_BELOW: Final = 5
"""Events below which a user or an item is cold: routing's default threshold, the original system's."""

HEAD_SHARE: Final = 0.5
"""The head is the fewest items that hold this share of all training events."""

HEAVY_SHARE: Final = 0.2
"""Heavy users are this most active share of the warm ones."""


@dataclass(frozen=True)
class ItemFacts:
    """Facts of the items at training time. n items."""

    events: NDArray[np.int64]
    """[n] training events."""
    holders: NDArray[np.int64]
    """[n] users with the item in training."""
    n_users: int
    """Users with any training event."""
    space: sp.csr_array
    """[n, m] unit vectors for diversity, of no model that is judged."""
    space_name: str
    """`content` (attributes and text, TF-IDF) or `holders` (who took the item)."""

    @property
    def cold(self) -> NDArray[np.bool_]:
        """[n] fewer than COLD_BELOW training events."""
        return self.events < COLD_BELOW

    @property
    def head(self) -> NDArray[np.bool_]:
        """[n] in the fewest items that hold HEAD_SHARE of the training events."""
        order = np.argsort(-self.events, kind="stable")
        before = np.cumsum(self.events[order]) - self.events[order]
        head = np.zeros(len(self.events), bool)
        head[order[before < HEAD_SHARE * self.events.sum()]] = True
        return head


def item_facts(train: Interactions, model: FittedModel | None = None) -> ItemFacts:
    """Count the training events; the content space comes from the features of `model`, where it has any."""
    has_content = model is not None and len(model.items.features.slots) > 0
    by_holder = holder_space(train)
    space = content_space(model.items.features, model.content.idf) if model and has_content else by_holder
    return ItemFacts(
        train.item_counts(),
        np.diff(by_holder.indptr),
        int(np.count_nonzero(train.lengths)),
        space,
        "content" if has_content else "holders",
    )


def warm_users(histories: Interactions, users: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Users [B] with at least COLD_BELOW known events."""
    warm: NDArray[np.bool_] = histories.lengths[users] >= COLD_BELOW
    return warm


def heavy_users(histories: Interactions, users: NDArray[np.integer]) -> NDArray[np.bool_]:
    """The HEAVY_SHARE most active of the warm users among `users` [B]; ties at the border are all in."""
    lengths, warm = histories.lengths[users], warm_users(histories, users)
    if not warm.any():
        return warm
    heavy: NDArray[np.bool_] = warm & (lengths >= np.quantile(lengths[warm], 1 - HEAVY_SHARE))
    return heavy
