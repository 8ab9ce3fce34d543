"""Every endpoint over a published toy world: routes, whys, explanations, problems."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.deadline import Deadline
from contracts.errors import RequestInvalid
from contracts.fitted import FittedModel
from contracts.profile import Profile
from contracts.request import MAX_BODY_BYTES
from lambda_user_tower.edge import Edge
from lambda_user_tower.problems import problem_response
from lambda_user_tower.settings import LambdaSettings
from stores.profiles import SqliteProfiles
from stores.releases import LocalReleases
from tests.lambda_user_tower.conftest import body_of, http, let_in_as, post, publish, seal
from tests.toy_world import item_id

Ask = Callable[[dict[str, Any]], Any]


def ids(slate: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in slate["items"]]


def test_a_warm_user_is_served_by_the_model_without_repeats(ask: Ask, home: Path) -> None:
    slate = ask(post({"user_id": "warm", "num_items": 20}))
    assert slate["why"]["route"] == "model"
    assert slate["why"]["model"] == "two_tower"
    assert slate["why"]["publication"] == "p1"
    assert slate["why"]["degraded"] == []
    assert len(set(ids(slate))) == 20
    assert not {item_id(row) for row in range(0, 100, 5)} & set(ids(slate))
    assert "explain" not in slate["items"][0]


@pytest.mark.parametrize(
    ("body", "route"),
    [
        ({"user_id": "warm"}, "model"),
        ({"user_id": "cool"}, "cold_user"),
        ({"user_id": "cool", "prefer": "new"}, "both_cold"),
        ({"user_id": "nobody"}, "unknown"),
        ({}, "unknown"),
        ({"user_id": "\0"}, "unknown"),
        ({"session": {"history": [{"item_id": item_id(4)}]}}, "anonymous"),
        ({"user_id": "nobody", "history": [{"item_id": item_id(row)} for row in range(6)]}, "model"),
        ({"user_id": "nobody", "features": {"gender": "F"}}, "cold_user"),
        ({"history": []}, "unknown"),
    ],
)
def test_the_route_follows_what_is_known(ask: Ask, body: dict[str, Any], route: str) -> None:
    slate = ask(post(body))
    assert slate["why"]["route"] == route
    assert len(slate["items"]) == 10


def test_what_is_barred_is_never_served(ask: Ask) -> None:
    excluded = [item_id(row) for row in range(50)]
    served = ids(ask(post({"num_items": 100, "exclude_ids": excluded})))
    assert len(served) == 100
    assert not set(excluded) & set(served)
    everything = ids(ask(post({"num_items": 100}))) + ids(ask(http("GET", "/v1/popular", "num_items=100")))
    assert not {item_id(1), item_id(2)} & set(everything)  # unavailable, expired


def test_filters_hold_for_every_place(ask: Ask, toy: FittedModel) -> None:
    slate = ask(post({"user_id": "warm", "num_items": 10, "filters": {"genre": "cars", "price": {"lte": 10}}}))
    rows = [toy.items.ids.row(identifier) for identifier in ids(slate)]
    assert rows
    assert all(toy.categories[toy.items.category[row]] == "cars" and row % 20 <= 10 for row in rows)


def test_both_ways_of_asking_agree(ask: Ask) -> None:
    one = ask(
        post({"user_id": "warm", "num_items": 7, "filters": {"genre": ["art", "cars"]}, "exclude_ids": [item_id(7)]})
    )
    other = ask(
        http(
            "GET",
            "/v1/users/warm/recommendations",
            f"num_items=7&filter.genre=art&filter.genre=cars&exclude_ids={item_id(7)}",
        )
    )
    assert one["items"] == other["items"]
    assert one["recommendation_id"] != other["recommendation_id"]


@pytest.mark.parametrize(
    "event",
    [
        post({"user_id": "warm", "explain": True}),
        post({"explain": True}),
        http("GET", "/v1/users/cool/recommendations", "explain=true"),
        http("GET", f"/v1/items/{item_id(7)}/similar", "explain=true"),
        http("GET", "/v1/popular", "explain=true"),
    ],
)
def test_every_item_is_explained_on_request(ask: Ask, event: dict[str, Any]) -> None:
    for item in ask(event)["items"]:
        assert isinstance(item["explain"]["source"], str)
        assert any(isinstance(part, float) for part in item["explain"].values())


def test_a_slate_does_not_turn_away_from_what_the_session_is_about(ask: Ask, toy: FittedModel) -> None:
    """The first item of the session's category pays for no repeat: what was clicked is wanted, not shown."""
    slate = ask(post({"session": {"history": [{"item_id": item_id(5)}]}, "num_items": 50, "explain": True}))
    places = [(toy.items.category[toy.items.ids.row(item["item_id"])], item["explain"]) for item in slate["items"]]
    first = {category: explain["diversity"] for category, explain in reversed(places)}
    assert first[0] == 0


def test_a_share_of_every_slate_is_promoted(home: Path, toy: FittedModel) -> None:
    """The history asks for `art` alone, so that nothing of `eggs` would come by itself."""
    settings = LambdaSettings(home=home, promoted='{"genre": "eggs"}', promoted_share=0.25, budget_ms=20_000)
    with closing(Edge(settings)) as edge:
        items = body_of(edge(post({"user_id": "warm", "explain": True})))["items"]
    eggs = [toy.categories[toy.items.category[toy.items.ids.row(item["item_id"])]] == "eggs" for item in items]
    assert [item["explain"]["promoted"] for item in items] == eggs
    assert sum(eggs) >= 3


def test_a_promotion_that_the_items_cannot_answer_is_logged_and_left_out(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Edge(LambdaSettings(home=home, promoted='{"shoes": "red"}', promoted_share=0.5))) as edge:
        assert len(body_of(edge(post({"user_id": "warm"})))["items"]) == 10
    assert "promotion-not-understood" in capsys.readouterr().err


def test_similar_items(ask: Ask, edge: Edge) -> None:
    slate = ask(http("GET", f"/v1/items/{item_id(7)}/similar", "num_items=5"))
    assert slate["why"]["route"] == "similar"
    assert len(slate["items"]) == 5
    assert item_id(7) not in ids(slate)
    response = edge(http("GET", "/v1/items/nothing/similar"))
    assert response["statusCode"] == 404
    assert body_of(response)["type"] == "urn:tandem:problem:item-not-found"


def test_popular_items(ask: Ask) -> None:
    everybody = ask(http("GET", "/v1/popular", "num_items=4"))
    assert ids(everybody) == [item_id(row) for row in (0, 3, 4, 5)]  # 1 is unavailable, 2 expired
    assert everybody["why"]["segment"] == "global"
    men = ask(http("GET", "/v1/popular", "num_items=4&segment.gender=M"))
    assert men["why"]["segment"] == "gender=M"
    assert ids(men) != ids(everybody)
    cars = ask(http("GET", "/v1/popular", "num_items=4&category=cars"))
    assert [int(identifier[1:]) % 5 for identifier in ids(cars)] == [2, 2, 2, 2]
    nobody_yet = ask(http("GET", "/v1/popular", "segment.gender=unheard-of"))
    assert nobody_yet["why"]["segment"] == "global"


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (http("GET", "/v1/popular", "category=unheard-of"), "category"),
        (http("GET", "/v1/popular", "category=cars&segment.gender=M"), "category"),
        (http("GET", "/v1/popular", "segment.shoe_size=44"), "segment.shoe_size"),
        (http("GET", "/v1/users/warm/recommendations", "filter.unheard-of=1"), "filters.unheard-of"),
        (post({"filters": {"genre": {"gte": 1}}}), "filters.genre"),
        (post({"filters": {"price": "cheap"}}), "filters.price"),
        (post({"features": {"age": "thirty"}}), "features.age"),
        (post({"features": {"age": True}}), "features.age"),
        (post({"features": {"gender": ["F"]}}), "features.gender"),
        (http("GET", "/v1/users//recommendations"), "user_id"),
        (http("GET", f"/v1/users/{'a' * 129}/recommendations"), "user_id"),
        (http("GET", "/v1/users/\ud800/recommendations"), "user_id"),
        (http("GET", "/v1/items//similar"), "item_id"),
        (http("GET", "/v1/popular", "num_items=1000000000"), "num_items"),
        (http("POST", "/v1/recommendations"), "body"),
        (http("POST", "/v1/recommendations", body="[" * 10_000), "body"),
        (http("POST", "/v1/recommendations", body="e30", isBase64Encoded=True), "body"),
        ({}, "requestContext"),
        (None, "event"),
    ],
)
def test_a_mistake_is_a_400_that_names_the_field(edge: Edge, event: Any, field: str) -> None:
    response = edge(event)
    problem = body_of(response)
    assert (response["statusCode"], problem["status"], problem["field"]) == (400, 400, field)
    assert problem["type"] == "urn:tandem:problem:request-invalid"
    assert response["headers"]["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (http("GET", "/"), 404),
        (http("GET", "/v1/users/recommendations"), 405),
        (http("GET", "/v1/health/"), 404),
        (http("GET", "/v1/../etc/passwd"), 404),
        (http("GET", "/v1/recommendations"), 405),
        (http("POST", "/v1/users/u/recommendations"), 405),
        (http("HEAD", "/v1/health"), 405),
        (post(" " * (MAX_BODY_BYTES + 1)), 413),
        (http("GET", "/v1/popular", "a" * 20_000), 413),
        (http("POST", "/v1/recommendations", body="{}", headers={"content-type": "text/plain"}), 415),
    ],
)
def test_other_mistakes_have_their_status(edge: Edge, event: dict[str, Any], status: int) -> None:
    response = edge(event)
    assert response["statusCode"] == status
    assert body_of(response)["instance"] == "request-1"
    if status == 405:
        assert response["headers"]["allow"] in ("GET", "POST", "PUT, DELETE", "GET, PUT, DELETE")


def test_an_id_may_be_any_unicode(home: Path, ask: Ask) -> None:
    strange = "a/b ü%41\0👩‍👩‍👧"
    with SqliteProfiles(home / "profiles.sqlite") as profiles:
        profiles.put_features(strange, {"gender": "F"})
    assert ask(post({"user_id": strange}))["why"]["route"] == "cold_user"
    assert ask(http("GET", f"/v1/users/{strange}/recommendations"))["why"]["route"] == "cold_user"


def test_a_profile_store_that_fails_makes_a_stranger(home: Path, tmp_path: Path, toy: FittedModel) -> None:
    publish(tmp_path, seal(tmp_path, toy))
    (tmp_path / "profiles.sqlite").write_bytes(b"this is no database" * 100)
    with closing(Edge(LambdaSettings(home=tmp_path, budget_ms=20_000))) as edge:
        response = edge(post({"user_id": "warm"}))
    assert body_of(response)["why"]["degraded"] == ["profile_unavailable"]
    assert len(body_of(response)["items"]) == 10


def test_a_problem_may_quote_what_is_no_unicode() -> None:
    problem = body_of(problem_response(RequestInvalid("half \ud800 " * 100, field="\udfff"), "request-1"))
    assert problem["field"] == "\\udfff"
    assert problem["detail"].startswith("half \\ud800")
    assert len(problem["detail"]) < 1_000


def test_an_unexpected_failure_is_a_500_that_says_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("secret u_42")

    monkeypatch.setattr("lambda_user_tower.recommend.candidates_for", broken)
    with closing(Edge(LambdaSettings(home=home))) as edge:
        response = edge(post({"user_id": "u_42"}))
    assert response["statusCode"] == 500
    assert body_of(response)["type"] == "urn:tandem:problem:internal-error"
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (line["level"], line["problem"], line["request_id"]) == ("ERROR", "KeyError", "request-1")
    assert "test_edge.py" in line["frames"][-1]
    for text in (response["body"], json.dumps(line)):
        assert "u_42" not in text
        assert "secret" not in text


def test_a_spent_budget_still_gives_an_answer(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile that took longer than the whole budget: no model is asked any more, and the slate is full."""
    read = SqliteProfiles.get

    def slow(profiles: SqliteProfiles, user_id: str, deadline: Deadline | None = None) -> Profile:
        time.sleep(0.003)
        return read(profiles, user_id, deadline)

    monkeypatch.setattr(SqliteProfiles, "get", slow)
    with closing(Edge(LambdaSettings(home=home, budget_ms=2))) as edge:
        slate = body_of(edge(post({"user_id": "warm"})))
    assert len(slate["items"]) == 10
    assert slate["why"]["model"] == "popularity"
    assert "model_skipped" in slate["why"]["degraded"]


def test_a_cold_start_does_not_count_against_the_budget(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_release = LocalReleases.open

    def slow(releases: LocalReleases, release: str, **how: bool) -> FittedModel:
        time.sleep(0.3)
        return open_release(releases, release, **how)

    monkeypatch.setattr(LocalReleases, "open", slow)
    with closing(Edge(LambdaSettings(home=home, budget_ms=200))) as edge:
        assert body_of(edge(post({"user_id": "warm"})))["why"]["degraded"] == []


def test_nothing_published_is_a_503(tmp_path: Path) -> None:
    edge = Edge(LambdaSettings(home=tmp_path / "empty"))
    for event in (http("GET", "/v1/health"), post({}), http("GET", "/v1/popular")):
        response = edge(event)
        assert response["statusCode"] == 503
        assert body_of(response)["type"] == "urn:tandem:problem:no-release"
        assert str(tmp_path) not in response["body"]
    assert edge(post("nonsense"))["statusCode"] == 400  # a mistake is told even then
    assert not (tmp_path / "empty").exists()


def tell(method: str, path: str, **body: object) -> dict[str, Any]:
    return http(method, path, body=json.dumps(body))


@pytest.fixture
def own(home: Path, tmp_path: Path) -> Iterator[Edge]:
    """An edge that may be told anything."""
    shutil.copytree(home, tmp_path / "home")
    with closing(Edge(LambdaSettings(home=tmp_path / "home", budget_ms=20_000))) as opened:
        yield opened


def answered(edge: Edge, event: dict[str, Any]) -> Any:
    response = edge(event)
    assert response["statusCode"] == 200, response
    return body_of(response)


def test_a_session_without_a_user_is_known_by_its_id(own: Edge) -> None:
    asked = post({"session": {"session_id": "visit"}, "explain": True})
    before = answered(own, asked)
    assert before["why"]["route"] == "unknown"
    for row in (0, 5, 10):
        told = answered(own, tell("POST", "/v1/events", session_id="visit", item_id=item_id(row)))
        assert told["counts"] == {"accepted": 1}
    after = answered(own, asked)
    assert after["why"]["route"] == "anonymous"
    assert not {item_id(row) for row in (0, 5, 10)} & set(ids(after))
    assert ids(after) != ids(before)
    # what the request tells replaces what is stored, and so does a user
    told_inline = post({"session": {"session_id": "visit", "history": [{"item_id": item_id(3)}]}})
    assert item_id(3) not in ids(answered(own, told_inline))
    assert answered(own, post({"user_id": "nobody", "session": {"session_id": "visit"}}))["why"]["route"] == "unknown"
    assert answered(own, post({"history": [], "session": {"session_id": "visit"}}))["why"]["route"] == "unknown"


def test_a_session_becomes_a_users_at_sign_in(own: Edge) -> None:
    answered(own, tell("POST", "/v1/events", session_id="visit", item_id=item_id(3)))
    merged = answered(own, tell("POST", "/v1/users/a%2Fb/merge", session_id="visit"))
    assert merged == {"status": "merged", "events": 1}
    again = answered(own, tell("POST", "/v1/users/a%2Fb/merge", session_id="visit"))
    assert again == {"status": "merged", "events": 0}
    assert item_id(3) not in ids(answered(own, post({"user_id": "a%2Fb", "num_items": 50})))
    refused = own(tell("POST", "/v1/users/another/merge", session_id="visit"))
    assert (refused["statusCode"], body_of(refused)["type"]) == (409, "urn:tandem:problem:session-merged")
    assert "a%2Fb" not in refused["body"]  # whose it is, is nobody's business


def test_told_features_change_the_segment_at_once(own: Edge) -> None:
    asked = post({"user_id": "stranger"})
    assert answered(own, asked)["why"]["segment"] == "global"
    assert answered(own, tell("PUT", "/v1/users/stranger", features={"gender": "F", "age": None})) == {
        "status": "stored"
    }
    assert answered(own, asked)["why"]["segment"] == "gender=F"
    large = {f"feature {number}": ["x" * 200] * 5 for number in range(50)}
    refused = own(tell("PUT", "/v1/users/stranger", features=large))
    assert (refused["statusCode"], body_of(refused)["field"]) == (413, "features")


def test_who_leaves_is_a_stranger_at_once(own: Edge) -> None:
    assert answered(own, post({"user_id": "warm"}))["why"]["route"] == "model"
    assert answered(own, http("DELETE", "/v1/users/warm")) == {"status": "deleted"}
    assert answered(own, post({"user_id": "warm"}))["why"]["route"] == "unknown"
    assert answered(own, http("DELETE", "/v1/users/warm")) == {"status": "not-known"}
    assert answered(own, http("DELETE", "/v1/users/never heard of")) == {"status": "not-known"}
    assert own.storage.identities.tombstone("never heard of") is not None


def test_nobody_may_be_named_as_a_session_is(own: Edge) -> None:
    name = "anonymous:visit"
    events = [
        post({"user_id": name}),
        http("GET", f"/v1/users/{name}/recommendations"),
        tell("POST", "/v1/events", user_id=name, item_id=item_id(3)),
        tell("PUT", f"/v1/users/{name}", features={}),
        http("DELETE", f"/v1/users/{name}"),
        tell("POST", f"/v1/users/{name}/merge", session_id="s"),
    ]
    for event in events:
        response = own(event)
        assert (response["statusCode"], body_of(response)["field"]) == (400, "user_id")


def test_a_caller_who_is_let_in_as_a_user_speaks_for_nobody_else(own: Edge) -> None:
    for event, status in (
        (tell("PUT", "/v1/users/me", features={}), 200),
        (tell("PUT", "/v1/users/you", features={}), 403),
        (http("DELETE", "/v1/users/you"), 403),
        (tell("POST", "/v1/users/you/merge", session_id="s"), 403),
        (tell("POST", "/v1/users/me/merge", session_id="s"), 200),
        (http("DELETE", "/v1/users/me"), 200),
    ):
        method = event["requestContext"]["http"]["method"]
        assert own(event | {"requestContext": let_in_as("me", method)})["statusCode"] == status


def test_what_happens_now_is_popular_now(own: Edge) -> None:
    last = item_id(199)
    assert ids(answered(own, http("GET", "/v1/popular", "window=1h")))[0] != last
    for user in range(3):
        answered(own, tell("POST", "/v1/events", user_id=f"u{user}", item_id=last))
    own._counter.close()  # writes what it has counted
    own.trends._looks.forget()
    slate = answered(own, http("GET", "/v1/popular", "window=1h&explain=true"))
    assert (ids(slate)[0], slate["why"]["segment"], slate["why"]["route"]) == (last, "trending:1h", "popular")
    assert slate["items"][0]["explain"]["source"] == "trending"
    for query in ("window=1h&category=art", "window=1h&segment.gender=F", "window=1y"):
        refused = own(http("GET", "/v1/popular", query))
        assert (refused["statusCode"], body_of(refused)["field"]) == (400, "window")


def test_a_live_store_that_fails_fails_no_slate(own: Edge, capsys: pytest.CaptureFixture[str]) -> None:
    for left in own.settings.home.glob("live.sqlite*"):
        left.unlink()
    (own.settings.home / "live.sqlite").write_bytes(b"this is no database" * 100)
    for event in (post({"user_id": "warm"}), post({}), http("GET", f"/v1/items/{item_id(7)}/similar")):
        slate = answered(own, event)
        assert slate["why"]["degraded"] == ["live_data_old"]
        assert len(slate["items"]) == 10
    assert answered(own, http("GET", "/v1/health"))["status"] == "ok"
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines if line["level"] == "ERROR"] == ["live-data-not-read"]
    assert all(line["live_age_seconds"] is None for line in lines if line["event"] == "request" and "route" in line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["\ud800", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
PARTS = ("rawPath", "rawQueryString", "headers", "requestContext", "isBase64Encoded", "body", "queryStringParameters")
PATHS = st.sampled_from(
    ["/v1/recommendations", "/v1/popular", "/v1/health", "/v1/items", f"/v1/items/{item_id(3)}/similar"]
) | st.builds(
    lambda text, path: path.format(text),
    st.text(max_size=10),
    st.sampled_from(["/v1/users/{}/recommendations", "/v1/users/{}", "/v1/users/{}/merge", "/v1/items/{}"]),
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"])


@given(st.dictionaries(st.sampled_from(PARTS), JSON, max_size=3), PATHS, METHODS)
def test_no_event_whatever_is_a_failure_of_ours(edge: Edge, changes: dict[str, Any], path: str, method: str) -> None:
    _is_answered(edge, http(method, path, body="{}") | changes)


@given(
    st.dictionaries(st.sampled_from(["user_id", "num_items", "filters", "features", "history", "session"]), JSON),
    st.dictionaries(st.sampled_from(["age", "gender", "shoes"]), JSON),
    st.dictionaries(st.sampled_from(["genre", "price", "tags", "title"]), JSON),
)
def test_no_body_whatever_is_a_failure_of_ours(
    edge: Edge, body: dict[str, Any], features: dict[str, Any], filters: dict[str, Any]
) -> None:
    _is_answered(edge, post(json.dumps({"features": features, "filters": filters} | body)))
    _is_answered(edge, post(json.dumps({"features": features})))
    _is_answered(edge, post(json.dumps({"filters": filters})))


@given(st.text(max_size=40), PATHS)
def test_no_query_whatever_is_a_failure_of_ours(edge: Edge, query: str, path: str) -> None:
    _is_answered(edge, http("GET", path, query))


def _is_answered(edge: Edge, event: dict[str, Any]) -> None:
    response = edge(event)
    assert 200 <= response["statusCode"] < 500, response
    answered = body_of(response)
    told = answered.get("status") in ("not-known", "stored", "deleted")
    assert "items" in answered or "release" in answered or told or answered["status"] == response["statusCode"]
