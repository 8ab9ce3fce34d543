"""Verifying an index: everything that can be wrong with one is found before it serves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from contracts.deadline import Deadline
from contracts.errors import VerificationFailed
from contracts.fitted import FittedModel
from contracts.restriction import Restriction
from index_loader.documents import Documents
from index_loader.load import load
from index_loader.prepare import prepare
from index_loader.publish import Loaded, publish
from index_loader.read_back import check_ids, check_sample
from index_loader.verify import VerifySettings, verify_loaded
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
        found = int(len(rows) * min(1.0, self.ef_search / self.needed))
        return rows[:found], scores[:found]

    needed = 400


def coarse(client: Any, name: str, store: LocalReleases, release: str, needed: int) -> Coarse:
    index = Coarse.open(client, name, store.manifest(release), 0)
    assert isinstance(index, Coarse)
    index.needed = needed
    return index


def test_ef_search_is_raised_until_the_aim_is_reached(store: LocalReleases, client: Any, release: str) -> None:
    index = coarse(client, refreshed(store, client, release), store, release, 400)
    report = verify_loaded(client, index, store.open(release))
    assert (report["ef_search"], index.ef_search) == (400, 400)
    assert [step["ef_search"] for step in report["tried"]] == [100, 200, 400]
    assert report["tried"][0]["two_tower"] == pytest.approx(0.25, abs=0.01)


def test_what_stays_below_the_floor_after_every_step_is_refused(
    store: LocalReleases, client: Any, release: str
) -> None:
    index = coarse(client, refreshed(store, client, release), store, release, 2_000)
    with pytest.raises(VerificationFailed, match="two_tower: the index finds 80"):
        verify_loaded(client, index, store.open(release))


def test_raising_ends_where_it_takes_too_long(store: LocalReleases, client: Any, release: str) -> None:
    name = refreshed(store, client, release)
    index = coarse(client, name, store, release, 400)
    with pytest.raises(VerificationFailed, match="finds 25"):
        verify_loaded(client, index, store.open(release), VerifySettings(latency_ms=0.0))
    index = coarse(client, name, store, release, 103)
    report = verify_loaded(client, index, store.open(release), VerifySettings(latency_ms=0.0))
    assert report["ef_search"] == 100  # below the aim, above the floor


def test_a_bucket_below_its_floor_blocks_although_everything_else_is_fine(
    store: LocalReleases, client: Any, release: str
) -> None:
    model = store.open(release)
    rows = model.probes.bucket_rows.copy()
    rows[1] = np.where(rows[1] >= 0, (rows[1] + 37) % 200, -1)
    wrong: FittedModel = replace(model, probes=replace(model.probes, bucket_rows=rows))
    index = OpenSearchIndex.open(client, refreshed(store, client, release), store.manifest(release), 0)
    with pytest.raises(VerificationFailed, match=r"price from 10: .* the floor is 90%"):
        verify_loaded(client, index, wrong)


def test_vectors_of_another_training_are_noticed(store: LocalReleases, client: Any, release: str) -> None:
    other = seal(store, toy_model(seed=5))
    index = OpenSearchIndex.open(client, refreshed(store, client, release), store.manifest(release), 0)
    with pytest.raises(VerificationFailed, match="two_tower"):
        verify_loaded(client, index, store.open(other))
