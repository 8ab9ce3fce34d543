"""A small share of a slate for fresh items that nobody has touched, to find out whom they please.

    places = share of the slate, rounded down, and one more as often as the rest asks for
    each item of rank r by the model's score for this visitor is drawn with the weight 1 / r

Drawn without replacement by the keys of Efraimidis and Spirakis (2006), -ln(u) / weight, the smallest first. The u are
hashes of who asks, of the hour and of the item, so a visitor who asks again within the hour sees the same, and a draw
can be repeated. It knows neither the model nor the slate; `recommend.py` calls it, re-ranking puts the drawn last.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.fitted import Floats, Rows

_HOUR_SECONDS: Final = 3_600
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: what splitmix64 adds from one number to the next."""
_PLACES_KEY: Final = np.array([1 << 32], np.uint64)
"""What the number of places is drawn by; keys of items are below it."""

Seed = np.uint64


def seed_of(visitor: str, now_seconds: int) -> Seed:
    """Of a user or session id and the hour; who has none ("") is another visitor every second."""
    moment = now_seconds // _HOUR_SECONDS if visitor else now_seconds
    told = f"{moment}\0{visitor}".encode("utf-8", "surrogatepass")
    return np.uint64(int.from_bytes(blake2b(told, digest_size=8).digest(), "little"))


def explored_places(share: float, places: int, seed: Seed) -> int:
    """How many of the places go to exploring: on the average `share` of them."""
    wanted = share * places
    sure = int(wanted)
    return sure + int(_uniform(seed, _PLACES_KEY)[0] < wanted - sure)


def draw(rows: Rows, keys: NDArray[np.uint64], scores: Floats | None, n: int, seed: Seed) -> Rows:
    """At most n of the rows [u], in the order drawn. `keys` [u]: a number of each one's id.

    `scores` [u] rank them, the highest first; None: all weigh the same. Half of the draws fall on the first √u.
    """
    arrivals = -np.log(_uniform(seed, keys))
    if scores is not None:
        ranks = np.empty(len(rows), np.float64)
        ranks[np.argsort(-scores, kind="stable")] = np.arange(1, len(rows) + 1)
        arrivals *= ranks
    if n < len(rows):
        first = np.argpartition(arrivals, n)[:n]
        rows, arrivals = rows[first], arrivals[first]
    return rows[np.argsort(arrivals, kind="stable")]


def _uniform(seed: Seed, keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Numbers in (0, 1), one a key, by seed and key: splitmix64 (Steele, Lea and Flood 2014), its upper 53 bits."""
    with np.errstate(over="ignore"):
        mixed = seed + (keys + np.uint64(1)) * _STEP
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
