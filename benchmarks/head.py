"""What a history loses where only the vectors of the most popular items are in memory, and what eight bits mend.

For users of the validation slice (seen by nobody's training) queries are made of the same history: with every vector,
without the items beyond the head, and with their vectors in eight bits (what serves). Each ranks the whole catalogue
exactly, so that nothing but the query differs. `index.py` runs it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from contracts.coarse import coarse
from contracts.interactions import Interactions
from data_sources.dataset import TRAINING_COLUMNS, open_dataset
from data_sources.indexed import index_dataset
from evaluation.bootstrap import resample_means
from evaluation.metrics.hits import find_hits
from evaluation.metrics.ndcg import ndcg
from evaluation.metrics.recall import recall
from retrieval.user_tower import encode_users
from stores.releases import LocalReleases
from stores.vector_index import ExactIndex
from training_job.assemble import head_rows
from training_job.validation import hold_out
from training_job.vocabulary import encode_table

HEADS: Final = (12_500, 25_000, 50_000, 100_000, 200_000)
USERS: Final = 1_000
PLACES: Final = 100
OF_HISTORY: Final = 0.5
"""Users of whose history more than this share lies beyond the head are shown apart: they lose most."""


def head_cost(world: Path, home: Path) -> dict[str, Any]:
    """Figures by size of the head; the release in `home` was trained on `world` with seed 0."""
    indexed = index_dataset(open_dataset(world, event_columns=TRAINING_COLUMNS))
    store = LocalReleases(home)
    model = store.open(store.ids()[-1])
    validation = hold_out(indexed.interactions, indexed.schema, indexed.user_ids, 0)
    judged = np.union1d(validation.tuning.judged, validation.judging.judged)
    able = judged[validation.train.lengths[judged] > 0]
    users = able[:: max(1, len(able) // USERS)][:USERS]
    histories = validation.train.take(users)
    features = encode_table(model.user_encoder, indexed.users).take(users)
    wanted = _both(validation.tuning.test.take(users), validation.judging.test.take(users))
    index = ExactIndex({"two_tower": model.items.two_tower})

    def ranked(shown: Interactions, items: Any = model.items) -> np.ndarray:
        queries = encode_users(model.tower, items, shown.items, shown.weights, shown.offsets, features)
        return index.search_many("two_tower", queries, PLACES, (histories.items, histories.offsets))[0]

    whole, exact = ranked(histories), model.items.two_tower
    eight = coarse(exact).read(np.arange(len(exact)))
    figures: dict[str, Any] = {"users": len(users), "whole": _quality(whole, wanted, None), "heads": {}}
    for size in HEADS:
        if size < len(model.items):
            held = np.zeros(len(model.items), np.bool_)
            held[head_rows(model.items.events, size)] = True
            beyond = ~held[histories.items]
            share = np.add.reduceat(beyond, histories.offsets[:-1]) / histories.lengths
            left_out = ranked(histories.select(~beyond))
            eight_bits = ranked(histories, replace(model.items, two_tower=np.where(held[:, None], exact, eight)))
            figures["heads"][size] = {
                "events_beyond": round(float(beyond.mean()), 4),
                "users_mostly_beyond": round(float((share > OF_HISTORY).mean()), 4),
                "left_out": _quality(left_out, wanted, whole),
                "left_out, users mostly beyond": _quality(left_out, wanted, whole, share > OF_HISTORY),
                "eight_bits": _quality(eight_bits, wanted, whole),
            }
    return figures


def _both(first: Interactions, second: Interactions) -> Interactions:
    """The halves of the slice hold different users, so one of the two is empty for each."""
    users = np.concatenate([first.users, second.users])
    return Interactions.from_events(
        users,
        np.concatenate([first.items, second.items]),
        np.concatenate([first.times, second.times]),
        np.concatenate([first.weights, second.weights]),
        first.n_users,
        first.n_items,
    )


def _quality(
    rows: np.ndarray, wanted: Interactions, whole: np.ndarray | None, some: np.ndarray | None = None
) -> dict[str, Any]:
    """NDCG@20 and Recall@100 of lists [B, k], and how much of `whole` they keep; of some of the users only."""
    users = np.arange(len(rows)) if some is None else np.flatnonzero(some)
    if not len(users):
        return {"users": 0}
    hits = find_hits(rows[users], wanted, users)
    figures: dict[str, Any] = {
        "users": len(users),
        "ndcg@20": round(float(np.nanmean(ndcg(hits, 20))), 5),
        "recall@100": round(float(np.nanmean(recall(hits, PLACES))), 5),
    }
    if whole is not None:
        base = find_hits(whole[users], wanted, users)
        gain = resample_means((ndcg(hits, 20) - ndcg(base, 20))[:, None], seed=0)[:, 0]
        low, high = np.percentile(gain, [2.5, 97.5])
        same = [np.isin(a, b).mean() for a, b in zip(rows[users], whole[users], strict=True)]
        figures |= {"ndcg@20_change": [round(float(low), 5), round(float(high), 5)]}
        figures |= {"same_of_100": round(float(np.mean(same)), 4)}
    return figures
