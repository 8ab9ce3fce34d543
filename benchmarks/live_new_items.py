"""New items: a tenth of ML-1M's films that training never heard of, for the users who watched them.

Neither their events nor their rows of the catalogue are there when the model is trained; each is then encoded from its
features alone by `retrieval.fresh.FreshEncoder`, as a running service encodes what a client tells. Every user with such
films among theirs is shown a list made from all their other films: of new films only, and of the whole catalogue.
Beside it: the films whose TF-IDF neighbours (the nearest hot items, as a release keeps them) the user has, new films
drawn from the user's categories at random, and, stated, TF-IDF over everything that the user has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import scipy.sparse as sp
from numpy.typing import NDArray

from benchmarks.live_figures import PerUser, mean_ratio, means
from benchmarks.movielens import whole_movielens
from contracts.fitted import FittedModel, Floats, Rows
from contracts.interactions import Interactions
from contracts.live import Encoding
from data_sources.indexed import IndexedDataset
from evaluation.metrics.diversity import content_space
from evaluation.metrics.hits import find_hits
from evaluation.metrics.recall import recall
from evaluation.rankers import als_encoder, top_k, tower_encoder
from retrieval.fresh import FreshEncoder
from training_job.assemble import item_categories
from training_job.fit import fit
from training_job.settings import TrainingSettings
from training_job.vocabulary import encode_table

K: Final = 20
HELD_SHARE: Final = 0.1
DRAWS: Final = 10
"""Random lists a user: their mean moves by less than a hundredth of itself."""
FEWEST_KNOWN: Final = 5
"""Other films of a user: warm ones, as routing counts."""
NEIGHBOURS, EVERYTHING, CHANCE = "tfidf neighbours", "tfidf, all of the history", "random in the user's categories"
FLOORS: Final = {NEIGHBOURS: 1.0, CHANCE: 2.0}
"""Rival → the towers' recall over its own among new films, to reach."""


@dataclass(frozen=True)
class Parted:
    """A dataset without some items, and what users did with those. r released items, f new ones."""

    released: IndexedDataset
    new_items: pl.DataFrame
    """Features of the new ones."""
    wanted: Interactions
    """Events with new items, numbered 0 to f - 1."""


def part(indexed: IndexedDataset, held: NDArray[np.bool_]) -> Parted:
    """Take the `held` items [n_items] out of events, catalogue and numbering."""
    events = indexed.interactions
    number = np.where(held, np.cumsum(held), np.cumsum(~held)) - 1
    is_new = held[events.items]
    rest, wanted = events.select(~is_new), events.select(is_new)
    renumbered = replace(rest, items=number[rest.items].astype(np.int32), n_items=int((~held).sum()))
    released = replace(
        indexed,
        item_ids=indexed.item_ids.filter(pl.Series(~held)),
        items=indexed.items.filter(pl.Series(~held)),
        interactions=renumbered,
    )
    new = replace(wanted, items=number[wanted.items].astype(np.int32), n_items=int(held.sum()))
    return Parted(released, indexed.items.filter(pl.Series(held)), new)


def held_out(indexed: IndexedDataset, seed: int) -> NDArray[np.bool_]:
    """A random tenth of the items with events [n_items]."""
    with_events = np.flatnonzero(indexed.interactions.item_counts())
    held = np.zeros(indexed.interactions.n_items, bool)
    number = round(HELD_SHARE * len(with_events))
    held[np.random.default_rng(seed).choice(with_events, number, replace=False)] = True
    return held


def measure(data: Path, settings: TrainingSettings) -> dict[str, Any]:
    """Recall@20 of new films by every ranking, and what the towers' is of the rivals'."""
    indexed = whole_movielens(data)
    parted = part(indexed, held_out(indexed, settings.seed))
    model = fit(parted.released, parted.released.interactions, settings).model
    encoder = FreshEncoder(model, "benchmark")
    encodings = [encoder.encode(known_features(row)) for row in parted.new_items.to_dicts()]
    histories, wanted = parted.released.interactions, parted.wanted
    users = np.flatnonzero((wanted.lengths > 0) & (histories.lengths >= FEWEST_KNOWN))
    queries = tower_encoder(model, histories, encode_table(model.user_encoder, parted.released.users))(users)
    folded = als_encoder(model.als, model.items.als, histories)(users)
    among_new = {
        "two_tower": queries @ vectors(encodings, "two_tower").T,
        "als": folded @ vectors(encodings, "als").T,
        **tfidf_scores(model, parted, histories.take(users), encodings),
    }
    recalls = {name: _recall(top_k(scores, K), wanted, users) for name, scores in among_new.items()}
    recalls[CHANCE] = random_recall(model, parted, users, settings.seed)
    ratios = {
        rival: mean_ratio(recalls["two_tower"], recalls[rival], settings.seed)
        for rival in (NEIGHBOURS, EVERYTHING, CHANCE)
    }
    whole = {
        "two_tower": _among_all(queries, model.items.two_tower, vectors(encodings, "two_tower"), histories.take(users)),
        "als": _among_all(folded, model.items.als, vectors(encodings, "als"), histories.take(users)),
    }
    return {
        "users": len(users),
        "new items": len(encodings),
        "positives": int(wanted.lengths[users].sum()),
        "among new items, recall@20": means(recalls, settings.seed),
        "ratios": {f"two_tower / {rival}": ratio for rival, ratio in ratios.items()},
        "among all items, recall@20 of the new ones": means(
            {name: _recall(rows, wanted, users) for name, rows in whole.items()}, settings.seed
        ),
        "among all items, share of places with new ones": {
            name: float((rows >= 0).mean()) for name, rows in whole.items()
        },
        "reached": all(ratios[name].value >= floor for name, floor in FLOORS.items()),
    }


def known_features(row: dict[str, Any]) -> dict[str, Any]:
    """What a client would tell of an item: the features that there are."""
    return {name: value for name, value in row.items() if value is not None}


def vectors(encodings: Sequence[Encoding], model_name: str) -> Floats:
    """[f, d]"""
    return np.stack([np.frombuffer(getattr(encoding, model_name), "<f4") for encoding in encodings])


def tfidf_scores(
    model: FittedModel, parted: Parted, histories: Interactions, encodings: Sequence[Encoding]
) -> dict[str, Floats]:
    """Similarity of new items to what each user has, summed [users, f]: over their neighbours, and over all of it."""
    had = sp.csr_array(
        (np.ones(len(histories)), histories.items, histories.offsets), shape=(histories.n_users, histories.n_items)
    )
    encoder = model.item_encoder
    columns = {field.name: parted.new_items[field.name].to_list() for field in encoder.fields}
    new = content_space(encoder.encode(columns, parted.new_items.height), model.content.idf)
    alike = content_space(model.items.features, model.content.idf) @ new.T
    lengths = [len(encoding.neighbours) for encoding in encodings]
    nearest = sp.csr_array(
        (
            np.concatenate([encoding.similarities for encoding in encodings]),
            np.concatenate([encoding.neighbours for encoding in encodings]).astype(np.int64),
            np.concatenate([[0], np.cumsum(lengths)]),
        ),
        shape=(len(encodings), histories.n_items),
    )
    summed = {NEIGHBOURS: had @ nearest.T, EVERYTHING: had @ alike}
    return {name: scores.toarray().astype(np.float32) for name, scores in summed.items()}


def random_recall(model: FittedModel, parted: Parted, users: NDArray[np.integer], seed: int) -> PerUser:
    """Mean recall of lists whose new items are drawn from categories as often as the user's own items are of them."""
    names = {name: number for number, name in enumerate(model.categories)}
    category, new_names = item_categories(model.schema, parted.new_items)
    of_new = np.array([*(names.get(name, -1) for name in new_names), -1])[category]
    past = parted.released.interactions.take(users)
    taste = np.zeros((len(users), len(names) + 1))
    np.add.at(taste, (past.users, model.items.category[past.items]), 1.0)
    crowd = np.bincount(of_new, minlength=len(names) + 1)
    chance = taste[:, of_new] / crowd[of_new]
    random = np.random.default_rng(seed)
    total = np.zeros(len(users))
    for _ in range(DRAWS):
        # the largest of log chance + Gumbel noise are draws without replacement (Vieira 2014)
        keys = np.log(np.maximum(chance, 1e-12)) + random.gumbel(size=chance.shape)
        total += _recall(top_k(keys.astype(np.float32), K), parted.wanted, users)
    return total / DRAWS


def _among_all(queries: Floats, released: Floats, new: Floats, past: Interactions) -> Rows:
    """The best of the whole catalogue [users, K]: numbers of new items, -1 where a released one stands."""
    scores = queries @ np.concatenate([released, new]).T
    scores[past.users, past.items] = -np.inf
    return np.maximum(top_k(scores, K) - len(released), -1)


def _recall(rows: Rows, wanted: Interactions, users: NDArray[np.integer]) -> PerUser:
    return recall(find_hits(rows, wanted, users), K)
