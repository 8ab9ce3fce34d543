"""Round trips to an index that is published, and the swap to another publication. `index.py` runs both as stages.

Queries are the probes of the release: real histories of held-out users, encoded by the trained tower. Every query is
asked of the engine and of a plain numpy scan in turn, so that both see the same machine. Eight clients are processes,
as Lambdas are, and share the cores with the engine.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from contracts.deadline import Deadline
from contracts.fitted import FittedModel
from contracts.release import Publication
from index_loader.recall import ask, bucket_probes
from lambda_user_tower.edge import Edge
from lambda_user_tower.settings import LambdaSettings
from local_mode.asking import recommendation_event
from stores.releases import LocalReleases
from stores.search_engine import connect
from stores.search_index import OpenSearchIndex

ROUNDS: Final = 4
"""Times that each query is asked: a p99 of a thousand rests on ten."""
CLIENTS: Final = 8
WARM_UP: Final = 200
SECONDS: Final = 60.0
HISTORY: Final = 20
PLACES: Final = 10
PAUSE_SECONDS: Final = 0.02
"""Between two requests to the process that is watched."""


def round_trips(home: Path, url: str) -> dict[str, Any]:
    """Recall and times [ms] of the index that `home` serves, for one client beside numpy, and for CLIENTS."""
    store = LocalReleases(home)
    publication = store.serving().publication
    model = store.open(publication.release)
    vectors = np.array(model.items.two_tower)  # in memory, as a process that scans would have it
    queries, k = model.probes.queries, model.probes.rows.shape[1]
    index = _open(store, publication, url)
    for number in range(WARM_UP):
        index.search("two_tower", queries[number % len(queries)], k, None, Deadline.never())
    times: dict[str, list[float]] = {"round_trip": [], "engine_took": [], "numpy_scan": []}
    for number in range(ROUNDS * len(queries)):
        query = queries[number % len(queries)]
        times["round_trip"].append(_timed(lambda q=query: index.search("two_tower", q, k, None, Deadline.never())))
        times["engine_took"].append(index.took_ms)
        times["numpy_scan"].append(_timed(lambda q=query: _scan(vectors, q, k)))
    one = {name: _percentiles(values) for name, values in times.items()}
    return {
        "k": k,
        "ef_search": index.ef_search,
        "queries": len(times["round_trip"]),
        "one_client": one,
        "round_trip_over_numpy_p50": round(one["round_trip"]["p50"] / one["numpy_scan"]["p50"], 3),
        "client_share_p50_ms": round(one["round_trip"]["p50"] - one["engine_took"]["p50"], 2),
        "filtered": _filtered(index, model),
        f"{CLIENTS}_clients": _many_clients(home, url),
    }


def _open(store: LocalReleases, publication: Publication, url: str) -> OpenSearchIndex:
    client = connect(url, timeout_seconds=SECONDS)
    assert publication.index is not None
    manifest = store.manifest(publication.release)
    return OpenSearchIndex.open(client, publication.index, manifest, publication.ef_search)


def _timed(call: Any) -> float:
    begun = time.perf_counter()
    call()
    return (time.perf_counter() - begun) * 1000


def _scan(vectors: np.ndarray, query: np.ndarray, k: int) -> np.ndarray:
    """The rows of the k best, best first, as one would write it."""
    scores = vectors @ query
    best = np.argpartition(scores, len(scores) - k)[len(scores) - k :]
    return best[np.argsort(-scores[best])]


def _percentiles(times: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(times, [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "max": round(max(times), 2)}


def _filtered(index: OpenSearchIndex, model: FittedModel) -> dict[str, Any]:
    """Recall and round trips under every filter that the release ships."""
    return {name: ask(index, probes) for name, probes in bucket_probes(model).items()}


def _many_clients(home: Path, url: str) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    begun, results = context.Barrier(CLIENTS), context.Queue()
    clients = [context.Process(target=_client, args=(home, url, begun, results)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    parts = [results.get(timeout=600) for _ in clients]
    for client in clients:
        client.join()
    trips, seconds = [t for part in parts for t in part["trips"]], max(part["seconds"] for part in parts)
    return {
        "round_trip": _percentiles(trips),
        "engine_took": _percentiles([t for part in parts for t in part["took"]]),
        "a_second": round(len(trips) / seconds, 1),
    }


def _client(home: Path, url: str, begun: Any, results: Any) -> None:
    """One of the clients: every query once, as fast as answers come."""
    store = LocalReleases(home)
    publication = store.serving().publication
    model = store.open(publication.release, head_only=True)
    index = _open(store, publication, url)
    k = model.probes.rows.shape[1]
    trips, took = [], []
    for query in model.probes.queries[: WARM_UP // CLIENTS]:  # connect, as a process that serves has long done
        index.search("two_tower", query, k, None, Deadline.never())
    begun.wait()
    start = time.perf_counter()
    for query in model.probes.queries:
        trips.append(_timed(lambda q=query: index.search("two_tower", q, k, None, Deadline.never())))
        took.append(index.took_ms)
    results.put({"trips": trips, "took": took, "seconds": time.perf_counter() - start})


def swap(home: Path, url: str) -> dict[str, Any]:
    """Publish the index once more, go back by `tandem rollback`, and watch a process that serves all the while."""
    store = LocalReleases(home)
    now = store.serving().publication
    model = store.open(now.release, head_only=True)
    popular = np.argsort(-model.items.events, kind="stable")[:HISTORY]
    history = [{"item_id": text} for text in model.items.ids.texts(popular)]
    event = recommendation_event({"history": history, "num_items": PLACES})
    command = [str(Path(sys.executable).with_name("tandem")), "rollback", "--home", str(home)]
    with closing(Edge(LambdaSettings(home=home, opensearch_url=url, log_level="ERROR"))) as edge:
        _ask(edge, event)
        other = _again(store, now)
        figures = {"to_the_next": _until(edge, event, other.id, lambda: store.publish(other, store.serving().etag))}
        figures["to_the_previous"] = _until(
            edge, event, now.id, lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        )
    return figures


def _again(store: LocalReleases, publication: Publication) -> Publication:
    """Another publication of the same release and index, so that there is one to go back from."""
    sequence = store.next_sequence()
    changes: dict[str, Any] = {"id": f"p{sequence:06d}-bench", "sequence": sequence, "previous": publication.id}
    return msgspec.structs.replace(publication, **changes)


def _until(edge: Edge, event: dict[str, Any], publication: str, order: Callable[[], object]) -> dict[str, float]:
    """Seconds from the order until answers come from `publication`, and how long requests take meanwhile [ms]."""
    begun, times = time.perf_counter(), []
    thread = threading.Thread(target=order)
    thread.start()
    served = ""
    while served != publication:
        if time.perf_counter() - begun > SECONDS:
            raise AssertionError(f"{publication} does not serve after {SECONDS:.0f} s")
        time.sleep(PAUSE_SECONDS)
        before = time.perf_counter()
        served = _ask(edge, event)
        times.append((time.perf_counter() - before) * 1000)
    thread.join()
    return {"seconds": round(time.perf_counter() - begun, 2), "requests": len(times)} | _percentiles(times)


def _ask(edge: Edge, event: dict[str, Any]) -> str:
    """The publication that answers a request, which must be full."""
    response = edge(event)
    slate = json.loads(response["body"])
    assert response["statusCode"] == 200, slate
    assert len(slate["items"]) == PLACES, slate
    return str(slate["why"]["publication"])
