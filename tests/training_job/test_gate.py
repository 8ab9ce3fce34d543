"""The gate lets a sound release through and has one crafted release for every reason to stop or to warn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from contracts.fitted import FittedModel, RankedLists
from contracts.ids import IdTable
from contracts.interactions import Interactions
from contracts.release import GateCheck, GateReport, Verdict
from contracts.schema import TimeMeaning
from contracts.segments import GLOBAL_KEY, category_key
from contracts.trending import trending_key
from data_sources.indexed import IndexedDataset
from evaluation.splits import Split, new_items
from retrieval.golden import golden_factor, golden_vector
from stores.vector_index import ExactIndex
from tests.toy_world import NOW, toy_model
from training_job.common_items import common_items, renumber
from training_job.gate import QUALITY_CHECKS, judge_candidate
from training_job.gate_arrays import ARRAY_CHECKS, SOUNDNESS_CHECKS, spread_of

N_ITEMS, N_CATEGORIES, DIM = 250, 5, 16
N_USERS = 300


def world(n_users: int = N_USERS) -> tuple[Interactions, np.ndarray]:
    """Everybody takes 12 items of one category, popular ones more often; the last four of each come after NOW."""
    rng = np.random.default_rng(7)
    taste = np.repeat(np.arange(n_users) % N_CATEGORIES, 12)
    liking = 1 / (np.arange(N_ITEMS // N_CATEGORIES) + 5.0)
    items = taste + N_CATEGORIES * rng.choice(len(liking), len(taste), p=liking / liking.sum())
    late = np.tile(np.arange(12) >= 8, n_users)
    times = np.tile(np.arange(12) - 8, n_users) + NOW + np.where(late, 1, 0)
    users = np.repeat(np.arange(n_users), 12)
    events = Interactions.from_events(users, items, times, np.ones(len(items)), n_users, N_ITEMS)
    return events, late


def indexed_world(model: FittedModel, events: Interactions) -> IndexedDataset:
    users = pl.DataFrame({"gender": ["F", "M"] * (events.n_users // 2), "age": [30.0] * events.n_users})
    return IndexedDataset(
        schema=model.schema,
        user_ids=pl.Series([f"u{user:04d}" for user in range(events.n_users)]),
        item_ids=pl.Series([model.items.ids.text(row) for row in range(len(model.items))]),
        interactions=events,
        is_test=None,
        users=users,
        items=pl.DataFrame({"genre": [None] * len(model.items)}),
    )


def gate(
    model: FittedModel, serving: FittedModel | None = None, *, n_users: int = N_USERS, serving_model: str = "two_tower"
) -> GateReport:
    events, late = world(n_users)
    train = events.select(~late)
    judging = Split(train, new_items(events.select(late), train), "validation", NOW)
    return judge_candidate(
        model,
        judging,
        serving,
        indexed_world(model, events),
        release="r2",
        serving_release="r1" if serving else None,
        serving_model=serving_model,
    )


def verdict(report: GateReport, name: str) -> GateCheck:
    return next(check for check in report.checks if check.name == name)


@pytest.fixture(scope="module")
def sound() -> FittedModel:
    return toy_model(N_ITEMS, DIM, n_categories=N_CATEGORIES, n_cold=20)


def with_vectors(model: FittedModel, two_tower: np.ndarray, als: np.ndarray | None = None) -> FittedModel:
    """A model of other vectors that is whole in every other way: golden cases and probes are computed anew."""
    factors = model.items.als if als is None else als.astype(np.float32)
    gram = (factors.T @ factors).astype(np.float32)
    items = replace(model.items, two_tower=two_tower.astype(np.float32), als=factors)
    model = replace(model, items=items, als=replace(model.als, gram=gram))
    rows, _ = ExactIndex({"m": items.two_tower}).search_many("m", model.probes.queries, model.probes.rows.shape[1])
    golden = [
        type(case)(
            case.rows,
            case.weights,
            case.features,
            golden_vector(model, case.rows, case.weights, case.features).tolist(),
            golden_factor(model, case.rows, case.weights).tolist(),
        )
        for case in model.golden
    ]
    return replace(model, probes=replace(model.probes, rows=rows), golden=golden)


def shuffled(vectors: np.ndarray, share: float = 1.0, seed: int = 0) -> np.ndarray:
    """A share of the items swap their vectors: as if index and tower came from two trainings."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(vectors), int(share * len(vectors)), replace=False)
    mixed = vectors.copy()
    mixed[chosen] = vectors[rng.permutation(chosen)]
    return mixed


def with_table(model: FittedModel, rows: list[int], scores: list[float]) -> FittedModel:
    table = RankedLists(
        [GLOBAL_KEY, category_key("art")],
        np.array([*rows, 5], np.int32),
        np.array([*scores, 0.9], np.float32),
        np.array([0, len(rows), len(rows) + 1]),
    )
    return replace(model, popularity=table)


def test_a_sound_first_release_passes(sound: FittedModel) -> None:
    report = gate(sound)
    assert not report.blocked
    assert report.served_model == "two_tower"
    assert report.compared_with is None
    assert all(check.verdict is Verdict.PASS for check in report.checks if check.name != "als")
    assert len({check.name for check in report.checks}) == len(SOUNDNESS_CHECKS + ARRAY_CHECKS + QUALITY_CHECKS)
    assert verdict(report, "popularity").figures["ndcg@10"]["difference"][1] > 0


def test_the_same_release_again_passes(sound: FittedModel) -> None:
    report = gate(sound, sound)
    assert not report.blocked
    assert verdict(report, "serving_release").verdict is Verdict.PASS
    assert verdict(report, "serving_release").figures["ndcg@10"]["difference"] == [0, 0, 0]


def broken(name: str, model: FittedModel) -> FittedModel:
    """One fault each."""
    vectors = model.items.two_tower.copy()
    with_nan, zero = vectors.copy(), vectors.copy()
    with_nan[3, 2], zero[4] = np.nan, 0
    bent = [replace_vector(case) for case in model.golden]
    wrong_probes = model.probes.rows.copy()
    wrong_probes[0, [0, 99]] = wrong_probes[0, [99, 0]]
    faults: dict[str, Callable[[], FittedModel]] = {
        "NaN vectors": lambda: replace(model, items=replace(model.items, two_tower=with_nan)),
        "infinite gram": lambda: replace(model, als=replace(model.als, gram=np.full_like(model.als.gram, np.inf))),
        "vanished vector": lambda: replace(model, items=replace(model.items, two_tower=zero)),
        "collapsed vectors": lambda: with_vectors(model, vectors[:1] + 1e-3 * vectors),
        "two directions": lambda: with_vectors(
            model, np.where(np.arange(N_ITEMS)[:, None] % 2, vectors[0], vectors[1])
        ),
        "array of another length": lambda: replace(model, items=replace(model.items, events=model.items.events[:-1])),
        "neighbour that does not exist": lambda: replace(
            model, content=replace(model.content, neighbours=np.full_like(model.content.neighbours, N_ITEMS))
        ),
        "broken golden": lambda: replace(model, golden=bent),
        "no golden": lambda: replace(model, golden=[]),
        "probe out of order": lambda: replace(model, probes=replace(model.probes, rows=wrong_probes)),
        "empty fallback table": lambda: with_table(model, [], []),
        "unsorted fallback table": lambda: with_table(model, [1, 2], [0.1, 0.2]),
        "fallback row out of range": lambda: with_table(model, [1, N_ITEMS], [0.2, 0.1]),
        "fallback score above one": lambda: with_table(model, [1, 2], [1.2, 0.1]),
    }
    return faults[name]()


def replace_vector(case):
    return type(case)(case.rows, case.weights, case.features, [x + 0.01 for x in case.two_tower], case.als)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("NaN vectors", "finite"),
        ("infinite gram", "finite"),
        ("vanished vector", "norms"),
        ("collapsed vectors", "collapse"),
        ("two directions", "collapse"),
        ("array of another length", "shapes"),
        ("neighbour that does not exist", "shapes"),
        ("broken golden", "parity"),
        ("no golden", "parity"),
        ("probe out of order", "probes"),
        ("empty fallback table", "fallback_tables"),
        ("unsorted fallback table", "fallback_tables"),
        ("fallback row out of range", "fallback_tables"),
        ("fallback score above one", "fallback_tables"),
    ],
)
def test_broken_arrays_block(sound: FittedModel, fault: str, check: str) -> None:
    report = gate(broken(fault, sound))
    assert report.blocked
    assert verdict(report, check).verdict is Verdict.BLOCK


def test_a_sound_table_is_no_fault(sound: FittedModel) -> None:
    """Two tables side by side: the second may begin above the end of the first."""
    assert verdict(gate(with_table(sound, [1, 2], [0.2, 0.1])), "fallback_tables").verdict is Verdict.PASS


@pytest.mark.parametrize(("scores", "expected"), [([70.0, 3.0], Verdict.PASS), ([0.0, -1.0], Verdict.BLOCK)])
def test_what_is_trending_has_weights_and_no_shares(sound: FittedModel, scores: list[float], expected: Verdict) -> None:
    tables = with_table(sound, [1, 2], scores).popularity
    trending = replace(tables, keys=[trending_key("1d"), GLOBAL_KEY])
    assert verdict(gate(replace(sound, popularity=trending)), "fallback_tables").verdict is expected


def test_worse_than_popularity_blocks(sound: FittedModel) -> None:
    scrambled = with_vectors(sound, shuffled(sound.items.two_tower), shuffled(sound.items.als, seed=1))
    report = gate(scrambled)
    check = verdict(report, "popularity")
    assert (check.verdict, report.blocked) == (Verdict.BLOCK, True)
    assert check.figures["recall@20"]["difference"][2] < 0


def test_towers_worse_than_popularity_block_even_beside_a_good_als(sound: FittedModel) -> None:
    report = gate(with_vectors(sound, shuffled(sound.items.two_tower)))
    assert report.blocked
    assert "two_tower" in verdict(report, "popularity").detail


def test_worse_than_als_serves_als(sound: FittedModel) -> None:
    report = gate(with_vectors(sound, shuffled(sound.items.two_tower, 0.4), sound.items.two_tower))
    assert verdict(report, "als").verdict is Verdict.WARN
    assert report.served_model == "als"
    assert not report.blocked


def test_worse_than_the_serving_release_blocks(sound: FittedModel) -> None:
    worse = with_vectors(sound, shuffled(sound.items.two_tower, 0.4), shuffled(sound.items.als, 0.4, seed=2))
    report = gate(worse, sound)
    check = verdict(report, "serving_release")
    assert (check.verdict, report.blocked) == (Verdict.BLOCK, True)
    assert verdict(report, "popularity").verdict is Verdict.PASS
    better = gate(sound, worse)
    assert verdict(better, "serving_release").verdict is Verdict.PASS
    assert verdict(better, "serving_release").figures["ndcg@10"]["difference"][1] > 0


def test_the_model_that_serves_is_what_is_compared(sound: FittedModel) -> None:
    """A serving release whose towers are bad but which serves ALS must not be beaten by beating its towers."""
    serving = with_vectors(sound, shuffled(sound.items.two_tower), sound.items.two_tower)
    worse = with_vectors(sound, shuffled(sound.items.two_tower, 0.4), shuffled(sound.items.als, 0.4, seed=2))
    assert verdict(gate(worse, serving), "serving_release").verdict is Verdict.PASS
    assert verdict(gate(worse, serving, serving_model="als"), "serving_release").verdict is Verdict.BLOCK


def test_without_timestamps_a_loss_to_the_serving_release_warns(sound: FittedModel) -> None:
    worse = with_vectors(sound, shuffled(sound.items.two_tower, 0.4), shuffled(sound.items.als, 0.4, seed=2))
    ordered = replace(worse, schema=type(worse.schema)(time=TimeMeaning.ORDER))
    check = verdict(gate(ordered, sound), "serving_release")
    assert check.verdict is Verdict.WARN
    assert "no timestamps" in check.detail


def test_too_small_a_slice_claims_nothing(sound: FittedModel) -> None:
    scrambled = with_vectors(sound, shuffled(sound.items.two_tower), shuffled(sound.items.als, seed=1))
    report = gate(scrambled, sound, n_users=40)
    for name in ("popularity", "als", "serving_release"):
        assert verdict(report, name).verdict is Verdict.WARN
        assert "too few" in verdict(report, name).detail
    assert report.served_model == "two_tower"


def test_events_that_the_serving_release_was_trained_on_do_not_judge(sound: FittedModel) -> None:
    newer = replace(sound, watermark=NOW + 100)
    report = gate(sound, newer)
    assert verdict(report, "serving_release").figures == {"users": 0}
    assert verdict(report, "serving_release").verdict is Verdict.WARN
    assert verdict(report, "catalogue").verdict is Verdict.WARN
    assert "older" in verdict(report, "catalogue").detail


def test_lists_that_are_the_same_for_everybody_warn(sound: FittedModel) -> None:
    """The 25 most popular items have twenty times the norm of all others: everybody is shown the head."""
    vectors = sound.items.two_tower + 0.5
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    heavy = vectors * np.where(np.arange(N_ITEMS) < 25, 20.0, 1.0)[:, None]
    check = verdict(gate(with_vectors(sound, heavy, shuffled(sound.items.als))), "coverage")
    assert check.verdict is Verdict.WARN
    assert check.figures["in_common"] > 0.5


def test_half_a_catalogue_warns(sound: FittedModel) -> None:
    before = toy_model(3 * N_ITEMS, DIM, n_categories=N_CATEGORIES, n_cold=20)
    check = verdict(gate(sound, before), "catalogue")
    assert check.verdict is Verdict.WARN
    assert check.figures["kept"] == N_ITEMS


def test_common_items_match_by_id() -> None:
    ours = pl.Series(["a", "c", "d", "é"])
    found = common_items(ours, IdTable.from_strings(["b", "c", "é"]))
    assert found.ours.tolist() == [1, 3]
    assert found.theirs.tolist() == [1, 2]
    assert found.to_common.numbers.tolist() == [-1, 0, -1, 1]
    assert found.to_theirs.numbers.tolist() == [-1, 1, -1, 2]
    events = Interactions.from_events(
        np.array([0, 0, 1]), np.array([1, 0, 3]), np.arange(3), np.ones(3), n_users=3, n_items=4
    )
    moved = renumber(events, found.to_theirs)
    assert moved.items.tolist() == [1, 2]
    assert moved.offsets.tolist() == [0, 1, 2, 2]
    assert moved.n_items == 3


def test_spread_of_known_shapes() -> None:
    axes = np.repeat(np.eye(8), 4, axis=0) + 0.0
    figures = spread_of(axes.astype(np.float32))
    assert figures["duplicates"] == 1
    assert figures["mean_cosine"] == pytest.approx((4 - 1) / 31)
    assert figures["effective_rank"] == pytest.approx(7)  # eight directions around their mean span seven
