"""Requests under experiments: who is treated how, what the answer says, and what is on disk before it leaves."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from contracts.errors import LogUnavailable
from contracts.experiment import ENVELOPE_MAX_AGE_SECONDS
from contracts.fitted import FittedModel
from contracts.served import exposure_key
from lambda_user_tower.edge import Edge
from reranking.settings import RerankSettings
from retrieval.settings import RetrievalSettings
from stores.releases import LocalReleases
from stores.served_log import LocalServedLog
from tests.lambda_user_tower.conftest import body_of, http, post, publish, seal
from tests.lambda_user_tower.experiment_worlds import (
    edge_of,
    everybody,
    experiment,
    exposures_in,
    push,
    slates_in,
)
from tests.toy_world import NOW, item_id

DAY = 86_400


@pytest.fixture
def world(home: Path, tmp_path: Path) -> Path:
    """A home of its own, without experiments."""
    shutil.copytree(home, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def at_now(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the wall clock that requests go by."""
    return lambda seconds: monkeypatch.setattr("time.time", lambda: seconds)


def ask(edge: Edge, body: dict[str, Any], **rest: Any) -> Any:
    response = edge(post(body) | rest)
    assert response["statusCode"] == 200, response
    return body_of(response)


def ids(slate: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in slate["items"]]


def test_without_experiments_nothing_is_written_and_nobody_is_in_a_variant(world: Path) -> None:
    with edge_of(world) as edge:
        slate = ask(edge, {"user_id": "warm"})
    assert slate["why"]["variant"] is None
    assert not (world / "slates").exists()
    assert not (world / "exposures").exists()


RETRIEVAL = {"cold_user_events": 50, "session_weight": 9.0}
RERANK = {"recency_weight": 1.0, "recency_half_life_days": 1.0, "category_cap": 1, "category_penalty": 0.5}
MMR = {"diversity": "mmr", "mmr_relevance": 0.3}


@pytest.mark.parametrize(
    ("treatment", "same"),
    [
        ({}, {}),
        ({"model": "als"}, {"model": "als"}),
        ({"model": "popularity"}, {"model": "popularity"}),
        (RETRIEVAL, {"retrieval": RetrievalSettings(**RETRIEVAL)}),
        (RERANK, {"rerank": RerankSettings(**RERANK)}),
        (MMR, {"rerank": RerankSettings(**MMR)}),
        ({"model": "als"} | MMR, {"model": "als", "rerank": RerankSettings(**MMR)}),
    ],
)
def test_a_treated_slate_is_the_untreated_one_of_equal_settings(
    world: Path, treatment: dict[str, Any], same: dict[str, Any]
) -> None:
    current = LocalReleases(world).current()
    assert current is not None
    release, settings = current.publication.release, {name: value for name, value in same.items() if name != "model"}
    publish(world, release, served_model=same.get("model", "two_tower"))
    with edge_of(world, **settings) as edge:
        untreated = {user: ask(edge, {"user_id": user, "num_items": 20}) for user in ("warm", "cool", "nobody")}
    publish(world, release)
    push(world, one=everybody(treatment))
    with edge_of(world) as edge:
        for user, slate in untreated.items():
            treated = ask(edge, {"user_id": user, "num_items": 20})
            assert treated["items"] == slate["items"], user
            assert treated["why"]["model"] == slate["why"]["model"]
            assert treated["why"]["variant"].startswith("models:")


def test_a_variant_decides_how_many_places_there_are(world: Path) -> None:
    push(world, one=everybody({"num_items": 7}))
    with edge_of(world) as edge:
        assert len(ask(edge, {"user_id": "warm", "num_items": 30})["items"]) == 7
        assert len(ask(edge, {"num_items": 30})["items"]) == 30, "nobody without an id takes part"


def test_who_takes_part(world: Path) -> None:
    push(world, one=everybody({"model": "als"}))
    with edge_of(world) as edge:
        for body, identity in (
            ({"user_id": "warm"}, "warm"),
            ({"user_id": "nobody known"}, "nobody known"),
            ({"session": {"session_id": "s1"}}, "anonymous:s1"),
            ({"session": {"session_id": "s2", "history": [{"item_id": item_id(4)}]}}, "anonymous:s2"),
        ):
            assert ask(edge, body)["why"]["variant"] == "models:" + variation(edge, identity)
        for body in ({}, {"session": {"history": [{"item_id": item_id(4)}]}}, {"history": [{"item_id": item_id(4)}]}):
            assert ask(edge, body)["why"]["variant"] is None
        for event in (http("GET", "/v1/popular"), http("GET", f"/v1/items/{item_id(7)}/similar")):
            assert body_of(edge(event))["why"]["variant"] is None
    people = {row.user_id for row in exposures_in(world)}
    assert people == {"warm", "nobody known", "anonymous:s1", "anonymous:s2"}
    assert {row.user_id for row in slates_in(world)} == people | {""}
    assert len(slates_in(world)) == 9


def variation(edge: Edge, identity: str) -> str:
    deciding = edge.experiments.deciding
    assert deciding is not None
    (assignment,) = deciding.running.assign({"id": identity, "events": 0}).assignments
    return assignment.variation


def test_two_experiments_at_once(world: Path) -> None:
    push(
        world,
        one=experiment({}, {"model": "als"}, key="m"),
        two=experiment({"num_items": 4}, {"num_items": 6}, key="n"),
    )
    with edge_of(world) as edge:
        seen = set()
        for number in range(24):
            history = [{"item_id": item_id(row)} for row in range(8)]
            slate = ask(edge, {"user_id": f"u{number}", "history": history})
            one, two = slate["why"]["variant"].split(",")
            seen.add((one, two))
            assert slate["why"]["model"] == {"m:control": "two_tower", "m:arm1": "als"}[one]
            assert len(slate["items"]) == {"n:control": 4, "n:arm1": 6}[two]
    assert len(seen) == 4
    assert len(exposures_in(world)) == 48
    labels = {slate.user_id: slate.variants for slate in slates_in(world)}
    assert all(len(variants) == 2 for variants in labels.values())


def test_targeting_by_what_is_known(world: Path) -> None:
    def aimed(condition: dict[str, Any]) -> dict[str, Any]:
        feature = everybody({"num_items": 3})
        feature["rules"][0]["condition"] = condition
        return feature

    def taking_part(condition: dict[str, Any], sequence: int) -> set[str]:
        push(world, sequence, one=aimed(condition))
        edge.experiments.look_now(5.0)
        headers = {"headers": {"content-type": "application/json", "cloudfront-viewer-country": "de"}}
        bodies = {
            "warm": {"user_id": "warm"},
            "cool": {"user_id": "cool"},
            "told": {"user_id": "told", "features": {"gender": "M"}},
            "german": {"user_id": "german"},
        }
        return {
            name
            for name, body in bodies.items()
            if ask(edge, body, **(headers if name == "german" else {}))["why"]["variant"]
        }

    with edge_of(world) as edge:
        assert taking_part({"country": "DE"}, 1) == {"german"}
        assert taking_part({"features.gender": "M"}, 2) == {"cool", "told"}
        assert taking_part({"segment": "gender=M"}, 3) == {"cool", "told"}
        assert taking_part({"events": {"$gte": 20}}, 4) == {"warm"}


def test_a_country_that_is_told_as_a_feature_is_one() -> None:
    from lambda_user_tower.variants import country_of

    assert country_of({"cloudfront-viewer-country": "fr"}, {"country": "IT"}) == "FR"
    assert country_of({"cloudfront-viewer-country": "france"}, {"country": "IT"}) == "IT"
    assert country_of(None, {"country": 39}) is None
    assert country_of({"cloudfront-viewer-country": 1}, {}) is None


def test_no_request_asks_the_network(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(world, one=experiment({}, {"model": "als"}))
    with edge_of(world) as edge:
        ask(edge, {"user_id": "warm"})

        def refused(*_: object, **__: object) -> None:
            raise AssertionError("a request asked the network")

        for name in ("connect", "connect_ex", "sendto"):
            monkeypatch.setattr(socket.socket, name, refused)
        monkeypatch.setattr(socket, "getaddrinfo", refused)
        variants = {ask(edge, {"user_id": f"u{number}"})["why"]["variant"] for number in range(20)}
    assert variants == {"models:control", "models:arm1"}


# an arm that cannot be served


def test_an_arm_whose_model_is_not_in_the_release_is_served_by_the_publications(
    tmp_path: Path, toy: FittedModel
) -> None:
    items = replace(toy.items, als=np.zeros((len(toy.items), 0), np.float32))
    without = replace(toy, items=items, als=replace(toy.als, gram=np.zeros((0, 0), np.float32)), golden=[])
    probes = replace(toy.probes, als_queries=np.zeros((0, 0), np.float32), als_rows=np.zeros((0, 0), np.int32))
    publish(tmp_path, seal(tmp_path, replace(without, probes=probes)))
    push(tmp_path, one=everybody({"model": "als", "num_items": 4}))
    history = [{"item_id": item_id(row)} for row in range(8)]
    with edge_of(tmp_path) as edge:
        slate = ask(edge, {"user_id": "u", "history": history})
    assert (slate["why"]["model"], slate["why"]["degraded"]) == ("two_tower", ["variant_not_served"])
    assert len(slate["items"]) == 4
    (exposure,) = exposures_in(tmp_path)
    assert (exposure.user_id, exposure.model, exposure.degraded) == ("u", "two_tower", True)
    assert slate["why"]["variant"] == f"models:{exposure.variation_id}", "the user stays in the arm"


def test_an_arm_whose_query_fails_is_served_by_the_publications(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr("retrieval.query.fold_in", fails)
    push(world, one=everybody({"model": "als"}))
    with edge_of(world) as edge:
        slate = ask(edge, {"user_id": "warm"})
    assert (slate["why"]["model"], slate["why"]["degraded"]) == ("two_tower", ["variant_not_served"])


def test_a_mistake_of_the_client_is_no_fault_of_the_arm(world: Path) -> None:
    push(world, one=everybody({"model": "als"}))
    with edge_of(world) as edge:
        assert edge(post({"user_id": "warm", "filters": {"unheard-of": 1}}))["statusCode"] == 400
    assert exposures_in(world) == []


# places of chance


def test_random_places_say_so_and_are_the_same_within_the_hour(world: Path) -> None:
    push(world, one=everybody({"random_places": 3}))
    with edge_of(world) as edge, mock.patch("time.time") as clock:
        clock.return_value = float(NOW - NOW % 3_600)
        one = ask(edge, {"user_id": "warm", "explain": True})
        again = ask(edge, {"user_id": "warm", "explain": True})
        clock.return_value += 3_600
        later = ask(edge, {"user_id": "warm", "explain": True})
    assert one["items"] == again["items"]
    assert ids(one)[:7] == ids(later)[:7]
    assert ids(one)[7:] != ids(later)[7:]
    assert [item["explain"]["source"] == "random" for item in one["items"]] == [False] * 7 + [True] * 3
    for row in slates_in(world):
        assert row.propensities == pytest.approx([1.0] * 7 + [1 / 20, 1 / 19, 1 / 18])
        assert row.teams == []


def test_interleaved_slates_name_the_team_of_each_place(world: Path) -> None:
    push(world, one=everybody({"interleave": "popularity"}))
    with edge_of(world) as edge:
        slate = ask(edge, {"user_id": "warm", "num_items": 10})
        ask(edge, {"user_id": "nobody"})
    rows = {row.user_id: row for row in slates_in(world)}
    assert sorted(rows["warm"].teams) == [0] * 5 + [1] * 5
    assert rows["warm"].items == ids(slate)
    assert rows["nobody"].teams == [], "no model is asked for somebody unknown"


def test_without_time_the_first_model_answers_alone(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contracts.deadline import Deadline

    push(world, one=everybody({"interleave": "als"}))
    with edge_of(world) as edge:
        ask(edge, {"user_id": "warm"})
        monkeypatch.setattr(Deadline, "expired", property(lambda _: True))
        slate = ask(edge, {"user_id": "warm"})
    assert "variant_not_served" in slate["why"]["degraded"]
    assert {len(row.teams) for row in slates_in(world)} == {0, 10}


# exposures


def test_an_exposure_is_on_disk_before_the_answer_leaves_and_once_a_day(world: Path) -> None:
    push(world, sequence=2, one=experiment({}, {"model": "als"}))
    with edge_of(world) as edge, mock.patch("time.time") as clock:
        clock.return_value = float(NOW - NOW % DAY)
        slate = ask(edge, {"user_id": "warm"}, headers={"cloudfront-viewer-country": "DE"})
        (row,) = exposures_in(world)
        assert (row.user_id, row.experiment_id, row.timestamp) == ("warm", "models", NOW - NOW % DAY)
        assert slate["why"]["variant"] == f"models:{row.variation_id}"
        assert (row.route, row.model, row.release) == ("model", slate["why"]["model"], slate["why"]["release"])
        assert (row.country, row.degraded, row.sequence) == ("DE", False, 2)
        clock.return_value += DAY - 1
        ask(edge, {"user_id": "warm"})
        assert len(exposures_in(world)) == 1
        clock.return_value += 1
        ask(edge, {"user_id": "warm"})
        assert len(exposures_in(world)) == 2
        assert len({exposure_key(row) for row in exposures_in(world)}) == 2


def test_a_log_that_does_not_answer_degrades_and_is_tried_again(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = LocalServedLog.append

    def away(log: LocalServedLog, rows: Any) -> list[str]:
        if "exposures" in str(log._files._folder):
            raise LogUnavailable("the log is away.")
        return append(log, rows)

    push(world, one=everybody({"num_items": 3}))
    with edge_of(world) as edge:
        monkeypatch.setattr(LocalServedLog, "append", away)
        slate = ask(edge, {"user_id": "warm"})
        assert slate["why"]["degraded"] == ["exposure_not_logged"]
        assert len(slate["items"]) == 3
        monkeypatch.setattr(LocalServedLog, "append", append)
        assert ask(edge, {"user_id": "warm"})["why"]["degraded"] == []
    assert len(exposures_in(world)) == 1


def test_no_user_id_is_in_the_lines_of_the_process(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    push(world, one=everybody({"model": "als"}))
    with edge_of(world, log_level="INFO") as edge:
        ask(edge, {"user_id": "somebody secret"})
    lines = capsys.readouterr().err
    assert "experiments-taken-over" in lines
    assert '"variant":"models:' in lines
    assert "somebody secret" not in lines


# old envelopes, and a share of slates


def test_an_envelope_that_grew_too_old_leaves_everybody_control_and_says_so(
    world: Path, at_now: Callable[[float], None]
) -> None:
    push(world, one=everybody({"num_items": 3}))
    began = time.time()
    with edge_of(world) as edge:
        at_now(began)
        assert len(ask(edge, {"user_id": "warm"})["items"]) == 3
        assert body_of(edge(http("GET", "/v1/health")))["experiments"] == 1
        at_now(began + ENVELOPE_MAX_AGE_SECONDS + 1)
        slate = ask(edge, {"user_id": "warm"})
        health = body_of(edge(http("GET", "/v1/health")))
    assert (len(slate["items"]), slate["why"]["variant"]) == (10, None)
    assert "experiments_old" in slate["why"]["degraded"]
    assert (health["experiments"], "experiments_old" in health["degraded"]) == (None, True)


def test_a_process_that_comes_back_decides_by_what_runs_now(world: Path) -> None:
    push(world, 1, one=everybody({"num_items": 3}))
    with edge_of(world, experiments_check_seconds=3_600.0) as edge:
        assert len(ask(edge, {"user_id": "warm"})["items"]) == 3
        push(world, 2, one=everybody({"num_items": 4}))
        assert len(ask(edge, {"user_id": "warm"})["items"]) == 3
        edge.restored(edge.serving)
        assert len(ask(edge, {"user_id": "warm"})["items"]) == 4


def test_a_share_of_the_slates_is_logged(world: Path) -> None:
    push(world, one=everybody({}))
    with edge_of(world, slates_share=0.5) as edge:
        for number in range(60):
            ask(edge, {"user_id": f"u{number}"})
    assert 10 < len(slates_in(world)) < 50
    assert len(exposures_in(world)) == 60


def test_what_a_slate_says_is_what_was_answered(world: Path) -> None:
    push(world, one=everybody({"model": "als"}))
    with edge_of(world, retrieval=RetrievalSettings(cold_user_events=5)) as edge:
        slate = ask(edge, {"user_id": "warm", "num_items": 5})
    (row,) = slates_in(world)
    assert (row.recommendation_id, row.items) == (slate["recommendation_id"], ids(slate))
    assert row.scores == pytest.approx([item["score"] for item in slate["items"]])
    assert (row.route, row.model, row.release) == ("model", "als", slate["why"]["release"])
    assert (row.publication, row.variants) == (slate["why"]["publication"], [slate["why"]["variant"]])
    assert row.propensities == [1.0] * 5
