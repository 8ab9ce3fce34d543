"""The items of the synthetic world: clusters of taste, long-tail popularity, attributes and text that tell the cluster.

A cluster is what a taste is about (say, trail shoes); a category holds several. Brand, tags, price and words are drawn
from pools of the cluster and its category, so content says where an item belongs. Nothing here knows users or events;
`world_events` draws from the clusters, `generator` writes the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

CATEGORIES: Final = (
    "books", "music", "films", "games", "toys", "garden", "kitchen", "camping", "cycling", "running", "fashion",
    "shoes", "beauty", "health", "grocery", "coffee", "pets", "baby", "office", "tools", "cars", "audio", "phones",
    "art",
)  # fmt: skip

_ITEMS_PER_CLUSTER: Final = 40
"""Large enough that knowing a user's clusters does not give the item away, small enough that it helps a lot."""
_CLUSTERS_PER_CATEGORY: Final = 2
"""At the least: with one, category would say all there is to know."""
_BRANDS, _NOUNS, _TAGS = 8, 8, 24
"""Pools of a category."""
_WORDS, _GENERAL_WORDS = 16, 200
"""Words of a cluster, and words that say nothing."""

_BORN_BEFORE: Final = 0.6
"""Share of the catalogue that exists when the window opens; the rest appears during it."""
_CATALOGUE_AGE_DAYS: Final = 720
_NEWEST_DAYS: Final = 0.05
"""Half of the cold items appear in this last share of the window: nobody has found them yet."""
_COLD_EVENTS: Final = 5
"""A cold item has fewer events than this, evenly from none."""
_MISSING: Final = 0.03
"""Share of items without a brand, and of items without a description: real catalogues have gaps."""

_STRIDE: Final = 7_919
"""Prime to the number of words, so that neighbouring numbers make words that look unlike."""

_DAY: Final = 86_400

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Catalogue:
    """n items in order of their cluster: cluster c owns positions starts[c]:starts[c + 1]."""

    starts: Ints
    """[n_clusters + 1]"""
    category: Ints
    """[n_clusters] number of the category."""
    cluster_weight: NDArray[np.float64]
    """[n_clusters] how popular a cluster is; sums to one."""
    cumulative: NDArray[np.float64]
    """[n + 1] running sum of the items' popularity; a cold item adds nothing."""
    published: Ints
    """[n] Unix seconds."""
    price: NDArray[np.float64]
    """[n]"""
    cold_events: Ints
    """[n] events that a cold item is to get; -1 for the others."""
    ids: pl.Series
    """[n] shuffled, so that an id says nothing of the cluster."""

    @property
    def n_clusters(self) -> int:
        return len(self.category)

    @property
    def cluster(self) -> Ints:
        """[n]"""
        return np.repeat(np.arange(self.n_clusters), np.diff(self.starts))


def make_catalogue(rng: np.random.Generator, n: int, window: tuple[int, int], cold_share: float) -> Catalogue:
    """Draw `n` items; `window` is the first and last second of the world."""
    n_clusters = int(np.clip(round(n / _ITEMS_PER_CLUSTER), 1, 2_000))
    category = rng.permutation(np.arange(n_clusters) % n_categories(n_clusters))
    weight = rng.permutation((np.arange(n_clusters) + 2.0) ** -0.9)
    weight /= weight.sum()
    sizes = 1 + rng.multinomial(n - n_clusters, 0.5 * weight + 0.5 / n_clusters)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    rank = np.concatenate([rng.permutation(size) for size in sizes])
    founder = np.zeros(n, bool)
    founder[starts[:-1]] = True  # so that a cluster is never without an item that is born and warm
    cold = _choose(rng, ~founder, round(cold_share * n))
    popularity = np.where(cold, 0.0, (rank + 2.0) ** -1.1)
    return Catalogue(
        starts,
        category,
        weight,
        np.concatenate([[0.0], np.cumsum(popularity)]),
        _birth(rng, founder, cold, window),
        _prices(rng, np.repeat(category, sizes)),
        np.where(cold, rng.integers(0, _COLD_EVENTS, n), -1),
        pl.select(pl.format("i_{}", pl.lit(pl.Series(rng.permutation(n))))).to_series().alias("item_id"),
    )


def n_categories(n_clusters: int) -> int:
    """How many categories hold the clusters."""
    return int(np.clip(n_clusters // _CLUSTERS_PER_CATEGORY, 1, len(CATEGORIES)))


def _choose(rng: np.random.Generator, among: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    chosen = np.zeros(len(among), bool)
    candidates = np.flatnonzero(among)
    chosen[rng.choice(candidates, min(count, len(candidates)), replace=False)] = True
    return chosen


def _birth(
    rng: np.random.Generator, founder: NDArray[np.bool_], cold: NDArray[np.bool_], window: tuple[int, int]
) -> Ints:
    start, end = window
    n, length = len(cold), end - start
    before = start - rng.integers(1, _CATALOGUE_AGE_DAYS * _DAY, n)
    during = start + rng.integers(0, length, n)
    newest = end - rng.integers(1, max(2, int(_NEWEST_DAYS * length)), n)
    early = founder | (rng.random(n) < _BORN_BEFORE)
    return np.where(cold & (rng.random(n) < 0.5), newest, np.where(early, before, during))


def _prices(rng: np.random.Generator, category: Ints) -> NDArray[np.float64]:
    level = rng.normal(3.2, 0.8, len(CATEGORIES))  # a category's typical price lies between about 5 and 120
    prices: NDArray[np.float64] = np.exp(level[category] + rng.normal(0, 0.5, len(category)))
    return prices.round(2)


def items_table(rng: np.random.Generator, catalogue: Catalogue) -> pl.DataFrame:
    """The items table: category, brand, tags, price, published_at, title, description."""
    cluster, n = catalogue.cluster, len(catalogue.ids)
    category = catalogue.category[cluster]
    pool = rng.integers(0, _BRANDS, (catalogue.n_clusters, 3))  # a cluster's three brands of its category's eight
    brand = category * _BRANDS + pool[cluster, rng.integers(0, 3, n)]
    title, description = _texts(rng, cluster, category)
    frame = pl.DataFrame(
        {
            "item_id": catalogue.ids,
            "category": pl.Series(CATEGORIES).gather(category),
            "brand": _blank(rng, _vocabulary(0, len(CATEGORIES) * _BRANDS).str.to_titlecase().gather(brand)),
            "tags": _tags(rng, cluster, category, catalogue.n_clusters),
            "price": catalogue.price,
            "published_at": catalogue.published,
            "title": title,
            "description": _blank(rng, description),
        }
    )
    return frame.sort("item_id")


def _blank(rng: np.random.Generator, values: pl.Series) -> pl.Series:
    return values.set(pl.Series(rng.random(len(values)) < _MISSING), None)


def _tags(rng: np.random.Generator, cluster: Ints, category: Ints, n_clusters: int) -> pl.Series:
    """[n] lists of three: two of the cluster's six, one of the category's."""
    names = _vocabulary(1_000, len(CATEGORIES) * _TAGS)
    own = rng.integers(0, _TAGS, (n_clusters, 6))
    chosen = own[cluster[:, None], rng.integers(0, 6, (len(cluster), 2))]
    chosen = np.column_stack([chosen, rng.integers(0, _TAGS, len(cluster))]) + category[:, None] * _TAGS
    words = names.gather(chosen.ravel()).reshape((len(cluster), 3)).arr.to_list()
    return words.list.unique(maintain_order=True)


def _texts(rng: np.random.Generator, cluster: Ints, category: Ints) -> tuple[pl.Series, pl.Series]:
    """Titles (a word of the cluster, a noun of the category, a number) and descriptions (words of the cluster)."""
    n = len(cluster)
    nouns = _vocabulary(2_000, len(CATEGORIES) * _NOUNS)
    own = _vocabulary(4_000, (int(cluster.max()) + 1) * _WORDS)
    general = _vocabulary(3_000, _GENERAL_WORDS)

    def of_cluster(count: int) -> list[pl.Series]:
        picks = rng.integers(0, _WORDS, (count, n))
        return [own.gather(cluster * _WORDS + pick) for pick in picks]

    noun = nouns.gather(category * _NOUNS + (cluster * 3 + rng.integers(0, 3, n)) % _NOUNS)
    number = pl.Series(rng.integers(100, 1_000, n)).cast(pl.String)
    filler = [general.gather(rng.integers(0, _GENERAL_WORDS, n)) for _ in range(4)]
    title = _join([of_cluster(1)[0].str.to_titlecase(), noun, number])
    return title, _join([*of_cluster(6), *filler, noun])


def _join(columns: list[pl.Series]) -> pl.Series:
    frame = pl.DataFrame([column.alias(str(number)) for number, column in enumerate(columns)])
    return frame.select(pl.concat_str(pl.all(), separator=" ")).to_series()


def _vocabulary(first: int, count: int) -> pl.Series:
    """`count` invented words, the same for every seed; words of different numbers differ."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvzjh" for vowel in "aeiou"]
    sounds, size = pl.Series(syllables), len(syllables)
    number = np.arange(first, first + count) * _STRIDE % size**3
    digits = [number % size, number // size % size, number // size**2 % size]
    return (
        pl.DataFrame({str(i): sounds.gather(digit) for i, digit in enumerate(digits)})
        .select(pl.concat_str(pl.all()))
        .to_series()
    )
