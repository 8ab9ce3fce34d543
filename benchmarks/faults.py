"""Every fault of a search engine, through a proxy before a real one: what does the handler answer, and how late?

For each fault an edge is opened while all is well, then the engine fails: five requests find the breaker closed, the
ones after them find it open. Every answer must be 200, full, personal, marked as degraded, and ready within the budget
and 50 ms; with the breaker open at most 1.1 searches a request may go out. `make soak` runs it, a test runs a few.
Example: python -m benchmarks.faults --rounds 4
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.faulty_proxy import FAULTS, FaultyProxy, faulty_proxy
from contracts.fitted import to_bundle
from index_loader.publish import publish
from index_loader.recall import VerifySettings
from index_loader.run import run
from lambda_user_tower.edge import Edge
from lambda_user_tower.settings import LambdaSettings
from local_mode.asking import recommendation_event
from local_mode.opensearch import server
from stores.circuit_breaker import FAILURES
from stores.release_files import TrainingFacts, write_bundle
from stores.releases import LocalReleases
from stores.search_engine import connect
from tests.toy_world import item_id, toy_model

BUDGET_MS: Final = 150
GRACE_MS: Final = 50
PLACES: Final = 10
ITEMS: Final = 2_000
HEAD: Final = 500
PATIENT: Final = VerifySettings(latency_ms=60_000.0)
"""A busy machine may search slowly; what is asked here is what happens once it does not answer."""
OPEN_REQUESTS: Final = 20
"""Requests a round that find the breaker open."""


@dataclass
class Trials:
    """What came back."""

    trials: int = 0
    wrong: list[str] = field(default_factory=list)
    """Answers that broke a promise."""
    slowest_ms: dict[str, float] = field(default_factory=dict)
    median_ms: dict[str, float] = field(default_factory=dict)
    searches_a_request_open: float = 0.0
    healthy: int = 0
    """Requests that the engine answered, before a fault: undegraded."""


def try_faults(url: str, home: Path, rounds: int, faults: tuple[str, ...] = FAULTS) -> Trials:
    """Ask through every fault, `rounds` times."""
    result, store = Trials(), LocalReleases(home)
    model = toy_model(n_items=ITEMS, n_cold=40, head_items=HEAD)
    write_bundle(home / "run", to_bundle(model), TrainingFacts(n_items=ITEMS, dim=16, watermark=1))
    client = connect(url, timeout_seconds=60)
    release = store.seal(home / "run").id
    loaded = run(store, client, release)
    publish(store, release, None, None, loaded=loaded, settings=PATIENT)
    asked_open = searches_open = 0
    with faulty_proxy(url) as (proxy, address):
        for fault in faults:
            times: list[float] = []
            for round_ in range(rounds):
                settings = LambdaSettings(home=home, budget_ms=BUDGET_MS, opensearch_url=address, log_level="ERROR")
                with closing(Edge(settings)) as edge:
                    _until_healthy(edge, proxy, result)
                    proxy.fault = fault
                    what = f"{fault}, round {round_}"
                    times += [_one(edge, f"{what}, request {number}", number, result) for number in range(FAILURES)]
                    before = proxy.searches
                    times += [_one(edge, f"{what}, breaker open", n, result) for n in range(OPEN_REQUESTS)]
                    asked_open, searches_open = asked_open + OPEN_REQUESTS, searches_open + proxy.searches - before
                    proxy.fault = ""
            result.slowest_ms[fault], result.median_ms[fault] = round(max(times), 1), round(median(times), 1)
    result.searches_a_request_open = round(searches_open / asked_open, 3)
    client.indices.delete(index=loaded.name)
    return result


def _until_healthy(edge: Edge, proxy: FaultyProxy, result: Trials) -> None:
    """The first request opens the publication; then the engine must answer undegraded."""
    proxy.fault = ""
    for number in range(20):
        if _slate(edge(_event(number)))["why"]["degraded"] == []:
            result.healthy += 1
            return
    raise AssertionError("the engine does not answer through the proxy")


def _one(edge: Edge, what: str, number: int, result: Trials) -> float:
    """One request; its time [ms]. What breaks a promise is noted."""
    begun = time.perf_counter()
    response = edge(_event(number))
    took = (time.perf_counter() - begun) * 1000
    result.trials += 1
    slate = _slate(response) if response["statusCode"] == 200 else {"items": [], "why": {}}
    promises = {
        f"status {response['statusCode']}": response["statusCode"] == 200,
        f"{len(slate['items'])} items": len({item["item_id"] for item in slate["items"]}) == PLACES,
        f"model {slate['why'].get('model')}": slate["why"].get("model") == "two_tower",
        f"degraded {slate['why'].get('degraded')}": "index_unavailable" in slate["why"].get("degraded", []),
        f"{took:.0f} ms": took <= BUDGET_MS + GRACE_MS,
    }
    result.wrong += [f"{what}: {broken}" for broken, kept in promises.items() if not kept]
    return took


def _event(number: int) -> dict[str, Any]:
    history = [{"item_id": item_id(row)} for row in range(number % 7, 60, 7)]
    return recommendation_event({"history": history, "num_items": PLACES})


def _slate(response: dict[str, Any]) -> dict[str, Any]:
    slate: dict[str, Any] = json.loads(response["body"])
    return slate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        try:
            result = try_faults(server.start(home).url, home, options.rounds)
        finally:
            server.stop(home)
    print(json.dumps(vars(result), indent=None if options.json else 2))
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
