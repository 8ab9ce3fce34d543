"""Verifying an index: everything that can be wrong with one is found before it serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from contracts.deadline import Deadline
from contracts.errors import VerificationFailed
from contracts.fitted import FittedModel
from contracts.restriction import AnyOf, Restriction
from index_loader.documents import Documents
from index_loader.load import load
from index_loader.prepare import prepare
from index_loader.publish import Loaded, publish
from index_loader.read_back import check_ids, check_sample
from index_loader.recall import VerifySettings, recall_of
from index_loader.verify import verify_loaded
from stores.releases import LocalReleases
from stores.search_index import OpenSearchIndex
from tests.index_loader.worlds import loaded, seal
from tests.toy_world import toy_model


def test_the_report_says_what_was_looked_at(store: LocalReleases, client: Any, release: str) -> None:
    name = loaded(store, client, release)
    report = publish(store, release, None, None, loaded=Loaded(client, name)).publication.verification
    assert (report["count"], report["documents_compared"], len(report["ids_sha256"])) == (200, 200, 64)
    assert {model: figures["probes"] for model, figures in report["models"].items()} == {"two_tower": 5, "als": 5}
    assert {name: round(figures["share"], 3) for name, figures in report["filters"].items()}.keys() == {
        "genre=art",
        "price from 10",
    }
    assert all(figures["recall"] >= 0.95 for figures in (*report["models"].values(), *report["filters"].values()))
    assert report["self_retrieval"]["found"] >= 0.95 * report["self_retrieval"]["entitled"] > 100
    assert store.serving().publication.verification == report  # it survives its file


def test_an_index_that_can_still_change_is_not_published(store: LocalReleases, client: Any, release: str) -> None:
    name = prepare(store, client, release)
    load(store, client, release, name)
    client.indices.refresh(index=name)
    with pytest.raises(VerificationFailed, match="not finalised"):
        publish(store, release, None, None, loaded=Loaded(client, name))


def refreshed(store: LocalReleases, client: Any, release: str) -> str:
    name = prepare(store, client, release)
    load(store, client, release, name)
    client.indices.refresh(index=name)
    return name


def change(client: Any, name: str, identifier: str, **fields: Any) -> None:
    client.update(index=name, id=identifier, body={"doc": fields}, params={"refresh": "true"})


def test_an_id_that_is_another_items_is_named(store: LocalReleases, client: Any, release: str) -> None:
    name = refreshed(store, client, release)
    ids = store.open(release).items.ids
    assert len(check_ids(client, name, ids)) == 64
    change(client, name, "i000007", item_id="i000008")
    with pytest.raises(VerificationFailed, match=r"row 7 is item 'i000007', the index has row 7 with item 'i000008'"):
        check_ids(client, name, ids)


def test_a_missing_document_is_named(store: LocalReleases, client: Any, release: str) -> None:
    name = refreshed(store, client, release)
    client.delete(index=name, id="i000199", params={"refresh": "true"})
    with pytest.raises(VerificationFailed, match="end at row 199, the release has 200"):
        check_ids(client, name, store.open(release).items.ids)


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"two_tower": [1.0] * 16}, "two_tower"), ({"f0": ["dogs"]}, "f0"), ({"f2": 3.5}, "f2")],
)
def test_a_document_that_differs_is_named(
    store: LocalReleases, client: Any, release: str, fields: dict[str, Any], named: str
) -> None:
    name = refreshed(store, client, release)
    documents = Documents(store.open(release))
    assert check_sample(client, name, documents, np.arange(200)) == 200
    change(client, name, "i000042", **fields)
    with pytest.raises(VerificationFailed, match=rf"{named} of item 'i000042' \(row 42\)"):
        check_sample(client, name, documents, np.arange(200))


class Coarse(OpenSearchIndex):
    """Finds only what it looks at: a share of the answers that grows with ef_search."""

    def search(
        self, model_name: str, query: Any, k: int, restriction: Restriction | None, deadline: Deadline
    ) -> tuple[Any, Any]:
        rows, scores = super().search(model_name, query, k, restriction, deadline)
        needed = self.needed_of.get(model_name, self.needed)
        looked_at = self.ef_search["filtered" if restriction else model_name]
        found = int(len(rows) * min(1.0, looked_at / needed))
        return rows[:found], scores[:found]

    needed = 400
    needed_of: Mapping[str, int] = MappingProxyType({})


def coarse(client: Any, name: str, store: LocalReleases, release: str, needed: int) -> Coarse:
    index = Coarse.open(client, name, store.manifest(release))
    assert isinstance(index, Coarse)
    index.needed = needed
    return index


PATIENT = VerifySettings(latency_ms=60_000.0)
"""A machine that is busy beside the engine must not end the search for an ef_search early."""


def test_ef_search_is_raised_until_the_aim_is_reached(store: LocalReleases, client: Any, release: str) -> None:
    index = coarse(client, refreshed(store, client, release), store, release, 400)
    report = verify_loaded(client, index, store.open(release), PATIENT)
    assert report["ef_search"] == index.ef_search == {"two_tower": 400, "als": 400, "filtered": 400}
    assert [step["ef_search"] for step in report["tried"]["als"]] == [100, 150, 200, 300, 400]
    assert [step["ef_search"] for step in report["tried"]["filtered"]] == [400], "a filter never looks at less"
    assert report["tried"]["two_tower"][0]["recall"] == pytest.approx(0.25, abs=0.01)


def test_each_model_has_its_own(store: LocalReleases, client: Any, release: str) -> None:
    index = coarse(client, refreshed(store, client, release), store, release, 100)
    index.needed_of = {"als": 1_600}
    report = verify_loaded(client, index, store.open(release), PATIENT)
    assert report["ef_search"] == {"two_tower": 100, "als": 1_600, "filtered": 100}
    index.ef_search["filtered"] = 800
    filtered = Restriction((AnyOf("genre", ("art",)),), np.ones(20_000, np.bool_))
    for model, restriction, ef_search in (
        ("two_tower", None, 100),
        ("two_tower", filtered, 800),
        ("als", None, 1_600),
        ("als", filtered, 1_600),
    ):
        knn = index.body(model, np.zeros(16, np.float32), 5, restriction, 9.0)["query"]["knn"][model]
        assert knn["method_parameters"] == {"ef_search": ef_search}


def test_what_stays_below_the_floor_after_every_step_is_refused(
    store: LocalReleases, client: Any, release: str
) -> None:
    index = coarse(client, refreshed(store, client, release), store, release, 8_000)
    with pytest.raises(VerificationFailed, match="two_tower: the index finds 80"):
        verify_loaded(client, index, store.open(release), PATIENT)


def test_raising_ends_where_it_takes_too_long(store: LocalReleases, client: Any, release: str) -> None:
    name = refreshed(store, client, release)
    index = coarse(client, name, store, release, 400)
    with pytest.raises(VerificationFailed, match="finds 25"):
        verify_loaded(client, index, store.open(release), VerifySettings(latency_ms=0.0))
    index = coarse(client, name, store, release, 103)
    report = verify_loaded(client, index, store.open(release), VerifySettings(latency_ms=0.0))
    assert report["ef_search"] == {"two_tower": 100, "als": 100, "filtered": 100}  # below the aim, above the floor


def test_a_bucket_below_its_floor_blocks_although_everything_else_is_fine(
    store: LocalReleases, client: Any, release: str
) -> None:
    model = store.open(release)
    rows = model.probes.bucket_rows.copy()
    rows[1] = np.where(rows[1] >= 0, (rows[1] + 37) % 200, -1)
    wrong: FittedModel = replace(model, probes=replace(model.probes, bucket_rows=rows))
    index = OpenSearchIndex.open(client, refreshed(store, client, release), store.manifest(release))
    with pytest.raises(VerificationFailed, match=r"price from 10: .* the floor is 90%"):
        verify_loaded(client, index, wrong)


def test_who_ties_with_the_last_of_the_answer_is_right_and_who_beats_it_is_not() -> None:
    vectors = np.array([[3.0], [2.0], [1.0], [1.0], [1.0], [0.5]], np.float32)
    query, expected = np.ones(1, np.float32), np.array([1, 2, 3])  # row 0 does not pass the filter
    for found, recall in (([1, 2, 3], 1.0), ([1, 4, 3], 1.0), ([0, 1, 2], 2 / 3), ([1, 5, 2], 2 / 3), ([1], 1 / 3)):
        assert recall_of(vectors, query, expected, np.array(found)) == pytest.approx(recall)
    assert recall_of(vectors, query, expected[:0], np.empty(0, np.int32)) == 1.0
    assert recall_of(vectors, query, expected[:0], np.array([2])) == 0.0


def test_vectors_of_another_training_are_noticed(store: LocalReleases, client: Any, release: str) -> None:
    other = seal(store, toy_model(seed=5))
    index = OpenSearchIndex.open(client, refreshed(store, client, release), store.manifest(release))
    with pytest.raises(VerificationFailed, match="two_tower"):
        verify_loaded(client, index, store.open(other))
