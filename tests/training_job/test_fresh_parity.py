"""An item that is told after training gets what training would have given it: the train/serve skew of fresh items.

Items without events are in the release already; told again, by the features of the dataset, they must come out as they
are stored. Only neighbours with enough events count here: leaning on the others is not the same once they lean, too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from contracts.fitted import HOT_EVENTS, LOST_NORM, FittedModel, from_bundle, to_bundle
from data_sources.indexed import IndexedDataset
from retrieval import hot_postings
from retrieval.fresh import FreshEncoder
from tests.training_job.clustered import clustered_world
from training_job.fit import fit
from training_job.settings import Effort, TrainingSettings

QUICK = TrainingSettings(effort=Effort.QUICK, threads=1)
ITEMS, COLD = 240, 24


def world() -> IndexedDataset:
    """Every item with features of its own, some of them missing, and one cold item without any."""
    plain = clustered_world(n_users=300, n_items=ITEMS, per_user=12, n_cold=COLD)
    random = np.random.default_rng(3)
    words = [f"word{number}" for number in range(40)]
    table = pl.DataFrame(
        {
            "kind": [None if n % 11 == 0 else f"k{n % 4}" for n in range(ITEMS)],
            "tags": [[f"t{t}" for t in random.integers(0, 9, n % 4)] for n in range(ITEMS)],
            "title": [" ".join(random.choice(words, 1 + n % 6)) for n in range(ITEMS)],
            "price": random.uniform(0, 100, ITEMS),
            "born": 1_690_000_000 + random.integers(0, 10**7, ITEMS),
        },
        schema_overrides={"tags": pl.List(pl.String)},
    )
    last = pl.arange(0, ITEMS, eager=True) == ITEMS - 1
    return replace(
        plain, items=table.with_columns(pl.when(~last).then(pl.col(name)).alias(name) for name in table.columns)
    )


WORLD = world()


@pytest.fixture(scope="module")
def trained() -> FittedModel:
    return from_bundle(to_bundle(fit(WORLD, WORLD.interactions, QUICK).model))


@pytest.fixture(scope="module")
def trained_on_champions() -> FittedModel:
    """In a large catalogue a slot keeps its most popular items alone; here every slot keeps so few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hot_postings, "WORK_BUDGET", 1)
        patch.setattr(hot_postings, "SHORTEST_CHAMPIONS", 7)
        return fit(WORLD, WORLD.interactions, QUICK).model


def assert_encoded_as_trained(model: FittedModel) -> None:
    encoder, told = FreshEncoder(model, "r"), WORLD.items.to_dicts()
    cold = np.flatnonzero(model.items.events == 0)
    assert len(cold) >= COLD
    assert (model.items.events >= HOT_EVENTS).sum() > 50
    compared = 0
    for row in cold[cold != ITEMS - 1].tolist():
        encoding = encoder.encode({name: value for name, value in told[row].items() if value is not None})
        known = model.content.neighbours[row] >= 0
        np.testing.assert_allclose(
            np.sort(encoding.similarities)[::-1], model.content.similarities[row][known], atol=1e-6
        )
        ties = np.diff(model.content.similarities[row][known]) == 0
        if not ties.any():
            assert encoding.neighbours == model.content.neighbours[row][known].tolist()
            compared += 1
        np.testing.assert_allclose(np.frombuffer(encoding.two_tower, "<f4"), model.items.two_tower[row], atol=1e-5)
        np.testing.assert_allclose(np.frombuffer(encoding.als, "<f4"), model.items.als[row], atol=1e-5)
    assert compared > COLD / 2, "else ties hide what is compared"


def test_items_without_events_are_encoded_as_trained(trained: FittedModel) -> None:
    assert_encoded_as_trained(trained)


def test_so_they_are_where_slots_keep_their_champions_alone(
    trained: FittedModel, trained_on_champions: FittedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not np.array_equal(trained.content.similarities, trained_on_champions.content.similarities)
    monkeypatch.setattr(hot_postings, "WORK_BUDGET", 1)
    monkeypatch.setattr(hot_postings, "SHORTEST_CHAMPIONS", 7)
    assert_encoded_as_trained(trained_on_champions)


def test_an_item_of_which_nothing_is_known_is_as_short_as_trained(trained: FittedModel) -> None:
    encoding = FreshEncoder(trained, "r").encode({"kind": "of another world"})
    length = np.linalg.norm(np.frombuffer(encoding.two_tower, "<f4"))
    assert length == pytest.approx(np.linalg.norm(trained.items.two_tower[ITEMS - 1]), rel=1e-4)
    assert length == pytest.approx(trained.tower.cold_norm * LOST_NORM, rel=1e-4)
    assert not np.frombuffer(encoding.als, "<f4").any()
    assert encoding.neighbours == []


def test_a_release_without_item_features_knows_nothing_of_any_item() -> None:
    bare = clustered_world(features=False)
    model = fit(bare, bare.interactions, QUICK).model
    encoding = FreshEncoder(model, "r").encode({"kind": "k1"})
    stored = model.items.two_tower[model.items.events == 0]
    length = np.linalg.norm(np.frombuffer(encoding.two_tower, "<f4"))
    assert length == pytest.approx(np.linalg.norm(stored, axis=1).mean(), rel=1e-4)


def test_the_head_alone_encodes_nearly_the_same(trained: FittedModel) -> None:
    """Where the vectors of neighbours are held in eight bits."""
    items = trained.items
    head = np.sort(np.argsort(-items.events, kind="stable")[:20]).astype(np.int32)
    bundle = to_bundle(replace(trained, items=replace(items, head=head)))
    part = from_bundle(replace(bundle, tensors={n: t for n, t in bundle.tensors.items() if n != "vectors"}))
    assert part.items.head_only
    for row in range(ITEMS - COLD, ITEMS - 1):
        features = {name: value for name, value in WORLD.items.to_dicts()[row].items() if value is not None}
        ours, exact = (np.frombuffer(FreshEncoder(m, "r").encode(features).two_tower, "<f4") for m in (part, trained))
        assert ours @ exact > 0.9999 * np.linalg.norm(ours) * np.linalg.norm(exact)
