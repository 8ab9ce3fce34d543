"""A publication that names an index of a search engine: what is served while the engine is there, away, or wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from contracts.deadline import Deadline
from contracts.errors import IndexUnavailable
from contracts.fitted import FittedModel
from lambda_user_tower.edge import Edge
from lambda_user_tower.engine import REOPEN_SECONDS, EngineIndex
from lambda_user_tower.logs import Log
from lambda_user_tower.settings import LambdaSettings
from stores.vector_index import ExactIndex, VectorIndex
from tests.lambda_user_tower.conftest import body_of, http, post, publish, seal

INDEX = "items-nowhere-r1"
QUERY = np.ones(2, np.float32)


class Engine:
    """Opens after having refused so many times."""

    def __init__(self, refusals: int) -> None:
        self.refusals, self.tries = refusals, 0

    def __call__(self) -> VectorIndex:
        self.tries += 1
        if self.tries <= self.refusals:
            raise IndexUnavailable("refused.")
        return ExactIndex({"two_tower": np.eye(2, dtype=np.float32)})


def search(index: VectorIndex) -> int:
    return len(index.search("two_tower", QUERY, 2, None, Deadline.never())[0])


def test_an_engine_that_answers_is_asked() -> None:
    index = EngineIndex(Engine(0), Log("ERROR", ""))
    assert index.is_open
    assert search(index) == 2


def test_an_engine_that_is_away_is_tried_again_beside_the_requests() -> None:
    now, engine = [0.0], Engine(1)
    index = EngineIndex(engine, Log("ERROR", ""), lambda: now[0])
    for _ in range(3):
        with pytest.raises(IndexUnavailable):
            search(index)
    assert engine.tries == 1  # not before its time
    now[0] = REOPEN_SECONDS
    with pytest.raises(IndexUnavailable):
        search(index)
    wait_until(lambda: index.is_open)
    assert search(index) == 2
    assert engine.tries == 2


def test_no_request_waits_for_an_engine_that_hangs() -> None:
    now, hanging, release = [0.0], threading.Event(), threading.Event()
    engine = Engine(1)

    def opener() -> VectorIndex:
        if engine.tries:
            hanging.set()
            release.wait(10)
        return engine()

    index = EngineIndex(opener, Log("ERROR", ""), lambda: now[0])
    now[0] = REOPEN_SECONDS
    begun = time.monotonic()
    for _ in range(100):
        with pytest.raises(IndexUnavailable):
            search(index)
    assert time.monotonic() - begun < 5  # a hundred waits would be far longer
    assert hanging.wait(5)
    assert engine.tries == 1  # one thread, however many requests
    release.set()
    wait_until(lambda: index.is_open)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


@pytest.fixture(params=["", "http://127.0.0.1:9"], ids=["no engine set", "engine refuses"])
def away(request: pytest.FixtureRequest, tmp_path: Path, toy: FittedModel) -> Iterator[Edge]:
    """An edge whose publication names an index that cannot be reached."""
    publish(tmp_path, seal(tmp_path, toy), index=INDEX)
    settings = LambdaSettings(home=tmp_path, budget_ms=20_000, opensearch_url=request.param, log_level="ERROR")
    with closing(Edge(settings)) as edge:
        yield edge


def test_without_the_engine_the_slate_is_full_personal_and_marked(away: Edge) -> None:
    history = [{"item_id": item["item_id"]} for item in body_of(away(post({"num_items": 8})))["items"]]
    slate = body_of(away(post({"history": history, "user_id": "somebody", "num_items": 10})))
    assert len(slate["items"]) == 10
    assert (slate["why"]["route"], slate["why"]["model"]) == ("model", "two_tower")
    assert slate["why"]["degraded"] == ["index_unavailable"]


def test_similar_items_and_health_say_so_too(away: Edge) -> None:
    item = body_of(away(post({"num_items": 1})))["items"][0]["item_id"]
    alike = body_of(away(http("GET", f"/v1/items/{item}/similar", "num_items=5")))
    assert len(alike["items"]) == 5
    assert alike["why"]["degraded"] == ["index_unavailable"]
    assert body_of(away(http("GET", "/v1/health")))["index"] == f"{INDEX} (not reachable)"
