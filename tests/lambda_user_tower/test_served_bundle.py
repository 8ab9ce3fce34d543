"""The bundle under the runtime client that AWS runs it with, behind HTTP: a request in, a slate out."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from contracts.fitted import FittedModel
from local_mode.lambda_runtime.function import Function
from local_mode.lambda_runtime.gateway import Gateway
from tests.lambda_user_tower.conftest import http, post, publish, seal

pytest.importorskip("awslambdaric", reason="functions run on Linux only")

HANDLER = "lambda_user_tower.handler.handler"
ITEMS = "lambda_user_tower.handler.items"


def environment(home: Path) -> dict[str, str]:
    blas = {name: value for name, value in os.environ.items() if name.startswith(("OPENBLAS", "OMP"))}
    return {"TANDEM_HOME": str(home), "TANDEM_BUDGET_MS": "20000"} | blas


@contextmanager
def served(function: Function) -> Iterator[HTTPConnection]:
    gateway = Gateway({"$default": function}, 0)
    thread = threading.Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with closing(HTTPConnection("127.0.0.1", gateway.server_port, timeout=60)) as connection:
            yield connection
    finally:
        gateway.shutdown()
        thread.join()
        gateway.server_close()


def recommend(connection: HTTPConnection) -> Any:
    body = json.dumps({"history": [{"item_id": "i000003"}, {"item_id": "i000008"}], "num_items": 5})
    connection.request("POST", "/v1/recommendations", body, {"content-type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    assert response.status == 200, answer
    return answer


def test_http_in_slate_out(serving_bundle: Path, home: Path) -> None:
    with Function(serving_bundle, HANDLER, environment(home)) as function:
        with served(function) as connection:
            cold, warm = recommend(connection), recommend(connection)
        assert len(function.pids()) == 1
    assert cold["items"] == warm["items"]
    assert len(cold["items"]) == 5
    assert cold["why"]["model"] == "two_tower"
    assert cold["why"]["degraded"] == []


def test_what_was_published_after_the_snapshot_is_served_after_the_restore(
    serving_bundle: Path, tmp_path: Path, toy: FittedModel
) -> None:
    publish(tmp_path, release := seal(tmp_path, toy))
    with Function(serving_bundle, HANDLER, environment(tmp_path), snap_start=True) as function:
        function.snapshot()
        function.snapshot()
        assert served_by(function) == "p1"
        function.freeze()
        publish(tmp_path, release)
        function.restore()  # the second one
        assert served_by(function) == "p2"


def test_what_was_told_after_the_snapshot_is_known_to_the_first_request_after_the_restore(
    serving_bundle: Path, tmp_path: Path, toy: FittedModel
) -> None:
    """By a function of its own, which opens no index and answers no slates."""
    publish(tmp_path, seal(tmp_path, toy))
    told = {"features": {"genre": "art", "title": "Toy art"}}
    with (
        Function(serving_bundle, HANDLER, environment(tmp_path), snap_start=True) as recommends,
        Function(serving_bundle, ITEMS, environment(tmp_path), snap_start=True) as takes_items,
    ):
        recommends.snapshot()
        takes_items.snapshot()
        takes_items.restore()
        answer = takes_items.invoke(http("PUT", "/v1/items/new", body=json.dumps(told)))
        assert json.loads(answer["body"])["status"] == "fresh"
        recommends.restore()
        assert recommends.invoke(http("GET", "/v1/items/new/similar"))["statusCode"] == 200


def served_by(function: Function) -> str:
    answer = function.invoke(post({"num_items": 1}))
    assert answer["statusCode"] == 200, answer
    publication: str = json.loads(answer["body"])["why"]["publication"]
    return publication
