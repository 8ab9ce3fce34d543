"""The vector index in OpenSearch: the contract on a real server, and every fault on one that lies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from contracts.deadline import Deadline
from contracts.errors import IndexUnavailable
from contracts.feature_encoder import FeatureEncoder, FieldVocabulary
from contracts.index_document import IndexSettings, index_body, index_fields, index_meta
from contracts.release import Manifest, release_digest
from contracts.restriction import AnyOf, Restriction, Within
from contracts.schema import FeatureKind
from stores.circuit_breaker import CircuitBreaker
from stores.search_engine import connect
from stores.search_index import OpenSearchIndex, inner_products
from stores.vector_index import ExactIndex
from tests.stores.index_contract import (
    BREAKAGES,
    DIM,
    GENRES,
    N_ITEMS,
    QUERIES,
    RESTRICTIONS,
    VECTORS,
    YEARS,
    check_contract,
)

NAME = "items-contract-r1"
QUERY = QUERIES[0]
MANIFEST = Manifest(
    format_version=1,
    id="contract",
    created_at="2026-01-01T00:00:00+00:00",
    files={},
    digest=release_digest({}),
    n_items=N_ITEMS,
    dim=DIM,
    watermark=0,
)


INDEX_FIELDS = index_fields(
    FeatureEncoder(
        [
            FieldVocabulary("genre", FeatureKind.CATEGORICAL, terms=list(GENRES)),
            FieldVocabulary("year", FeatureKind.NUMERIC),
        ]
    )
)
META = index_meta(MANIFEST, INDEX_FIELDS)


@pytest.fixture(scope="module")
def engine(opensearch_url: str) -> Iterator[OpenSearchIndex]:
    """The world of the contract in a real index."""
    client = connect(opensearch_url)
    client.indices.delete(index=NAME, params={"ignore_unavailable": "true"})
    client.indices.create(index=NAME, body=index_body(META, INDEX_FIELDS, IndexSettings()))
    lines: list[dict[str, Any]] = []
    for row in range(N_ITEMS):
        vectors = {name: matrix[row].tolist() for name, matrix in VECTORS.items()}
        facts = {"row": row, "item_id": str(row), "f0": GENRES[row % len(GENRES)], "f1": YEARS[row]}
        lines += [{"index": {"_id": str(row)}}, {**facts, **vectors}]
    assert not client.bulk(index=NAME, body=lines, params={"refresh": "true"})["errors"]
    yield OpenSearchIndex.open(client, NAME, MANIFEST)
    client.indices.delete(index=NAME)


def test_the_exact_index_keeps_the_contract() -> None:
    check_contract(ExactIndex(VECTORS))


def test_opensearch_keeps_the_contract(engine: OpenSearchIndex) -> None:
    check_contract(engine)
    assert not engine.faults


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_the_contract_notices_a_broken_exact_index(breakage: str) -> None:
    with pytest.raises(AssertionError):
        check_contract(BREAKAGES[breakage](ExactIndex(VECTORS)))


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_the_contract_notices_a_broken_engine(breakage: str, engine: OpenSearchIndex) -> None:
    with pytest.raises(AssertionError):
        check_contract(BREAKAGES[breakage](engine))


def test_an_index_of_another_release_is_refused(engine: OpenSearchIndex, opensearch_url: str) -> None:
    other = Manifest(**{field: getattr(MANIFEST, field) for field in MANIFEST.__struct_fields__} | {"id": "another"})
    with pytest.raises(IndexUnavailable, match="not of another"):
        OpenSearchIndex.open(connect(opensearch_url), NAME, other)


def test_an_index_that_is_not_there_is_refused(opensearch_url: str) -> None:
    with pytest.raises(IndexUnavailable, match="404"):
        OpenSearchIndex.open(connect(opensearch_url), "items-nowhere-r1", MANIFEST)


def test_values_of_a_filter_are_only_values() -> None:
    hostile = ('{"$ne":1}', "*", "_all", '{"script":{"source":"1"}}', "[" * 10_000)
    index = OpenSearchIndex(None, NAME, META)  # type: ignore[arg-type]  # nothing is sent
    both = Restriction((AnyOf("genre", hostile), Within("year", 1.0, None)), np.ones(N_ITEMS, np.bool_))
    body = index.body("als", QUERY, 7, both, 30.7)
    assert body["query"]["knn"]["als"]["filter"] == {
        "bool": {"filter": [{"terms": {"f0": list(hostile)}}, {"range": {"f1": {"gte": 1.0}}}]}
    }
    assert (body["size"], body["timeout"], body["_source"]) == (7, "30ms", False)
    with pytest.raises(IndexUnavailable, match="_source"):
        index.body("als", QUERY, 7, Restriction((AnyOf("_source", ("x",)),), both.mask), 30.0)


def test_a_filter_that_passes_little_is_answered_exactly() -> None:
    index = OpenSearchIndex(None, NAME, META, {"two_tower": 40, "filtered": 90})  # type: ignore[arg-type]

    def looks_at(passing: int, k: int = 5) -> int:
        restriction = Restriction((AnyOf("genre", ("drama",)),), np.arange(100_000) < passing)
        looked_at: int = index.body("two_tower", QUERY, k, restriction, 9.0)["query"]["knn"]["two_tower"][
            "method_parameters"
        ]["ef_search"]
        return looked_at

    assert [looks_at(passing) for passing in (10, 100, 10_000)] == [40, 131, 13_001]  # one segment: all of it
    assert looks_at(20_000) == 90  # too many for a scan
    assert looks_at(20_000, k=200) == 200
    assert index.body("two_tower", QUERY, 5, None, 9.0)["query"]["knn"]["two_tower"]["method_parameters"] == {
        "ef_search": 40
    }


def test_scores_are_turned_into_inner_products() -> None:
    products = np.array([-3.0, -0.5, 0.0, 0.5, 7.0])
    scores = np.where(products >= 0, products + 1, 1 / (1 - products))
    np.testing.assert_allclose(inner_products(scores), products, rtol=1e-6)


def hits(*triples: tuple[str, Any, Any]) -> dict[str, Any]:
    found = [{"_index": index, "_score": score, "fields": {"row": [row]}} for index, row, score in triples]
    return {"took": 1, "timed_out": False, "_shards": {"failed": 0}, "hits": {"hits": found}}


GOOD = hits((NAME, 3, 2.5), (NAME, 5, 1.5), (NAME, 9, 0.5))


@contextmanager
def lying(
    status: int, body: bytes, wait_seconds: float = 0, drip_seconds: float = 0, breaker: CircuitBreaker | None = None
) -> Iterator[tuple[OpenSearchIndex, list[str]]]:
    """An index on a server that always answers the same, and the calls that reached it."""
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            calls.append(self.path)
            self.rfile.read(int(self.headers["content-length"]))
            time.sleep(wait_seconds)
            with suppress(ConnectionError):  # who asked may have gone by now
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                for begin in range(0, len(body), len(body) if not drip_seconds else 1):
                    self.wfile.write(body[begin:] if not drip_seconds else body[begin : begin + 1])
                    time.sleep(drip_seconds)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        client = connect(f"http://127.0.0.1:{server.server_port}")
        try:
            yield OpenSearchIndex(client, NAME, META, breaker=breaker), calls
        finally:
            client.close()
            server.shutdown()
            thread.join()


FATAL = {
    "429": (429, b'{"error": "rejected"}'),
    "503": (503, b"<html>no</html>"),
    "garbage": (200, b"\x00\xff garbage"),
    "deeply nested": (200, b"[" * 200_000),
    "no object": (200, b"[1, 2]"),
    "empty object": (200, b"{}"),
    "half the shards": (200, json.dumps(GOOD | {"_shards": {"failed": 1}}).encode()),
    "out of time": (200, json.dumps(GOOD | {"timed_out": True}).encode()),
    "hits without rows": (200, json.dumps(GOOD | {"hits": {"hits": [{"_index": NAME, "_score": 1}]}}).encode()),
    "another index": (200, json.dumps(hits(("items-other-r1", 3, 2.5), ("items-other-r1", 4, 2.0))).encode()),
    "no score is a number": (200, json.dumps(hits((NAME, 3, None), (NAME, 4, "NaN"), (NAME, 5, 1.0))).encode()),
    "NaN": (200, json.dumps(hits((NAME, 3, float("nan")), (NAME, 4, float("inf")))).encode()),
    "rows beyond the release": (200, json.dumps(hits((NAME, N_ITEMS, 2.0), (NAME, -1, 1.0), (NAME, 1, 1.0))).encode()),
}


@pytest.mark.parametrize("fault", FATAL)
def test_an_answer_that_cannot_be_used_is_unavailable(fault: str) -> None:
    with lying(*FATAL[fault]) as (index, calls), pytest.raises(IndexUnavailable, match=NAME):
        index.search("two_tower", QUERY, 3, None, Deadline(5_000))
    assert len(calls) == 1  # never retried: only the caller knows the deadline


def test_single_bad_hits_are_dropped_and_counted() -> None:
    bad = hits((NAME, 3, 2.5), (NAME, 3, 2.5), (NAME, 5, 1.5), (NAME, 9, 0.5), (NAME, N_ITEMS, 9.0))
    with lying(200, json.dumps(bad).encode()) as (index, _):
        rows, scores = index.search("two_tower", QUERY, 5, None, Deadline(5_000))
    assert rows.tolist() == [3, 5, 9]
    np.testing.assert_allclose(scores, [1.5, 0.5, -1.0])
    assert index.faults == {"repeated": 1, "unknown-row": 1, "short": 1}


def test_a_slow_engine_is_left_at_the_deadline() -> None:
    with lying(200, json.dumps(GOOD).encode(), wait_seconds=1.0) as (index, _):
        begun = time.monotonic()
        with pytest.raises(IndexUnavailable):
            index.search("two_tower", QUERY, 3, None, Deadline(100))
        assert time.monotonic() - begun < 0.9


def test_without_time_nothing_is_sent() -> None:
    with lying(200, json.dumps(GOOD).encode()) as (index, calls):
        with pytest.raises(IndexUnavailable, match="no time"):
            index.search("two_tower", QUERY, 3, None, Deadline(0))
        nothing = RESTRICTIONS["no value"]
        assert len(index.search("two_tower", QUERY, 3, nothing, Deadline(5_000))[0]) == 0
    assert calls == []


def test_an_answer_that_drips_is_left_at_the_deadline() -> None:
    with lying(200, json.dumps(GOOD).encode(), drip_seconds=0.05) as (index, _):
        begun = time.monotonic()
        with pytest.raises(IndexUnavailable, match="no answer in"):
            index.search("two_tower", QUERY, 3, None, Deadline(300))
        assert time.monotonic() - begun < 0.9


def test_more_hits_than_were_asked_for_are_cut() -> None:
    with lying(200, json.dumps(GOOD).encode()) as (index, _):
        assert index.search("two_tower", QUERY, 2, None, Deadline(5_000))[0].tolist() == [3, 5]


def test_the_breaker_spares_a_failing_engine_and_finds_it_again() -> None:
    now = [0.0]
    breaker = CircuitBreaker(3, 5.0, lambda: now[0])
    with lying(*FATAL["503"], breaker=breaker) as (index, calls):
        for moment, made in ((0.0, 3), (5.0, 4)):  # then one trial
            now[0] = moment
            for _ in range(20):
                with pytest.raises(IndexUnavailable):
                    index.search("two_tower", QUERY, 3, None, Deadline(5_000))
            assert len(calls) == made
    now[0] = 10.0
    with lying(200, json.dumps(GOOD).encode(), breaker=breaker) as (index, calls):
        for _ in range(5):
            assert len(index.search("two_tower", QUERY, 3, None, Deadline(5_000))[0]) == 3
        assert len(calls) == 5


def test_calls_that_are_not_made_neither_open_the_breaker_nor_close_it() -> None:
    everything = np.ones(N_ITEMS, np.bool_)
    breaker = CircuitBreaker(2, 5.0, lambda: 0.0)
    with lying(200, json.dumps(GOOD).encode(), breaker=breaker) as (index, _):
        for _ in range(3):
            with pytest.raises(IndexUnavailable, match="no time"):
                index.search("two_tower", QUERY, 3, None, Deadline(0))
            with pytest.raises(IndexUnavailable, match="no field"):
                index.search("two_tower", QUERY, 3, Restriction((AnyOf("x", ("y",)),), everything), Deadline(5_000))
        assert len(index.search("two_tower", QUERY, 3, None, Deadline(5_000))[0]) == 3
    with lying(*FATAL["503"], breaker=breaker) as (index, calls):
        for _ in range(4):
            assert len(index.search("two_tower", QUERY, 3, RESTRICTIONS["no value"], Deadline(5_000))[0]) == 0
            with pytest.raises(IndexUnavailable):
                index.search("two_tower", QUERY, 3, None, Deadline(5_000))
        assert len(calls) == 2
