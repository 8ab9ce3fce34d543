"""Chance that can be repeated: numbers by who asks, the hour and a key, the same in every process.

A visitor who asks again within the hour sees the same slate, and a draw can be made anew from its log. Each use has
keys of its own, so that no two uses share a number; the keys of items are below all of them. `retrieval` draws what is
explored by it, `reranking` random places and who drafts first.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

HOUR_SECONDS: Final = 3_600

EXPLORED_KEY: Final = 1 << 32
"""What the number of explored places is drawn by."""
RANDOM_KEY: Final = 2 << 32
"""From here on: one number for each random place of a slate."""
DRAFT_KEY: Final = 3 << 32
"""From here on: one number for each round of a draft."""

_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: what splitmix64 adds from one number to the next."""

Seed = np.uint64

NO_SEED: Final[Seed] = np.uint64(0)
"""Of a slate in which nothing is drawn."""


def seed_of(visitor: str, now_seconds: int) -> Seed:
    """Of a user or session id and the hour; who has none ("") is another visitor every second."""
    moment = now_seconds // HOUR_SECONDS if visitor else now_seconds
    told = f"{moment}\0{visitor}".encode("utf-8", "surrogatepass")
    return np.uint64(int.from_bytes(blake2b(told, digest_size=8).digest(), "little"))


def uniform(seed: Seed, keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers in (0, 1), one a key, by seed and key: the upper 53 bits of splitmix64."""
    return ((splitmix64(seed, keys) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def splitmix64(state: np.uint64 | NDArray[np.uint64], steps: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """What splitmix64 (Steele, Lea and Flood 2014) puts out `steps` + 1 steps after a state."""
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is meant
        mixed = state + (steps + np.uint64(1)) * _STEP
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        put_out: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return put_out


def several(seed: Seed, first_key: int, n: int) -> NDArray[np.float64]:
    """Numbers in (0, 1) [n] of one use, by consecutive keys."""
    return uniform(seed, np.arange(first_key, first_key + n, dtype=np.uint64))
