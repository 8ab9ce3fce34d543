"""The vector index in OpenSearch: a k-NN query in, rows and inner products out, every fault by its name.

Over-fetching is the caller's work; here k goes out and what comes back is trusted in nothing: the index it says it is
of, rows that exist, each once, scores that are numbers. Values of a filter stand only inside `term`, `terms` and
`range`, under field names of ours. Serving and verification search through it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from contracts.deadline import Deadline
from contracts.errors import IndexUnavailable
from contracts.fitted import Floats, Rows
from contracts.index_document import IndexMeta, segments_of
from contracts.release import Manifest
from contracts.restriction import AnyOf, Clause, Restriction
from stores.circuit_breaker import CircuitBreaker
from stores.patience import within

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

MAX_K: Final = 10_000
"""The most neighbours that OpenSearch gives to one query."""

FILTERED: Final = "filtered"
"""Key of what searches under a broad filter look at, beside the models': many links that they follow lead nowhere."""

EXACT_MATCHES: Final = 16_000
"""Documents of a segment up to which a filter's matches are scored one by one, which Lucene does where it is to look at
as many as pass. A fifth of a million items: 15 ms and exact, by the graph 36 ms for a recall of .96 (docs/index.md)."""
SPREAD: Final = 1.3
"""Segments differ in size, and matches are not spread evenly over them."""

DEFAULT_EF_SEARCH: Final = 400
"""For a publication that an operator wrote by hand; verification records measured ones."""

ENOUGH_OF_HITS: Final = 0.5
"""Where fewer hits than this share are of use, the answer is no answer."""

_FILTER_PATH: Final = "took,timed_out,_shards.failed,hits.hits._index,hits.hits._score,hits.hits.fields"
_Answer = Mapping[str, Any]


class OpenSearchIndex:
    """One index of an engine, of one release."""

    def __init__(
        self,
        client: OpenSearch,
        name: str,
        meta: IndexMeta,
        ef_search: Mapping[str, int] | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        """`meta`: what the index says of itself; `ef_search`: model, or FILTERED → what searches look at."""
        self._client, self.name, self.meta = client, name, meta
        self.ef_search = dict(ef_search or {})
        self._breaker = breaker or CircuitBreaker()
        self.took_ms = 0
        """What the engine says that the last answered search took it, in whole milliseconds."""
        self.faults: Counter[str] = Counter()
        """What was wrong with answers that were used all the same."""

    @classmethod
    def open(
        cls, client: OpenSearch, name: str, manifest: Manifest, ef_search: Mapping[str, int] | None = None
    ) -> OpenSearchIndex:
        """The index, held against the manifest of its release. Raises IndexUnavailable where it is not of it."""
        from opensearchpy.exceptions import OpenSearchException

        try:
            mapping = client.indices.get_mapping(index=name)
            meta = msgspec.convert(mapping[name]["mappings"]["_meta"], IndexMeta)
        except (OpenSearchException, KeyError, TypeError, ValueError) as error:
            raise IndexUnavailable(f"{name}: {_reason(error)}.") from error
        if wrong := meta.differs_from(manifest):
            raise IndexUnavailable(f"{name}: it is not of {manifest.id}: {wrong}.", fix="Load the release again.")
        return cls(client, name, meta, ef_search)

    def search(
        self, model_name: str, query: Floats, k: int, restriction: Restriction | None, deadline: Deadline
    ) -> tuple[Rows, Floats]:
        """See `VectorIndex.search`; k above MAX_K is MAX_K. Raises IndexUnavailable, naming why.

        The breaker sees only the calls that are made.
        """
        if restriction is not None and any(isinstance(c, AnyOf) and not c.values for c in restriction.clauses):
            return np.empty(0, np.int32), np.empty(0, np.float32)
        left_ms = deadline.remaining_ms()
        if left_ms < 1:
            raise IndexUnavailable("no time is left to ask the index.")
        k = min(k, MAX_K, self.meta.n_items)
        body = self.body(model_name, query, k, restriction, left_ms)
        with self._breaker.call():
            return self._checked(self._answer(body, left_ms / 1000), k, whole=restriction is None)

    def _answer(self, body: dict[str, Any], seconds: float) -> Any:
        """What comes back within `seconds`, whatever it is."""
        from opensearchpy.exceptions import OpenSearchException

        params: dict[str, Any] = {"request_cache": "false", "filter_path": _FILTER_PATH}
        if seconds != float("inf"):
            params["request_timeout"] = seconds
        try:
            return within(seconds, lambda: self._client.search(index=self.name, body=body, params=params))
        except (OpenSearchException, ValueError, RecursionError, TimeoutError) as error:
            # ValueError: bytes that are no JSON; RecursionError: JSON that is nested too deep
            raise IndexUnavailable(f"{self.name}: {_reason(error)}.") from error

    def body(
        self, model_name: str, query: Floats, k: int, restriction: Restriction | None, left_ms: float
    ) -> dict[str, Any]:
        """The query as OpenSearch reads it."""
        knn: dict[str, Any] = {
            "vector": query.tolist(),
            "k": k,
        }
        look_at = self.ef_search.get(model_name, DEFAULT_EF_SEARCH)
        if restriction is not None and restriction.clauses:
            look_at = max(look_at, self._look_at(restriction))
            knn["filter"] = {"bool": {"filter": [self._node(clause) for clause in restriction.clauses]}}
        knn["method_parameters"] = {"ef_search": max(look_at, k)}
        body: dict[str, Any] = {
            "size": k,
            "_source": False,
            "stored_fields": "_none_",
            "docvalue_fields": ["row"],
            "track_total_hits": False,
            "query": {"knn": {model_name: knn}},
        }
        return body if left_ms == float("inf") else body | {"timeout": f"{max(1, int(left_ms))}ms"}

    def _look_at(self, restriction: Restriction) -> int:
        """What a filtered search looks at: all that passes, which makes it exact, where that is little."""
        in_a_segment = int(np.count_nonzero(restriction.mask) / segments_of(self.meta.n_items) * SPREAD) + 1
        return in_a_segment if in_a_segment <= EXACT_MATCHES else self.ef_search.get(FILTERED, 0)

    def _node(self, clause: Clause) -> dict[str, Any]:
        if (field := self.meta.fields.get(clause.name)) is None:
            raise IndexUnavailable(f"{self.name} has no field for {clause.name!r}.", fix="Load the release again.")
        if isinstance(clause, AnyOf):
            return {"terms": {field: list(clause.values)}}
        bounds = {"gte": clause.gte, "lte": clause.lte}
        return {"range": {field: {side: bound for side, bound in bounds.items() if bound is not None}}}

    def _checked(self, answer: Any, k: int, *, whole: bool) -> tuple[Rows, Floats]:
        """Rows and inner products of an answer, k at most; `whole`: k are there, for no filter decides."""
        try:
            hits = self._hits(answer)
            self.took_ms = int(answer.get("took", 0))
            indexes = [hit["_index"] for hit in hits]
            rows = np.array([hit["fields"]["row"][0] for hit in hits], np.int64)
            scores = np.array([_number(hit["_score"]) for hit in hits], np.float64)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise IndexUnavailable(f"{self.name}: its answer is not one of a search: {error!r}.") from error
        usable = self._usable(indexes, rows, scores)
        if len(hits) and usable.sum() < ENOUGH_OF_HITS * len(hits):
            raise IndexUnavailable(f"{self.name}: {len(hits) - usable.sum()} of {len(hits)} hits make no sense.")
        if whole and usable.sum() < k:
            self.faults["short"] += 1
        products = inner_products(scores[usable])
        rows = rows[usable].astype(np.int32)
        order = np.lexsort((rows, -products))[:k]
        return rows[order], products[order]

    def _hits(self, answer: _Answer) -> list[Any]:
        """The hits of a whole answer. Raises IndexUnavailable where the engine says that it is not whole."""
        if answer["timed_out"]:
            raise IndexUnavailable(f"{self.name}: the engine ran out of time.")
        if answer["_shards"]["failed"]:
            raise IndexUnavailable(f"{self.name}: {answer['_shards']['failed']} shards failed.")
        hits = answer.get("hits", {}).get("hits", [])  # filter_path leaves out what is empty
        if not isinstance(hits, list):
            raise TypeError("hits is no list")
        return hits

    def _usable(self, indexes: list[str], rows: np.ndarray[Any, Any], scores: np.ndarray[Any, Any]) -> Any:
        """Which hits are of this index, of an item, with a score, and not there already [hits]; others are counted."""
        first = np.zeros(len(rows), np.bool_)
        first[np.unique(rows, return_index=True)[1]] = True
        verdicts = {
            "other-index": np.array([index == self.name for index in indexes], np.bool_),
            "unknown-row": (rows >= 0) & (rows < self.meta.n_items),
            "no-score": np.isfinite(scores) & (scores > 0),
            "repeated": first,
        }
        usable = np.ones(len(rows), np.bool_)
        for fault, fine in verdicts.items():
            if wrong := int((usable & ~fine).sum()):
                self.faults[fault] += wrong
            usable &= fine
        return usable


def inner_products(scores: np.ndarray[Any, Any]) -> Floats:
    """Scores of `innerproduct` as inner products: 1 + ip from 0 up, 1 / (1 − ip) below (k-NN's SpaceType)."""
    products: Floats = np.where(scores >= 1, scores - 1, 1 - 1 / np.maximum(scores, 1e-30)).astype(np.float32)
    return products


def _number(value: Any) -> float:
    return float("nan") if value is None or isinstance(value, str) else float(value)


def _reason(error: Exception) -> str:
    """What a client's exception says, on one short line."""
    status = getattr(error, "status_code", "")
    return f"{type(error).__name__} {status}".strip() + f": {str(error)[:200]}"
