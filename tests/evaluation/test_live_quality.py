"""The protocol of the live figures: what is to be found is in no history, no catalogue and no training."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from benchmarks.live_figures import mean_ratio
from benchmarks.live_new_items import held_out, part_from
from benchmarks.live_sessions import FEWEST_BEFORE, FIRST, Policy, later_visits, true_clusters, wanted
from benchmarks.new_item_rivals import NEIGHBOURS, OF_HISTORY, random_recall, tfidf_scores
from contracts.ids import IdTable
from contracts.profile import HISTORY_LIMIT
from data_sources.dataset import open_dataset
from data_sources.generator import WorldSettings, generate
from data_sources.indexed import index_dataset
from evaluation.splits import global_time_cut
from retrieval.opened import open_model
from retrieval.settings import RetrievalSettings
from retrieval.visitor import current_session
from tests.training_job.clustered import CLUSTERS, clustered_world
from training_job.fit import fit
from training_job.settings import Effort, TrainingSettings

WORLD = WorldSettings(users=250, items=120, events_per_user=40)
QUICK = TrainingSettings(effort=Effort.QUICK, threads=1)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """Dataset, split and visits of a small generated world."""
    folder = tmp_path_factory.mktemp("live") / "world"
    generate(folder, WORLD)
    dataset = open_dataset(folder)
    indexed = index_dataset(dataset)
    split = global_time_cut(indexed.interactions, indexed.schema)
    return dataset, indexed, split, later_visits(dataset, split.cut)


def test_a_visit_lies_after_training_and_after_what_is_stored(generated):
    _, _, split, visits = generated
    assert len(visits) > 20
    assert len({visit.profile.user_id for visit in visits}) == len(visits)
    for visit in visits:
        times = [event.timestamp for event in (*visit.profile.history, *visit.events)]
        assert all(earlier <= later for earlier, later in pairwise(times))
        assert visit.events[0].timestamp > split.cut
        assert len(visit.events) > FIRST[-1]
        assert visit.profile.n_events >= FEWEST_BEFORE


@pytest.mark.parametrize("known", FIRST)
def test_what_is_to_be_found_is_known_to_nobody_who_is_asked(generated, known):
    for visit in generated[3]:
        profile, now = visit.after(known, FIRST[-1])
        to_find = {event.item_id for event in visit.events[FIRST[-1] :]}
        assert not to_find & {event.item_id for event in profile.history}
        assert not to_find & set(profile.seen)
        assert {event.item_id for event in visit.events[: FIRST[-1]]} <= set(profile.seen)
        assert len(profile.history) == min(len(visit.profile.history) + known, HISTORY_LIMIT)
        assert all(event.timestamp < now for event in profile.history)


def test_the_known_events_are_the_running_session(generated):
    for visit in generated[3]:
        for known in FIRST[1:]:
            session = current_session(*visit.after(known, FIRST[-1])).session
            assert session[-known:] == visit.events[:known]


def test_a_slate_has_nothing_of_what_was_passed(generated):
    _, indexed, split, visits = generated
    model = open_model(fit(indexed, split.train, QUICK).model)
    policy = Policy(model, visits[:40], RetrievalSettings())
    ids = model.items.ids
    for rows, visit in zip(policy.slates(1), policy.visits, strict=True):
        assert not {ids.text(row) for row in rows if row >= 0} & {event.item_id for event in visit.events[: FIRST[-1]]}
    assert 0 < np.mean(policy.recall(5)) < 1
    assert wanted(policy.visits, ids, 5).lengths.tolist() == [len(visit.events) - 5 for visit in policy.visits]


def test_the_true_clusters_are_those_of_the_written_items(generated):
    dataset = generated[0]
    ids = IdTable.from_strings(dataset.items["item_id"].sort().to_list())
    clusters = true_clusters(WORLD, ids)
    categories = dict(zip(dataset.items["item_id"], dataset.items["category"], strict=True))
    of_cluster = {}
    for row, cluster in enumerate(clusters.tolist()):
        of_cluster.setdefault(cluster, set()).add(categories[ids.text(row)])
    assert len(of_cluster) > 1
    assert all(len(found) == 1 for found in of_cluster.values())


def test_new_items_are_in_no_history_and_no_catalogue():
    world = clustered_world(n_users=80, n_items=60, n_cold=4)
    held = held_out(world, seed=3)
    parted = part_from(world, held)
    names = world.item_ids.to_list()
    new_names = {names[row] for row in np.flatnonzero(held)}
    tenths = np.stack([held_out(world, 3, tenth) for tenth in range(10)])
    assert np.array_equal(tenths.sum(axis=0), world.interactions.item_counts() > 0), "each item with events in one"
    assert np.ptp(tenths.sum(axis=1)) <= 1
    assert not new_names & set(parted.released.item_ids.to_list())
    assert parted.released.items.height == len(parted.released.item_ids) == parted.released.interactions.n_items
    assert parted.new_items.height == parted.wanted.n_items == len(new_names)
    old = parted.released.interactions
    told = [(user, parted.released.item_ids[int(row)]) for user, row in zip(old.users, old.items, strict=True)]
    new = np.flatnonzero(held)
    told += [(user, names[new[row]]) for user, row in zip(parted.wanted.users, parted.wanted.items, strict=True)]
    events = world.interactions
    assert sorted(told) == sorted((user, names[row]) for user, row in zip(events.users, events.items, strict=True)), (
        "no event is lost, none gets another item"
    )
    assert parted.new_items["born"].to_list() == world.items["born"].to_numpy()[held].tolist()


def test_chance_in_the_category_stays_in_the_category():
    """Everybody of the clustered world takes one kind only, and so few are new that all of that kind fit a list."""
    world = clustered_world(n_users=80, n_items=60, n_cold=4)
    parted = part_from(world, held_out(world, seed=3))
    model = fit(parted.released, parted.released.interactions, QUICK).model
    users = np.flatnonzero(parted.wanted.lengths)
    past, wanted = parted.released.interactions.take(users), parted.wanted.take(users)
    pairs = len(np.unique(wanted.users * wanted.n_items + wanted.items))
    recalls = random_recall(model, parted.new_items, past, wanted, 0)
    assert np.nansum(recalls * wanted.lengths) == pytest.approx(pairs)


def test_content_ranks_old_and_new_items_by_one_similarity():
    """In the clustered world an item is like those of its cluster and like no other."""
    world = clustered_world(n_users=80, n_items=60, n_cold=4)
    held = held_out(world, seed=3)
    parted = part_from(world, held)
    model = fit(parted.released, parted.released.interactions, QUICK).model
    past = parted.released.interactions.take(np.arange(8))
    cluster = np.concatenate([np.flatnonzero(~held), np.flatnonzero(held)]) % CLUSTERS
    for name in (NEIGHBOURS, OF_HISTORY):
        scores = tfidf_scores(model, parted.new_items, past)[name]
        assert scores.shape == (8, 60)
        assert (scores[:, (~held).sum() :].max(axis=1) > 0).all(), "a new item is reached"
        for user in range(8):
            best = np.argsort(-scores[user])[:5]
            assert (cluster[best] == user % CLUSTERS).all(), name


def test_a_ratio_of_means_is_paired():
    theirs = np.random.default_rng(0).uniform(0.1, 1, 500)
    ratio = mean_ratio(1.5 * theirs, theirs, seed=0)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((1.5, 1.5, 1.5))
