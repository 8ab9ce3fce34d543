"""Publishing: verified first, one write, and everything that must not serve is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import (
    GateBlocked,
    NothingPublished,
    ParityBroken,
    PointerConflict,
    ReleaseCorrupt,
    VerificationFailed,
)
from contracts.fitted import FittedModel, to_bundle
from contracts.release import GateCheck, GateReport, Verdict
from index_loader.diff import diff
from index_loader.publish import publish, rollback
from index_loader.verify import verify
from retrieval.opened import open_model
from stores.fresh_items import SqliteFreshItems
from stores.release_files import TrainingFacts, write_bundle
from stores.releases import LocalReleases
from stores.vector_index import ExactIndex
from tests.toy_world import toy_model


@pytest.fixture
def store(tmp_path: Path) -> LocalReleases:
    return LocalReleases(tmp_path)


def seal(store: LocalReleases, model: FittedModel, **facts: object) -> str:
    folder = store.home / "runs" / "run"
    write_bundle(folder, to_bundle(model), TrainingFacts(n_items=len(model.items), dim=16, watermark=1, **facts))  # type: ignore[arg-type]
    return store.seal(folder).id


def gate(release: str, verdict: Verdict, served: str = "two_tower") -> GateReport:
    checks = [GateCheck("quality", verdict, "as crafted")]
    return GateReport(release=release, compared_with=None, checks=checks, served_model=served)


def test_a_passed_release_serves_with_the_model_that_the_gate_chose(store: LocalReleases) -> None:
    release = seal(store, toy_model())
    moved = publish(store, release, gate(release, Verdict.WARN, "als"), None)
    assert store.serving() == moved
    assert moved.publication.served_model == "als"
    assert moved.publication.verification["recall"] == 1.0
    assert moved.publication.previous is None


def test_a_blocked_release_never_serves(store: LocalReleases) -> None:
    release = seal(store, toy_model())
    with pytest.raises(GateBlocked, match="quality: as crafted"):
        publish(store, release, gate(release, Verdict.BLOCK), None)
    assert store.current() is None


def test_what_was_decided_on_an_older_state_is_refused(store: LocalReleases) -> None:
    first, second = (seal(store, toy_model(seed=seed)) for seed in (1, 2))
    publish(store, first, None, None)
    with pytest.raises(PointerConflict):
        publish(store, second, None, None)
    assert store.serving().publication.release == first


def test_a_release_that_this_code_computes_differently_is_refused(store: LocalReleases) -> None:
    model = toy_model()
    case = model.golden[1]
    wrong = replace(
        model, golden=[*model.golden[2:], type(case)(case.rows, case.weights, case.features, [0.0] * 16, case.als)]
    )
    with pytest.raises(ParityBroken):
        publish(store, seal(store, wrong), None, None)
    assert store.current() is None


def test_a_corrupt_release_is_refused_and_the_old_one_goes_on(store: LocalReleases) -> None:
    first, second = (seal(store, toy_model(seed=seed)) for seed in (1, 2))
    before = publish(store, first, None, None)
    path = store.home / "releases" / second / "items.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ReleaseCorrupt, match=r"items\.safetensors"):
        publish(store, second, None, before.etag)
    assert store.serving() == before


def test_an_index_that_misses_the_probes_is_refused() -> None:
    model = toy_model()
    shuffled = np.random.default_rng(0).permutation(model.items.two_tower)
    with pytest.raises(VerificationFailed):
        verify(ExactIndex({"two_tower": shuffled, "als": model.items.als}), model)
    assert verify(open_model(model).index, model)["worst"] == 1.0


def test_rollback_serves_the_one_before_and_then_the_one_before_that(
    store: LocalReleases, items: SqliteFreshItems
) -> None:
    etag = None
    publications = []
    for seed in range(3):
        moved = publish(store, seal(store, toy_model(seed=seed)), None, etag)
        etag = moved.etag
        publications.append(moved.publication)
    assert rollback(store, None, items).publication == publications[1]
    assert rollback(store, None, items).publication == publications[0]
    with pytest.raises(NothingPublished):
        rollback(store, None, items)
    assert rollback(store, publications[2].id, items).publication == publications[2]
    after = publish(store, seal(store, toy_model(seed=9)), None, store.serving().etag).publication
    assert after.sequence == 4
    assert after.previous == publications[2].id


def test_a_rollback_to_a_corrupt_release_is_refused(store: LocalReleases, items: SqliteFreshItems) -> None:
    first, second = (seal(store, toy_model(seed=seed)) for seed in (1, 2))
    current = publish(store, second, None, publish(store, first, None, None).etag)
    (store.home / "releases" / first / "tower.safetensors").write_bytes(b"")
    with pytest.raises(ReleaseCorrupt):
        rollback(store, None, items)
    assert store.serving() == current


def test_a_diff_counts_items_and_compares_neighbourhoods(store: LocalReleases) -> None:
    small, large = toy_model(n_items=150), toy_model(n_items=200)
    found = diff(
        store,
        seal(store, small, metrics={"two_tower": {"ndcg@10": 0.1}}),
        seal(store, large, metrics={"two_tower": {"ndcg@10": 0.2}}),
    )
    assert found["items"] == {"before": 150, "after": 200, "added": 50, "removed": 0}
    assert found["metrics"]["two_tower"]["ndcg@10"] == {"before": 0.1, "after": 0.2}
    assert 0 <= found["overlap"]["neighbours_10"] < 1
    same = diff(store, found["before"], found["before"])
    assert same["overlap"] == {"popular_100": 1.0, "neighbours_10": 1.0}
