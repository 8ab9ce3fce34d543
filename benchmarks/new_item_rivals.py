"""What new items are held against: what their attributes alone say, and chance.

TF-IDF ranks old and new items by one similarity to what the user has, summed over the history: over the lists that each
item keeps of its nearest hot items (as a release keeps them), over the lists that each item of the history keeps of its
nearest among all items, new ones included, and, stated, over everything. Chance draws new items from the user's
categories. `live_new_items` calls it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import scipy.sparse as sp

from benchmarks.live_figures import PerUser
from contracts.fitted import HOT_EVENTS, FittedModel, Floats
from contracts.interactions import Interactions
from evaluation.metrics.diversity import content_space
from evaluation.metrics.hits import find_hits
from evaluation.metrics.recall import recall
from evaluation.rankers import top_k
from training_job.assemble import item_categories
from training_job.content import NEIGHBOURS as LIST_LENGTH

K: Final = 20
DRAWS: Final = 10
"""Random lists a user: their mean moves by less than a hundredth of itself."""
NEIGHBOURS: Final = "tfidf neighbours of each item"
OF_HISTORY: Final = "tfidf neighbours of the history"
EVERYTHING: Final = "tfidf, everything"
CHANCE: Final = "random in the user's categories"


def tfidf_scores(model: FittedModel, new_items: pl.DataFrame, past: Interactions) -> dict[str, Floats]:
    """Scores [users, r + f] of r released and f new items, for the histories `past` of users in released rows."""
    encoder, released = model.item_encoder, len(model.items)
    columns = {field.name: new_items[field.name].to_list() for field in encoder.fields}
    old = content_space(model.items.features, model.content.idf)
    new = content_space(encoder.encode(columns, new_items.height), model.content.idf)
    alike = (old @ sp.vstack([old, new]).T).toarray().astype(np.float32)  # [r, r + f]
    np.fill_diagonal(alike, 0)  # nothing is its own neighbour
    hot = np.where(model.items.events[:, None] >= HOT_EVENTS, alike, 0)
    had = sp.csr_array((np.ones(len(past), np.float32), past.items, past.offsets), shape=(past.n_users, released))
    return {
        NEIGHBOURS: (had @ _nearest(hot.T).T).toarray(),
        OF_HISTORY: (had @ _nearest(alike)).toarray(),
        EVERYTHING: had @ alike,
    }


def _nearest(alike: Floats) -> sp.csr_array:
    """The LIST_LENGTH largest of each line, where above 0."""
    best = top_k(alike, LIST_LENGTH)
    values = np.take_along_axis(alike, best, 1)
    offsets = np.arange(len(best) + 1) * best.shape[1]
    return sp.csr_array((values.ravel(), best.ravel(), offsets), shape=alike.shape)


def random_recall(
    model: FittedModel, new_items: pl.DataFrame, past: Interactions, wanted: Interactions, seed: int
) -> PerUser:
    """Mean recall of lists whose new items are drawn from categories as often as the user's own items are of them."""
    names = {name: number for number, name in enumerate(model.categories)}
    category, new_names = item_categories(model.schema, new_items)
    of_new = np.array([*(names.get(name, -1) for name in new_names), -1])[category]
    taste = np.zeros((past.n_users, len(names) + 1))
    np.add.at(taste, (past.users, model.items.category[past.items]), 1.0)
    crowd = np.bincount(of_new, minlength=len(names) + 1)
    chance = taste[:, of_new] / crowd[of_new]
    random, users = np.random.default_rng(seed), np.arange(past.n_users)
    total = np.zeros(past.n_users)
    for _ in range(DRAWS):
        # the largest of log chance + Gumbel noise are draws without replacement (Vieira 2014)
        keys = np.log(np.maximum(chance, 1e-12)) + random.gumbel(size=chance.shape)
        total += recall(find_hits(top_k(keys.astype(np.float32), K), wanted, users), K)
    return total / DRAWS
