"""New items: tenths of ML-1M's films that training never heard of, for the users who watched them.

Neither their events nor their rows of the catalogue are there when the model is trained; each is then encoded from its
features alone by `retrieval.fresh.FreshEncoder`, as a running service encodes what a client tells. Each user's last
other film is held out, too: what finding new films costs is how much less often that one is found once the new ones
compete. Every user is shown a list made from all their other films: of new films only, and of the whole catalogue.
The rivals are in `new_item_rivals`: TF-IDF in three forms, and chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.live_figures import PerUser, mean_ratio, means
from benchmarks.new_item_rivals import CHANCE, NEIGHBOURS, OF_HISTORY, random_recall, tfidf_scores
from benchmarks.quality_models import train_towers
from benchmarks.quality_process import alone, tell
from benchmarks.quality_rows import Aims, Cost, Options, Row, aimed, spread
from benchmarks.quality_sets import named, prepared
from contracts.fitted import Floats, Rows
from contracts.interactions import Interactions
from contracts.live import Encoding
from data_sources.indexed import IndexedDataset
from data_sources.streamed import index_folder
from evaluation.metrics.hits import find_hits
from evaluation.metrics.recall import recall
from evaluation.rankers import als_encoder, top_k, tower_encoder
from evaluation.splits import Split, leave_last_out
from retrieval.fresh import FreshEncoder
from training_job.settings import TrainingSettings
from training_job.vocabulary import encode_table

K: Final = 20
METRIC: Final = "recall@20"
TENTHS: Final = 10
HEADLINE_TENTHS: Final = 3
"""Of them that are measured: each is a training, and 6,000 users judge each."""
FEWEST_KNOWN: Final = 5
"""Other films of a user: warm ones, as routing counts."""
TOWERS, ALS = "two_tower", "als"
AMONG_NEW, AMONG_ALL = "new, among new", "new, among all"
OLD, OLD_ALONE = "old, among all", "old, without the new"
SHARE: Final = "places with new ones"
AIMS: Final[Aims] = (1.0, 1.5)
"""The towers' recall of new films among all over that of the better of the two neighbour lists, to reach."""


@dataclass(frozen=True)
class Parted:
    """A dataset without some items, and what users did with those. r released items, f new ones."""

    released: IndexedDataset
    new_items: pl.DataFrame
    """Features of the new ones."""
    wanted: Interactions
    """Events with new items, numbered 0 to f - 1."""


@dataclass(frozen=True)
class Judged:
    """What one tenth's users get."""

    recalls: dict[tuple[str, str], PerUser]
    """(model, question) → value of each user"""
    cost: Cost


def measure(part: str, options: Options, source: str = "ml-1m-whole") -> list[Row]:
    """Recall@20 of new and of old films by every ranking, and what the towers' is of the rivals'; one seed."""
    number = min(options.folds or HEADLINE_TENTHS, TENTHS)
    tenths: list[Judged] = []
    with prepared(source, options) as folder:
        for tenth in range(number):
            tell(f"tenth {tenth + 1} of {number}")
            tenths.append(alone(judge, folder, tenth, options.settings))
    columns = {key: np.concatenate([of.recalls[key] for of in tenths]) for key in tenths[0].recalls}
    row = partial(
        Row,
        part=part,
        dataset=named(source, options),
        protocol=f"a tenth of the items held out, {number} of {TENTHS} tenths; users with 5 others or more",
        seed=options.seed,
    )
    costs = [of.cost for of in tenths]
    cost = Cost(round(float(np.mean([of.cpu_seconds for of in costs])), 1), max(of.peak_gb for of in costs))
    return _figures(row, columns, cost, options.seed) + _ratios(row, columns, options.seed)


def part_from(indexed: IndexedDataset, held: NDArray[np.bool_]) -> Parted:
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


def held_out(indexed: IndexedDataset, seed: int, tenth: int = 0) -> NDArray[np.bool_]:
    """One of the random tenths of the items with events [n_items]; the tenths of a seed share none."""
    with_events = np.flatnonzero(indexed.interactions.item_counts())
    held = np.zeros(indexed.interactions.n_items, bool)
    held[np.random.default_rng(seed).permutation(with_events)[tenth::TENTHS]] = True
    return held


def judge(folder: Path, tenth: int, settings: TrainingSettings) -> Judged:
    """Train without one tenth, encode it, and rank by every model."""
    indexed = index_folder(folder)
    parted = part_from(indexed, held_out(indexed, settings.seed, tenth))
    split = leave_last_out(parted.released.interactions, parted.released.schema)
    model, cost = train_towers(parted.released, split.train, settings)
    encoder = FreshEncoder(model, "benchmark")
    encodings = [encoder.encode(known_features(row)) for row in parted.new_items.to_dicts()]
    users = np.flatnonzero(split.train.lengths >= FEWEST_KNOWN).astype(np.int32)
    past = split.train.take(users)
    features = encode_table(model.user_encoder, parted.released.users)
    queries = {
        TOWERS: tower_encoder(model, split.train, features)(users),
        ALS: als_encoder(model.als, model.items.als, split.train)(users),
    }
    whole = {TOWERS: (model.items.two_tower, TOWERS), ALS: (model.items.als, ALS)}
    scores = {
        name: queries[name] @ np.concatenate([released, vectors(encodings, field)]).T
        for name, (released, field) in whole.items()
    }
    scores |= tfidf_scores(model, parted.new_items, past)
    recalls: dict[tuple[str, str], PerUser] = {}
    for name, of in scores.items():
        of[past.users, past.items] = -np.inf
        recalls |= {(name, question): values for question, values in _answers(of, parted, split, users).items()}
    chance = random_recall(model, parted.new_items, past, parted.wanted.take(users), settings.seed)
    return Judged(recalls | {(CHANCE, AMONG_NEW): chance}, cost)


def _answers(scores: Floats, parted: Parted, split: Split, users: NDArray[np.int32]) -> dict[str, PerUser]:
    """Recall of new and of old items by the scores [users, r + f] of one model; NaN where there is nothing to find."""
    released = split.train.n_items
    best, best_old, best_new = top_k(scores, K), top_k(scores[:, :released], K), top_k(scores[:, released:], K)
    old = np.where(best < released, best, -1)
    return {
        AMONG_NEW: _recall(best_new, parted.wanted, users),
        AMONG_ALL: _recall(np.maximum(best - released, -1), parted.wanted, users),
        OLD: _recall(old, split.test, users),
        OLD_ALONE: _recall(best_old, split.test, users),
        SHARE: (best >= released).mean(axis=1),
    }


def _recall(rows: Rows, wanted: Interactions, users: NDArray[np.int32]) -> PerUser:
    return recall(find_hits(rows, wanted, users), K)


def known_features(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a client would tell of an item: the features that there are."""
    return {name: value for name, value in row.items() if value is not None}


def vectors(encodings: Sequence[Encoding], model_name: str) -> Floats:
    """[f, d]"""
    return np.stack([np.frombuffer(getattr(encoding, model_name), "<f4") for encoding in encodings])


def _figures(row: Callable[..., Row], columns: dict[tuple[str, str], PerUser], cost: Cost, seed: int) -> list[Row]:
    rows = []
    for question in (AMONG_ALL, AMONG_NEW, OLD, OLD_ALONE, SHARE):
        theirs = {model: values for (model, asked), values in columns.items() if asked == question}
        for model, interval in means(theirs, seed).items():
            users = int(np.count_nonzero(~np.isnan(theirs[model])))
            more = cost._asdict() if model == TOWERS else {}
            metric = "share" if question == SHARE else METRIC
            rows.append(row(model=model, metric=metric, case=question, users=users, **spread(interval), **more))
    return rows


def _ratios(row: Callable[..., Row], columns: dict[tuple[str, str], PerUser], seed: int) -> list[Row]:
    """Towers over their rivals, and old items with over without new ones."""
    better = max((NEIGHBOURS, OF_HISTORY), key=lambda name: float(np.nanmean(columns[name, AMONG_ALL])))
    asked = [(rival, question) for question in (AMONG_ALL, AMONG_NEW) for rival in _rivals(columns, question)]
    pairs = [(f"{TOWERS} over {rival}", case, (TOWERS, case), (rival, case)) for rival, case in asked]
    pairs += [(f"{model}, with over without the new", OLD, (model, OLD), (model, OLD_ALONE)) for model in (TOWERS, ALS)]
    rows = []
    for name, case, ours, theirs in pairs:
        both = np.stack([columns[ours], columns[theirs]], axis=1)
        both = both[~np.isnan(both).any(axis=1)]
        if not both[:, 1].any():
            continue
        aims = AIMS if theirs == (better, AMONG_ALL) else None
        more = spread(mean_ratio(both[:, 0], both[:, 1], seed)) | aimed(aims)
        rows.append(row(model=name, metric=f"{METRIC}, ratio", case=case, users=len(both), **more))
    return rows


def _rivals(columns: Mapping[tuple[str, str], PerUser], question: str) -> list[str]:
    return [model for model, asked in columns if asked == question and model != TOWERS]
