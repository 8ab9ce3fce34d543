"""What a request's filters let through, twice: as typed clauses for a search engine and as a mask for an exact scan.

`retrieval/filters.py` makes both from one validated filter, so that they cannot disagree; a vector index takes the one
that it understands. Clauses hold plain values only: which field of an index they go to is `index_document`'s list.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray


class AnyOf(msgspec.Struct, frozen=True, tag="any_of"):
    """The item has one of the values; none is given: nothing matches."""

    name: str
    """Of an item feature, as the schema names it."""
    values: tuple[str, ...]
    """Terms of the vocabulary."""


class Within(msgspec.Struct, frozen=True, tag="within"):
    """The number lies between the bounds, both included; a missing number matches nothing."""

    name: str
    gte: float | None = None
    lte: float | None = None


Clause = AnyOf | Within


@dataclass(frozen=True)
class Restriction:
    """All clauses hold; `mask` [n] says of every row whether they do."""

    clauses: tuple[Clause, ...]
    mask: NDArray[np.bool_]
