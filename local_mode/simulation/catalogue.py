"""The items of the simulated world: two topics each, a quality that nothing tells, attributes that tell the topics.

A topic is what a taste is about; a category holds a few. Every item has a first topic, which gives it its category,
adjectives and tags, and a second one, of which a tag tells. Whether it is any good is seen by looking only. New items
are born every day, dealt to the topics in turn. It knows no users; `nature` calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_sources.world_catalogue import CATEGORIES
from local_mode.simulation.families import FAMILIES
from local_mode.simulation.settings import SimulationSettings

_ITEMS_PER_TOPIC: Final = 20
_TOPICS_PER_CATEGORY: Final = 3
_MOST_TOPICS: Final = 120
"""Tastes are kept by user and topic: of 20,000 users they take 20 MB."""
_SAME_CATEGORY: Final = 0.5
"""How often the second topic lies in the category of the first."""
_AGE_DAYS: Final = 720
"""The catalogue of day 0 was built over two years."""
_ADJECTIVES: Final = (
    "bright", "quiet", "early", "open", "plain", "small", "grand", "swift", "gentle", "deep", "clear", "warm", "crisp",
    "bold", "calm", "dark", "fine", "golden", "hidden", "lucky", "modern", "noble", "old", "pure", "rapid", "silver",
    "tall", "urban", "vivid", "wild", "young", "broad",
)  # fmt: skip
_OF_TOPIC: Final = 3
"""Adjectives, and tags, that belong to a topic."""
_TAGS: Final = 12
"""Tags of a category."""
_PRICE_LEVEL: Final = 3.2
_PRICE_SPREAD: Final = 0.5
"""Of the log: a typical price is about 25, and a third of the items lie beyond 15 to 40."""
_DAY: Final = 86_400

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Catalogue:
    """n items, in the order of their birth; t topics."""

    category: Ints
    """[t] number of the category of each topic."""
    topic: Ints
    second: Ints
    """[n] the two topics of an item."""
    quality: Floats
    """[n] what everybody sees in it, of spread one."""
    log_price: Floats
    """[n]"""
    born_day: Ints
    """[n] ascending; negative for what is older than the world."""

    def __len__(self) -> int:
        return len(self.topic)

    @property
    def n_topics(self) -> int:
        return len(self.category)

    @property
    def n_categories(self) -> int:
        return int(self.category.max()) + 1

    @property
    def item_category(self) -> Ints:
        """[n]"""
        return self.category[self.topic]


def make_catalogue(settings: SimulationSettings) -> Catalogue:
    """Draw the items of day 0 and of every day after."""
    rng = np.random.default_rng([settings.seed, 1])
    n_topics = int(np.clip(settings.items // _ITEMS_PER_TOPIC, 2, _MOST_TOPICS))
    n_categories = int(np.clip(n_topics // _TOPICS_PER_CATEGORY, 2, len(CATEGORIES)))
    category = rng.permutation(np.arange(n_topics) % n_categories)
    born = _births(rng, settings)
    topic = np.concatenate([rng.permutation(n_topics) for _ in range(-(-len(born) // n_topics))])[: len(born)]
    return Catalogue(
        category,
        topic,
        _second_topics(rng, category, topic),
        _qualities(rng, settings, born),
        rng.normal(_PRICE_LEVEL, _PRICE_SPREAD, len(born)),
        born,
    )


def _births(rng: np.random.Generator, settings: SimulationSettings) -> Ints:
    old = np.sort(-rng.integers(1, _AGE_DAYS, settings.items))
    due = np.floor(np.arange(settings.total_days + 1) * settings.new_items_per_day).astype(np.int64)
    return np.concatenate([old, np.repeat(np.arange(settings.total_days), np.diff(due))])


def _second_topics(rng: np.random.Generator, category: Ints, topic: Ints) -> Ints:
    anywhere = (topic + rng.integers(1, len(category), len(topic))) % len(category)
    order = np.argsort(category, kind="stable")
    counts = np.bincount(category)
    firsts = np.cumsum(counts) - counts
    near = order[firsts[category[topic]] + rng.integers(0, counts[category[topic]])]
    return np.where(rng.random(len(topic)) < _SAME_CATEGORY, near, anywhere)


def _qualities(rng: np.random.Generator, settings: SimulationSettings, born: Ints) -> Floats:
    drawn = rng.normal(0, 1, len(born))
    given = FAMILIES[settings.family].new_quality
    return drawn if given is None else np.where(born >= 0, given, drawn)


def items_table(settings: SimulationSettings, catalogue: Catalogue, item_ids: list[str]) -> pl.DataFrame:
    """The attributes of all items: item_id, category, tags, price, published_at (Unix seconds), title."""
    rng = np.random.default_rng([settings.seed, 2])
    names = np.array(CATEGORIES)[catalogue.item_category]
    word, tags = _words_of_topics(rng, catalogue)
    pick = rng.integers(0, _OF_TOPIC, (len(catalogue), 3))
    adjective = np.array(_ADJECTIVES)[word[catalogue.topic, pick[:, 0]]]
    second = tags[catalogue.second, pick[:, 2]]
    published = settings.start + catalogue.born_day * _DAY
    return pl.DataFrame(
        {
            "item_id": item_ids,
            "category": names,
            "tags": [list(pair) for pair in zip(tags[catalogue.topic, pick[:, 1]], second, strict=True)],
            "price": np.exp(catalogue.log_price).round(2),
            "published_at": published,
            "title": [f"{a} {n} {number}" for number, (a, n) in enumerate(zip(adjective, names, strict=True))],
        }
    ).with_columns(pl.col("tags").list.unique(maintain_order=True))


def _words_of_topics(rng: np.random.Generator, catalogue: Catalogue) -> tuple[Ints, NDArray[np.str_]]:
    """[t, _OF_TOPIC] adjectives, as numbers, and tags of every topic."""
    shape = (catalogue.n_topics, _OF_TOPIC)
    names = np.array(CATEGORIES)[catalogue.category]
    numbers = rng.integers(0, _TAGS, shape)
    tags = np.array([[f"{name}-{number}" for number in row] for name, row in zip(names, numbers, strict=True)])
    return rng.integers(0, len(_ADJECTIVES), shape), tags
