"""Users in a batch get what the deployed handler answers them at that moment, on every route and whatever is live."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl
import pytest

from batch_job.recommend import recommend_all
from batch_job.recommend_block import Ground, slates_of
from contracts.treatment import Treatment
from lambda_user_tower.edge import Edge
from lambda_user_tower.settings import LambdaSettings
from reranking.settings import RerankSettings
from retrieval.settings import RetrievalSettings
from tests.batch_job.recommend_world import (
    EVERYBODY,
    HIDDEN,
    PEOPLE,
    SOLD_OUT,
    build,
    file_of,
    plan_for,
    rows_of,
    sources_of,
    tell_live_items,
)
from tests.lambda_user_tower.conftest import http
from tests.lambda_user_tower.experiment_worlds import edge_of, everybody, push, slates_in
from tests.toy_world import NOW, item_id

TIE = 1e-5
"""Scores closer than this may stand in another order: a matrix product rounds otherwise than products one by one."""


@pytest.fixture(scope="module", params=["two_tower", "als", "popularity"])
def quiet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home without live items, by served model."""
    return build(tmp_path_factory.mktemp("quiet"), request.param)


@pytest.fixture(scope="module", params=["two_tower", "als"])
def lively(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with fresh, hidden and sold out items."""
    home = build(tmp_path_factory.mktemp("lively"), request.param)
    tell_live_items(home)
    return home


def answers(home: Path, places: int, settings: LambdaSettings) -> dict[str, dict[str, Any]]:
    """User → what the handler says at NOW."""
    told = {}
    with mock.patch("time.time", return_value=float(NOW)), closing(Edge(settings)) as edge:
        for user in EVERYBODY:
            body = json.dumps({"user_id": user, "num_items": places})
            response = edge(http("POST", "/v1/recommendations", body=body))
            assert response["statusCode"] == 200, response
            told[user] = json.loads(response["body"])
            assert told[user]["why"]["degraded"] == []
    return told


def compare(home: Path, tmp_path: Path, places: int = 10, **changes: Any) -> pl.DataFrame:
    """Hold every user's slate of a batch to the handler's; the batch."""
    settings = LambdaSettings(home=home, budget_ms=29_000, log_level="ERROR", **changes)
    plan = plan_for(
        file_of(tmp_path, EVERYBODY),
        num_items=places,
        retrieval=settings.retrieval,
        rerank=settings.rerank,
        promoted=settings.promoted_filters(),
        promoted_share=settings.promoted_share,
        part_users=7,
    )
    done = recommend_all(plan, sources_of(home), tmp_path / "out")
    assert done.counts.users == len(EVERYBODY)
    rows = rows_of(tmp_path / "out")
    for user, told in answers(home, places, settings).items():
        mine = rows.filter(pl.col("user_id") == user)
        assert mine["rank"].to_list() == list(range(1, len(mine) + 1))
        theirs = [(item["item_id"], item["score"]) for item in told["items"]]
        assert in_order(list(zip(mine["item_id"], mine["score"], strict=True))) == in_order(theirs), user
        assert mine["score"].to_list() == pytest.approx([score for _, score in theirs], abs=TIE)
        assert mine["route"].unique().to_list() == [told["why"]["route"]]
        assert mine["model"].unique().to_list() == [told["why"]["model"]]
        assert mine["explored"].sum() == told["why"]["explored"]
    return rows


def in_order(slate: list[tuple[str, float]]) -> list[list[str]]:
    """Items in order, those that tie as one group; falling scores that differ by less than TIE tie."""
    groups: list[list[str]] = []
    last = None
    for item, score in slate:
        if last is None or abs(last - score) > TIE:
            groups.append([])
        groups[-1] = sorted([*groups[-1], item])
        last = score
    return groups


def test_every_route_without_live_items(quiet: Path, tmp_path: Path) -> None:
    rows = compare(quiet, tmp_path)
    routes = dict(rows.filter(pl.col("rank") == 1).select("user_id", "route").iter_rows())
    assert (routes["stranger"], routes["told"], routes["cold"]) == ("unknown", "cold_user", "cold_user")
    assert {routes[user] for user in PEOPLE if user.startswith("warm")} == {"model"}


def test_places_and_settings_of_all_kinds(quiet: Path, tmp_path: Path) -> None:
    rerank = RerankSettings(diversity="mmr", category_cap=3, recency_weight=0.5)
    retrieval = RetrievalSettings(session_weight=4.0, cold_user_events=15, min_pool=30, cold_quota=0.5)
    compare(quiet, tmp_path, places=25, rerank=rerank, retrieval=retrieval)


def test_one_place(quiet: Path, tmp_path: Path) -> None:
    assert len(compare(quiet, tmp_path, places=1)) == len(EVERYBODY)


def test_live_items_hidden_ones_and_places_to_explore(lively: Path, tmp_path: Path) -> None:
    rows = compare(lively, tmp_path, retrieval=RetrievalSettings(exploration_share=0.25))
    shown = set(rows["item_id"])
    assert not shown & {item_id(row) for row in (*HIDDEN, *SOLD_OUT)}
    assert "fresh1" not in shown
    explored = rows.filter("explored")
    assert 0.1 < len(explored) / len(rows) < 0.4
    assert set(explored["item_id"]) <= {f"fresh{number}" for number in range(2, 12)}, "untouched and not hidden"


def test_more_fresh_items_than_there_is_room_for(lively: Path, tmp_path: Path) -> None:
    rows = compare(lively, tmp_path, retrieval=RetrievalSettings(exploration_share=0.5, fresh_items=4))
    assert {item for item in rows["item_id"] if item.startswith("fresh")} <= {f"fresh{n}" for n in range(8, 12)}


def test_a_promotion(lively: Path, tmp_path: Path) -> None:
    rows = compare(lively, tmp_path, promoted='{"genre": "eggs"}', promoted_share=0.3)
    eggs = [item for item in rows["item_id"] if not item.startswith("fresh") and int(item[1:]) % 5 == 4]
    assert len(eggs) >= 3 * len(EVERYBODY)


TREATMENTS: list[dict[str, Any]] = [
    {},
    {"model": "popularity"},
    {"model": "als", "diversity": "none", "recency_weight": 0.0},
    {"model": "two_tower", "diversity": "mmr", "mmr_relevance": 0.5, "category_cap": 3, "num_items": 17},
    {"cold_user_events": 15, "session_weight": 4.0, "exploration_share": 0.3, "category_penalty": 0.4},
    {"random_places": 4},
    {"random_places": 10, "num_items": 6, "category_cap": 2, "recency_half_life_days": 2.0},
    {"interleave": "als"},
    {"model": "als", "interleave": "popularity", "random_places": 2, "exploration_share": 0.3, "num_items": 12},
]


@pytest.mark.parametrize("changes", TREATMENTS, ids=lambda changes: "-".join(changes) or "control")
def test_users_of_a_variant_get_in_a_block_what_the_handler_answers_them(
    lively: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    home = tmp_path / "home"
    shutil.copytree(lively, home)
    push(home, one=everybody(changes))
    with mock.patch("time.time", return_value=float(NOW)), edge_of(home, budget_ms=29_000) as edge:
        for user in EVERYBODY:
            response = edge(http("POST", "/v1/recommendations", body=json.dumps({"user_id": user})))
            assert response["statusCode"] == 200, response
        served, profiles = edge.serving.pin(), edge.storage.profiles.read(EVERYBODY)
        ground = Ground(served.model, served.retrieval, served.rerank, 10, NOW, treatment=Treatment(**changes))
        mine = slates_of(ground, EVERYBODY, [profiles[user].profile for user in EVERYBODY])
        ids = served.model.items.ids
    theirs = {slate.user_id: slate for slate in slates_in(home)}
    for slate in mine:
        told, ranked = theirs[slate.user_id], slate.ranked
        assert ids.texts(ranked.rows) == told.items, slate.user_id
        assert ranked.scores.tolist() == pytest.approx(told.scores, abs=TIE)
        assert (slate.route, slate.model) == (told.route, told.model)
        odds = [1.0] * len(told.items) if ranked.propensities is None else ranked.propensities.tolist()
        assert odds == pytest.approx(told.propensities)
        assert ([] if ranked.teams is None else ranked.teams.tolist()) == told.teams
    if changes.get("random_places"):  # a cap may leave a user too few to draw from
        assert sum(min(slate.propensities) < 1 for slate in theirs.values()) > len(EVERYBODY) / 2
    if changes.get("interleave"):
        assert {len(slate.teams) > 0 for slate in theirs.values()} == {True, False}
