"""Items that two releases both know, so that they can be compared on the same catalogue.

Releases number their items by their own ids; here the rows of one are matched with the rows of the other. The gate
calls it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.ids import IdTable
from contracts.interactions import Interactions


@dataclass(frozen=True)
class Renumbering:
    """`numbers` [n] the new number of each old one, -1 where it has none; `size` new numbers."""

    numbers: NDArray[np.int32]
    size: int


@dataclass(frozen=True)
class CommonItems:
    """m items that both know, in ascending order of their rows."""

    ours: NDArray[np.int32]
    """[m] our rows."""
    theirs: NDArray[np.int32]
    """[m] their rows of the same items."""
    to_common: Renumbering
    """Our rows → places in `ours`."""
    to_theirs: Renumbering
    """Our rows → their rows."""


def common_items(our_ids: pl.Series, their_ids: IdTable) -> CommonItems:
    """Match two catalogues by id; both are in ascending byte order, which keeps the rows of both ascending."""
    theirs_text = pl.Series("id", [their_ids.text(row) for row in range(len(their_ids))], dtype=pl.String)
    theirs = pl.DataFrame({"id": theirs_text, "row": np.arange(len(their_ids), dtype=np.int32)})
    matched = our_ids.alias("id").to_frame().join(theirs, on="id", how="left", maintain_order="left")
    to_theirs = matched["row"].fill_null(-1).to_numpy()
    ours = np.flatnonzero(to_theirs >= 0).astype(np.int32)
    to_common = np.full(len(our_ids), -1, np.int32)
    to_common[ours] = np.arange(len(ours))
    return CommonItems(ours, to_theirs[ours], Renumbering(to_common, len(ours)), Renumbering(to_theirs, len(their_ids)))


def renumber(interactions: Interactions, to: Renumbering) -> Interactions:
    """The events whose item has a new number, under that number."""
    numbers = to.numbers[interactions.items]
    kept = numbers >= 0
    return replace(interactions.select(kept), items=numbers[kept], n_items=to.size)
