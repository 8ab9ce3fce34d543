"""The first clicks of a visit: what the slate is worth before them, and after 1, 2 and 5 of them.

The generated world, whose visits are about one of a user's interests and whose truth is known. Trained on everything up
to one moment; then one later visit of each user who comes back: the slate of twenty before it and after its first 1, 2
and 5 events, held against the items of the visit after the fifth. Those are the same for every column, and the first
five are left out of every slate, so the columns compare. Slates are made from profiles by the functions that answer a
request. `session_weight` is chosen on one half of the users and reported on the other. A column of its own compares
the slates before and after by what comes right after the known events, which is another question for each number.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.live_figures import PerUser, means
from contracts.deadline import Deadline
from contracts.fitted import Rows
from contracts.ids import IdTable
from contracts.interactions import Interactions
from contracts.profile import HISTORY_LIMIT, HistoryEvent, Profile
from contracts.request import RecommendationRequest
from data_sources.dataset import Dataset, open_dataset
from data_sources.generator import WorldSettings, generate
from data_sources.indexed import event_weights, index_dataset
from data_sources.world_catalogue import make_catalogue
from evaluation.bootstrap import paired_difference
from evaluation.metrics.hits import find_hits
from evaluation.metrics.recall import recall
from evaluation.splits import global_time_cut
from reranking.rerank import rerank
from reranking.rules import SlateRules
from reranking.settings import RerankSettings
from retrieval.opened import OpenModel, open_model
from retrieval.recommend import find_candidates
from retrieval.settings import RetrievalSettings
from retrieval.visitor import current_session
from training_job.fit import fit
from training_job.settings import TrainingSettings

WORLD: Final = WorldSettings(users=12_000, items=1_500, events_per_user=50)
"""Long histories and short ones, and enough visits after the cut for intervals of a hundredth."""
FIRST: Final = (0, 1, 2, 5)
"""Events of the visit that are known: the columns."""
WEIGHTS: Final = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
"""From which `session_weight` is chosen."""
MODELS: Final = ("two_tower", "als")
PLACES: Final = 20
MOST_CHOOSING, MOST_JUDGED = 1_000, 2_000
"""Users of either half: a slate takes milliseconds, and every weight asks for three of each who chooses."""
FEWEST_BEFORE: Final = 5
"""Events before the visit: warm users, whose history it has to outweigh."""
LONG_HISTORY: Final = 50
"""Events before the visit from which a history is called long."""


@dataclass(frozen=True)
class Visit:
    """One later visit of a user."""

    profile: Profile
    """What is stored before it."""
    events: list[HistoryEvent]
    """All of it, oldest first."""

    def after(self, known: int, passed: int) -> tuple[Profile, int]:
        """What is stored after its first `known` events, and the time of the next request; the first `passed` are seen,
        although nothing else is known of those that came later."""
        before = self.profile
        profile = msgspec.structs.replace(
            before,
            history=[*before.history, *self.events[:known]][-HISTORY_LIMIT:],
            n_events=before.n_events + known,
            seen=[*before.seen, *(event.item_id for event in self.events[:passed])],
        )
        now = self.events[max(known - 1, 0)].timestamp or 0
        return profile, now + (1 if known else -1)


def measure(settings: TrainingSettings) -> dict[str, Any]:
    """The weight that one half of the users chooses, and what it is worth to the other half."""
    world = replace(WORLD, seed=WORLD.seed + settings.seed)
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder) / "world", world)
        dataset = open_dataset(Path(folder) / "world")
    indexed = index_dataset(dataset)
    split = global_time_cut(indexed.interactions, indexed.schema)
    assert split.cut is not None
    model = open_model(fit(indexed, split.train, settings).model)
    visits = later_visits(dataset, split.cut)
    choosing, judged = visits[::2][:MOST_CHOOSING], visits[1::2][:MOST_JUDGED]
    grids = {
        name: {weight: Policy(model, choosing, _settings(name, weight)).worth() for weight in WEIGHTS}
        for name in MODELS
    }
    weight = max(WEIGHTS, key=lambda weight: grids["two_tower"][weight])
    clusters = true_clusters(world, model.items.ids)
    figures = {
        name: _figures(Policy(model, judged, _settings(name, weight)), clusters, settings.seed) for name in MODELS
    }
    return {
        "users": {"choosing": len(choosing), "judged": len(judged)},
        "mean recall@20 of 1, 2 and 5 events by session_weight, users that choose": grids,
        "session_weight": weight,
        "judged": figures,
        "reached": figures["two_tower"]["rising"],
    }


def _settings(served_model: str, session_weight: float) -> RetrievalSettings:
    return RetrievalSettings(served_model=served_model, session_weight=session_weight)


def later_visits(dataset: Dataset, cut: int) -> list[Visit]:
    """Each user's first visit after the cut that goes on after its known part, if FEWEST_BEFORE events are older."""
    weights = pl.Series("weight", event_weights(dataset.events["event_type"], dataset.schema))
    events = dataset.events.with_columns(weights).sort("user_id", "timestamp", maintain_order=True)
    opened = pl.col("timestamp").min().over("user_id", "session_id").alias("opened")
    long_enough = (pl.len().over("user_id", "session_id") > FIRST[-1]).alias("long_enough")
    events = events.with_columns(opened, long_enough)
    later = events.filter(pl.col("long_enough") & (pl.col("opened") > cut))
    chosen = later.group_by("user_id", maintain_order=True).agg(
        pl.col("session_id").first().alias("visit"), pl.col("opened").first().alias("begins")
    )
    theirs = events.join(chosen, on="user_id", maintain_order="left")
    theirs = theirs.filter((pl.col("timestamp") < pl.col("begins")) | (pl.col("session_id") == pl.col("visit")))
    features = {row.pop("user_id"): row for row in dataset.users.to_dicts()}
    visits = [_visit(user, lines, features[user]) for (user,), lines in theirs.group_by("user_id", maintain_order=True)]
    return [visit for visit in visits if visit.profile.n_events >= FEWEST_BEFORE]


def _visit(user: str, lines: pl.DataFrame, features: dict[str, Any]) -> Visit:
    in_visit = pl.col("timestamp") >= pl.col("begins")
    history, events = (
        [HistoryEvent(*row) for row in lines.filter(part).select("item_id", "timestamp", "weight").iter_rows()]
        for part in (~in_visit, in_visit)
    )
    seen, kept = [event.item_id for event in history], history[-HISTORY_LIMIT:]
    return Visit(Profile(user_id=user, history=kept, n_events=len(history), seen=seen, features=features), events)


def true_clusters(world: WorldSettings, ids: IdTable) -> NDArray[np.int64]:
    """The cluster of taste that the generator drew each item from [n_items]: what no column of the dataset says."""
    catalogue = make_catalogue(np.random.default_rng([world.seed, 0]), world.items, world.window, world.cold_share)
    clusters = np.empty(len(ids), np.int64)
    clusters[ids.rows(catalogue.ids.to_list())] = catalogue.cluster
    return clusters


@dataclass(frozen=True)
class Policy:
    """How slates are made, and for whom."""

    model: OpenModel
    visits: list[Visit]
    retrieval: RetrievalSettings

    def slates(self, known: int, passed: int = FIRST[-1]) -> Rows:
        """The slate of each visit after its first `known` events [visits, PLACES], as it would be served."""
        rows: Rows = np.full((len(self.visits), PLACES), -1, np.int32)
        for line, visit in enumerate(self.visits):
            served = self._slate(*visit.after(known, passed))
            rows[line, : len(served)] = served
        return rows

    def _slate(self, stored: Profile, now: int) -> Rows:
        model, profile = self.model, current_session(stored, now)
        request = RecommendationRequest(num_items=PLACES)
        found = find_candidates(model, model.index, profile, request, self.retrieval, Deadline.never(), now)
        return rerank(found, model.items, SlateRules(PLACES), RerankSettings(), now).rows

    def recall(self, known: int, passed: int = FIRST[-1]) -> PerUser:
        """Recall@20 of what comes after the first `passed` events, from slates that know the first `known`."""
        positives = wanted(self.visits, self.model.items.ids, passed)
        return recall(find_hits(self.slates(known, passed), positives, np.arange(len(self.visits))), PLACES)

    def worth(self) -> float:
        """Mean recall after 1, 2 and 5 events."""
        return float(np.mean([self.recall(known) for known in FIRST[1:]]))


def wanted(visits: list[Visit], ids: IdTable, passed: int) -> Interactions:
    """What each visit goes on with after its first `passed` events, as rows."""
    rest = [visit.events[passed:] for visit in visits]
    rows = ids.rows([event.item_id for events in rest for event in events])
    owners = np.repeat(np.arange(len(visits)), [len(events) for events in rest])
    assert np.all(rows >= 0), "the catalogue of the generated world has every item of its events"
    return Interactions.from_events(owners, rows, np.arange(len(rows)), np.ones(len(rows)), len(visits), len(ids))


def _figures(policy: Policy, clusters: NDArray[np.int64], seed: int) -> dict[str, Any]:
    """Of one model at one weight: recall and taste by number of events, and what the visit and its weight bring."""
    later = FIRST[1:]
    recalls = {known: policy.recall(known) for known in FIRST}
    plain = replace(policy, retrieval=replace(policy.retrieval, session_weight=1.0))
    unweighted = {known: plain.recall(known) for known in later}
    long = np.array([visit.profile.n_events >= LONG_HISTORY for visit in policy.visits])
    gains = {known: paired_difference(recalls[known], recalls[0], seed) for known in later}
    return {
        "recall@20": means({str(known): of for known, of in recalls.items()}, seed),
        "gain over the slate before the visit": gains,
        "gain over the slate before the visit, by what comes next": {
            known: paired_difference(policy.recall(known, known), policy.recall(0, known), seed) for known in later
        },
        "gain over session_weight 1": {
            known: paired_difference(recalls[known], of, seed) for known, of in unweighted.items()
        },
        "gain over session_weight 1, long histories": {
            known: paired_difference(recalls[known][long], of[long], seed) for known, of in unweighted.items()
        },
        "long histories": int(long.sum()),
        "share of places in the cluster of the visit": means(
            {str(known): _in_taste(policy, policy.slates(known), clusters) for known in FIRST}, seed
        ),
        "rising": all(less < more for less, more in pairwise(float(recalls[known].mean()) for known in FIRST)),
    }


def _in_taste(policy: Policy, rows: Rows, clusters: NDArray[np.int64]) -> PerUser:
    """Share of the places that are in the cluster that most of the visit is about."""
    ids = policy.model.items.ids
    of_visit = [
        np.bincount(clusters[ids.rows([event.item_id for event in visit.events])]).argmax() for visit in policy.visits
    ]
    return ((rows >= 0) & (clusters[rows] == np.array(of_visit)[:, None])).mean(axis=1)
