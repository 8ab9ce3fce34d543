"""Loading a release into a real OpenSearch: every step, again, out of order, and with what must not get in."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import contracts.index_document
import index_loader.documents
import index_loader.load
import index_loader.prepare
from contracts.errors import IndexLoadFailed, IndexUnavailable, VerificationFailed
from contracts.feature_encoder import FeatureEncoder, FieldVocabulary
from contracts.fitted import FittedModel
from contracts.ids import IdTable
from contracts.release import Manifest
from contracts.schema import FeatureKind
from index_loader.documents import CHUNK_BYTES, CHUNK_DOCUMENTS, Chunk, Documents
from index_loader.finalise import finalise, is_final, segments
from index_loader.load import load, send
from index_loader.prepare import check_ids, check_sizes, check_terms, check_vectors, prepare
from index_loader.publish import Loaded, publish
from index_loader.run import newest_index
from lambda_user_tower.edge import Edge
from lambda_user_tower.settings import LambdaSettings
from stores.releases import LocalReleases
from tests.index_loader.worlds import loaded, seal
from tests.lambda_user_tower.conftest import body_of, http, post
from tests.toy_world import toy_model


def test_a_release_is_loaded_published_and_serves(
    store: LocalReleases, client: Any, release: str, opensearch_url: str
) -> None:
    name = loaded(store, client, release)
    assert name == f"items-{release.lower()}-r1"
    assert (is_final(client, name), segments(client, name).most) == (True, 1)
    publication = publish(store, release, None, None, loaded=Loaded(client, name)).publication
    assert (publication.index, publication.ef_search) == (name, publication.verification["ef_search"])
    assert publication.verification["count"] == 200
    assert publication.verification["recall"] >= 0.95
    settings = LambdaSettings(home=store.home, budget_ms=20_000, opensearch_url=opensearch_url)
    embedded = LambdaSettings(home=store.home, budget_ms=20_000)
    with closing(Edge(settings)) as edge, closing(Edge(embedded)) as without:
        assert body_of(edge(http("GET", "/v1/health")))["index"] == name
        history = [{"item_id": f"i{row:06d}"} for row in range(3, 48, 5)]
        for filters in ({}, {"genre": ["books", "eggs"]}, {"price": {"gte": 10}}):
            asked = post({"user_id": "u", "history": history, "num_items": 10, "filters": filters})
            answers = [body_of(one(asked)) for one in (edge, without)]
            assert [answer["why"]["degraded"] for answer in answers] == [[], ["index_unavailable"]]
            served = [[item["item_id"] for item in answer["items"]] for answer in answers]
            assert served[0] == served[1]  # the engine finds in 200 items what an exact scan finds
        alike = body_of(edge(http("GET", "/v1/items/i000003/similar", "num_items=5")))
        assert (len(alike["items"]), alike["why"]["degraded"]) == (5, [])


def test_every_step_may_be_run_again(store: LocalReleases, client: Any, release: str) -> None:
    name = prepare(store, client, release)
    for part in (1, 0, 0, 1):
        assert load(store, client, release, name, part=part, parts=2) == 100
    finalise(client, name)
    finalise(client, name)
    assert client.count(index=name)["count"] == 200
    assert prepare(store, client, release) == name.removesuffix("1") + "2"  # a crashed run is left for the sweep


def test_small_segments_are_merged_to_few_and_never_to_one_large_one(
    store: LocalReleases, client: Any, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contracts.index_document, "SEGMENT_ITEMS", 50)
    name = prepare(store, client, release)
    for part in [*range(20), 3, 7]:  # two of them twice
        load(store, client, release, name, part=part, parts=20)
        client.indices.refresh(index=name)
    before = segments(client, name)
    assert before.most > 8
    assert before.deleted == 0
    finalise(client, name)
    after = segments(client, name)
    assert (after.documents, after.deleted) == (200, 0)
    assert 2 <= after.most <= 8


def test_a_segment_is_written_whenever_enough_has_been_loaded(
    store: LocalReleases, client: Any, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_loader.load, "SEGMENT_ITEMS", 25)
    monkeypatch.setattr(index_loader.documents, "CHUNK_DOCUMENTS", 10)
    name = prepare(store, client, release)
    load(store, client, release, name, threads=2)
    found = segments(client, name)
    assert found.documents >= 150, "what was loaded last waits for finalise"
    assert 3 <= found.most <= 10


def test_a_missing_part_is_not_published(store: LocalReleases, client: Any, release: str) -> None:
    name = prepare(store, client, release)
    load(store, client, release, name, part=0, parts=2)
    finalise(client, name)
    with pytest.raises(VerificationFailed, match="100 documents"):
        publish(store, release, None, None, loaded=Loaded(client, name))
    assert store.current() is None


def test_an_index_of_another_release_is_neither_filled_nor_published(
    store: LocalReleases, client: Any, release: str
) -> None:
    name, other = prepare(store, client, release), seal(store, toy_model(seed=1))
    with pytest.raises(IndexLoadFailed, match=release):
        load(store, client, other, name)
    with pytest.raises(IndexUnavailable, match="not of"):
        publish(store, other, None, None, loaded=Loaded(client, name))
    with pytest.raises(IndexLoadFailed, match="no such index"):
        load(store, client, other, "items-nowhere-r1")


def test_a_final_index_takes_nothing_more(store: LocalReleases, client: Any, release: str) -> None:
    name = loaded(store, client, release, parts=1)
    with pytest.raises(IndexLoadFailed, match="write"):
        load(store, client, release, name)


def test_a_refused_document_fails_with_its_row(store: LocalReleases, client: Any, release: str) -> None:
    name = prepare(store, client, release)
    bad = b'{"create":{"_id":"x"}}\n{"row":7,"two_tower":[1,2]}\n'
    with pytest.raises(IndexLoadFailed, match=r"row 7: .*dimension"):
        send(client, name, Chunk([7], [bad]))


def vectors_with(model: FittedModel, name: str, row: int, value: float) -> FittedModel:
    vectors = np.array(getattr(model.items, name))
    vectors[row] = value
    return replace(model, items=replace(model.items, **{name: vectors}))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("two_tower", 0.0, "is zero"), ("two_tower", np.nan, "is not finite"), ("als", np.inf, "is not finite")],
)
def test_a_vector_that_cannot_be_searched_is_named_before_anything_exists(name: str, value: float, said: str) -> None:
    with pytest.raises(IndexLoadFailed, match=rf"the {name} vector of item 'i000042' \(row 42\) {said}"):
        check_vectors(vectors_with(toy_model(), name, 42, value))


def id_table(ids: list[str]) -> IdTable:
    """As a file may hold it: nobody has looked at its order."""
    encoded = [text.encode() for text in ids]
    offsets = np.cumsum([0, *map(len, encoded)])
    return IdTable(np.frombuffer(b"".join(encoded), np.uint8), offsets)


NAMES = [f"i{row:06d}" for row in range(200)]


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([*NAMES[:199], "j" * 513], "row 199 has 513 bytes"),
        ([*NAMES[:120], NAMES[119], *NAMES[121:]], "'i000119' of row 120 repeats"),
        ([*NAMES[:50], NAMES[51], NAMES[50], *NAMES[52:]], "'i000050' of row 51 "),
    ],
)
@pytest.mark.parametrize("block", [7, 50, 120, 65_536])
def test_an_id_that_no_index_takes_is_named(
    ids: list[str], said: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_loader.prepare, "_BLOCK", block)
    check_ids(id_table(NAMES))
    with pytest.raises(IndexLoadFailed, match=said):
        check_ids(id_table(ids))


def test_arrays_of_another_size_than_the_manifests_are_named() -> None:
    model = toy_model()
    manifest = Manifest(format_version=1, id="r1", created_at="", files={}, digest="", n_items=200, dim=16, watermark=1)
    check_sizes(model, manifest)
    narrow = replace(model, items=replace(model.items, als=model.items.als[:, :8]))
    with pytest.raises(IndexLoadFailed, match=r"the als vectors are \[200, 8\], the manifest of r1 says \[200, 16\]"):
        check_sizes(narrow, manifest)
    without_one = replace(model, items=replace(model.items, two_tower=model.items.two_tower[1:]))
    with pytest.raises(IndexLoadFailed, match=r"the two_tower vectors are \[199, 16\]"):
        check_sizes(without_one, manifest)
    with pytest.raises(IndexLoadFailed, match="has no items"):
        check_sizes(replace(model, items=replace(model.items, ids=id_table([]))), manifest)


def test_a_value_that_no_index_takes_is_named() -> None:
    encoder = FeatureEncoder([FieldVocabulary("genre", FeatureKind.CATEGORICAL, terms=["art", "é" * 16_384])])
    with pytest.raises(IndexLoadFailed, match="'genre' has 32768 bytes"):
        check_terms(encoder)


def test_what_is_refused_leaves_no_index(store: LocalReleases, client: Any) -> None:
    release = seal(store, vectors_with(toy_model(), "two_tower", 3, np.nan))
    with pytest.raises(IndexLoadFailed, match="row 3"):
        prepare(store, client, release)
    assert newest_index(store, client, release) is None


def test_chunks_are_bounded_and_miss_nothing() -> None:
    chunks = list(Documents(toy_model(n_items=2_300, n_cold=5)).chunks(10, 2_300))
    assert [row for chunk in chunks for row in chunk.rows] == list(range(10, 2_300))
    assert all(len(chunk.rows) <= CHUNK_DOCUMENTS and len(chunk.body()) <= CHUNK_BYTES for chunk in chunks)
