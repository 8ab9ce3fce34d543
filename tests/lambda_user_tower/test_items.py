"""Items told by clients, through the real edge: found by their content, hidden everywhere, and every refusal named."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import LiveDataUnavailable
from contracts.fitted import FittedModel
from contracts.live import MAX_LIVE_FEATURES_BYTES, LiveItem, features_digest
from contracts.profile import HistoryEvent
from contracts.request import MAX_ITEMS_PUT
from lambda_user_tower.edge import Edge
from lambda_user_tower.items_parse import MAX_ITEMS_BODY_BYTES
from lambda_user_tower.settings import LambdaSettings
from retrieval.settings import RetrievalSettings
from stores.dynamodb_fresh_items import DynamoDBFreshItems
from stores.fresh_items import Put, SqliteFreshItems
from stores.profiles import SqliteProfiles
from tests.lambda_user_tower.conftest import body_of, http, let_in_as, post, publish, seal
from tests.stores.live_worlds import new_live_table
from tests.toy_world import NOW, item_id

ART = {"genre": "art", "title": "Toy art", "price": 3.0}


def tell(method: str, path: str, body: object) -> dict[str, Any]:
    """A call about items."""
    return http(method, path, body=body if isinstance(body, str) else json.dumps(body))


def put(name: str, features: object) -> dict[str, Any]:
    return tell("PUT", f"/v1/items/{name}", {"features": features})


def put_all(*items: object) -> dict[str, Any]:
    return tell("POST", "/v1/items", {"items": items})


def patch(name: str, **state: object) -> dict[str, Any]:
    return tell("PATCH", f"/v1/items/{name}", state)


class Shop:
    """An edge over a published toy world, and whose time passes when a test says so."""

    def __init__(self, home: Path, **changes: Any) -> None:
        self.home = home
        self.edge = Edge(LambdaSettings(home=home, budget_ms=20_000, log_level="ERROR", **changes))

    def ask(self, event: dict[str, Any]) -> Any:
        response = self.edge(event)
        assert response["statusCode"] == 200, response
        return body_of(response)

    def refusal(self, event: dict[str, Any]) -> tuple[int, str, str, str]:
        """Status, code, field and detail of a problem."""
        response = self.edge(event)
        problem = body_of(response)
        code = problem["type"].rpartition(":")[2]
        return response["statusCode"], code, problem.get("field", ""), problem["detail"]

    def look(self) -> None:
        """Have the store looked at, as happens by itself within seconds."""
        self.edge.live.looks.forget()
        assert self.edge.live.looks.refresh(10)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, toy: FittedModel) -> Path:
    """A folder with one publication, and the profile of a user who likes art."""
    home = tmp_path_factory.mktemp("sealed")
    publish(home, seal(home, toy))
    with SqliteProfiles(home / "profiles.sqlite") as profiles:
        profiles.append("art lover", [HistoryEvent(item_id(row), NOW - 100 + row) for row in range(0, 60, 5)])
    return home


@pytest.fixture
def open_shop(sealed: Path, tmp_path: Path) -> Iterator[Callable[..., Shop]]:
    shops: list[Shop] = []

    def opened(**changes: Any) -> Shop:
        home = tmp_path / str(len(shops))
        shutil.copytree(sealed, home)
        shops.append(Shop(home, **changes))
        return shops[-1]

    yield opened
    for shop in shops:
        shop.edge.close()


@pytest.fixture
def shop(open_shop: Callable[..., Shop]) -> Shop:
    return open_shop()


def ids(slate: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in slate["items"]]


def everywhere(shop: Shop, like: str) -> dict[str, list[str]]:
    """The ids of every way to be served."""
    asked = {
        "model": post({"user_id": "art lover", "num_items": 100}),
        "session": post({"session": {"history": [{"item_id": item_id(0)}]}, "num_items": 100}),
        "stranger": post({"num_items": 100}),
        "new": post({"user_id": "nobody", "features": {"gender": "F"}, "prefer": "new", "num_items": 100}),
        "filtered": post({"filters": {"genre": "art"}, "num_items": 50}),
        "similar": http("GET", f"/v1/items/{like}/similar", "num_items=100"),
        "popular": http("GET", "/v1/popular", "num_items=100"),
        "category": http("GET", "/v1/popular", "num_items=40&category=art"),
        "trending": http("GET", "/v1/popular", "num_items=100&window=7d"),
    }
    return {name: ids(shop.ask(event)) for name, event in asked.items()}


def test_a_new_item_is_found_by_its_content_after_a_look(shop: Shop) -> None:
    assert shop.ask(http("GET", "/v1/health"))["fresh_items"] == 0
    told = shop.ask(put("new", ART))
    assert told == {"item_id": "new", "status": "fresh", "release": shop.edge.serving.pin().publication.release}
    shop.look()
    health = shop.ask(http("GET", "/v1/health"))
    assert (health["fresh_items"], health["n_items"]) == (1, 200)
    assert health["live_age_seconds"] < 5
    near = ids(shop.ask(http("GET", "/v1/items/new/similar", "num_items=5")))
    assert {int(name[1:]) % 5 for name in near} == {0}  # art
    slate = shop.ask(post({"user_id": "art lover", "num_items": 100, "explain": True}))
    (place,) = [item for item in slate["items"] if item["item_id"] == "new"]
    assert place["explain"]["source"] in ("fresh", "neighbour", "explored")
    filtered = shop.ask(post({"filters": {"genre": "art", "price": {"gte": 3, "lte": 3}}, "num_items": 50}))
    assert "new" in ids(filtered)


def test_what_is_told_is_encoded_for_the_release_that_serves(shop: Shop) -> None:
    shop.ask(put("new", ART))
    with SqliteFreshItems(shop.home / "live.sqlite") as store:
        kept = store.get(["new"])["new"]
    release = shop.edge.serving.pin().publication.release
    assert (kept.features, kept.digest) == (ART, features_digest(ART))
    assert set(kept.encodings) == {release}
    assert kept.encodings[release].digest == kept.digest
    assert shop.edge.serving.pin().overlay._made == {}  # nothing was left to encode


@pytest.mark.parametrize(("share", "places"), [(0.3, 3), (0.0, 0)])
def test_a_share_of_the_slate_goes_to_items_without_events_and_why_says_so(
    open_shop: Callable[..., Shop], share: float, places: int
) -> None:
    shop = open_shop(retrieval=RetrievalSettings(exploration_share=share))
    shop.ask(put_all(*({"item_id": f"n{number}", "features": {"genre": "dogs"}} for number in range(20))))
    shop.look()
    slate = shop.ask(post({"user_id": "art lover", "explain": True}))
    sources = [item["explain"]["source"] for item in slate["items"]]
    assert [source == "explored" for source in sources] == [False] * (10 - places) + [True] * places
    assert slate["why"]["explored"] == places
    assert all(name.startswith("n") for name in ids(slate)[10 - places :])


def test_told_anew_it_is_another(shop: Shop) -> None:
    shop.ask(put("new", ART))
    shop.ask(put("new", {"genre": "cars", "title": "Toy cars"}))
    shop.look()
    near = ids(shop.ask(http("GET", "/v1/items/new/similar", "num_items=5")))
    assert {int(name[1:]) % 5 for name in near} == {2}


def test_what_is_hidden_or_out_of_stock_is_on_no_path(shop: Shop) -> None:
    shop.ask(put("new", ART))
    shop.look()
    before = everywhere(shop, item_id(5))
    assert all(item_id(0) in served for name, served in before.items() if name not in ("model", "session", "new"))
    assert sum("new" in served for served in before.values()) >= 4
    for name, state in (("new", {"hidden": True}), (item_id(0), {"hidden": True}), (item_id(3), {"available": False})):
        answer = shop.ask(patch(name, **state))
        assert answer == {"item_id": name, "available": None, "hidden": False, "within_seconds": 15} | state
    shop.look()
    after = everywhere(shop, item_id(5))
    assert {name: served for name, served in after.items() if {"new", item_id(0), item_id(3)} & set(served)} == {}
    for name in ("new", item_id(0), item_id(3)):
        shop.ask(patch(name, hidden=False, available=None))
    shop.look()
    assert everywhere(shop, item_id(5)) == before


def test_what_training_held_for_sold_out_is_served_once_it_is_back(shop: Shop) -> None:
    assert item_id(1) not in ids(shop.ask(http("GET", "/v1/popular", "num_items=100")))
    shop.ask(patch(item_id(1), available=True))
    shop.look()
    assert ids(shop.ask(http("GET", "/v1/popular", "num_items=100")))[1] == item_id(1)


def test_an_item_of_the_release_is_known_and_keeps_its_vector(shop: Shop) -> None:
    before = ids(shop.ask(http("GET", f"/v1/items/{item_id(5)}/similar")))
    assert shop.ask(put(item_id(5), {"genre": "cars"}))["status"] == "known"
    shop.look()
    assert ids(shop.ask(http("GET", f"/v1/items/{item_id(5)}/similar"))) == before
    assert shop.ask(http("GET", "/v1/health"))["fresh_items"] == 0


@pytest.mark.parametrize(
    ("event", "field", "says"),
    [
        (put("x", {}), "features", "genre"),
        (put("x", {"genre": None, "title": None}), "features", "nothing is told"),
        (put("x", {"genre": "", "tags": []}), "features", "nothing is told"),
        (put("x", {"genre": "art", "colour": "red"}), "features.colour", "published, tags, title"),
        (put("x", {"price": "cheap"}), "features.price", "numeric"),
        (put("x", {"price": True}), "features.price", "numeric"),
        (put("x", {"published": 1e15}), "features.published", "Unix seconds"),
        (put("x", {"title": ["a"]}), "features.title", "text"),
        (put("x", {"genre": ["a", "b"]}), "features.genre", "categorical"),
        (put("x", {"tags": [1]}), "features.tags[0]", "str"),
        (put("x", {"title": "a" * 4_001}), "features.title", "4000"),
        (put("x", {"title": "é" * 3_999, "genre": "ß" * 3_999}), "features", f"{MAX_LIVE_FEATURES_BYTES} bytes"),
        (put("x", None), "features", "object"),
        (put("", ART), "item_id", "length"),
        (put("ü" * 65, ART), "item_id", "130 bytes"),
        (put("a" * 129, ART), "item_id", "length"),
        (put("\ud800", ART), "item_id", "surrogate"),
        (tell("PUT", "/v1/items/x", {}), "features", "missing"),
        (tell("PUT", "/v1/items/x", {"features": ART, "hidden": True}), "hidden", "unknown"),
        (tell("PUT", "/v1/items/x", '{"features": {"genre": "a", "genre": "b"}}'), "genre", "more than once"),
        (tell("PATCH", "/v1/items/x", {}), "body", "nothing is to change"),
        (tell("PATCH", "/v1/items/x", {"hidden": None}), "hidden", "bool"),
        (tell("PATCH", "/v1/items/x", {"stock": 3}), "stock", "unknown"),
        (tell("POST", "/v1/items", {"items": []}), "items", "length"),
        (tell("POST", "/v1/items", {"items": [{}] * (MAX_ITEMS_PUT + 1)}), "items", "length"),
        (tell("POST", "/v1/items", '{"items": [{}], "items": [{}]}'), "items", "more than once"),
        (http("PUT", "/v1/items/x"), "body", "none"),
    ],
)
def test_a_mistake_is_a_400_that_names_the_field(shop: Shop, event: dict[str, Any], field: str, says: str) -> None:
    status, code, found, detail = shop.refusal(event)
    assert (status, code, found) == (400, "request-invalid", field), detail
    assert says in detail
    shop.look()
    assert shop.ask(http("GET", "/v1/health"))["fresh_items"] == 0


def test_other_mistakes_have_their_status(shop: Shop) -> None:
    assert shop.refusal(patch("never told", hidden=True))[:2] == (404, "item-not-found")
    assert shop.refusal(tell("POST", "/v1/items", " " * (MAX_ITEMS_BODY_BYTES + 1)))[:2] == (413, "request-too-large")
    for event in (put("x", ART), put_all({"item_id": "x", "features": ART}), patch(item_id(0), hidden=True)):
        as_a_user = event | {"requestContext": let_in_as("u", event["requestContext"]["http"]["method"])}
        assert shop.refusal(as_a_user)[:2] == (403, "user-forbidden")
    shop.look()
    assert shop.edge.live.items == {}


def test_an_item_of_which_the_release_knows_no_word_is_kept_and_found_last(shop: Shop) -> None:
    shop.ask(put("strange", {"genre": "never heard of", "title": "Zyzzyva"}))
    shop.look()
    filtered = post({"user_id": "art lover", "num_items": 100, "explain": True})
    assert "strange" not in ids(shop.ask(filtered))[:20]
    assert len(ids(shop.ask(http("GET", "/v1/items/strange/similar")))) == 10


def test_each_of_a_batch_has_its_own_answer(shop: Shop) -> None:
    answer = shop.ask(
        put_all(
            {"item_id": "a", "features": ART},
            {"item_id": "b", "features": {"colour": "red"}},
            {"item_id": item_id(0), "features": ART},
            {"features": ART},
            {"item_id": "c", "features": {}},
            "no object",
            {"item_id": "ü" * 65, "features": ART},
            {"item_id": "a", "features": {"genre": "cars"}},
        )
    )
    results = answer["results"]
    assert [one["status"] for one in results] == [
        *("fresh", "invalid", "known", "invalid", "invalid", "invalid", "invalid", "fresh"),
    ]
    assert [one.get("field") for one in results if one["status"] == "invalid"] == [
        *("items[1].features.colour", "items[3].item_id", "items[4].features", "items[5].body", "items[6].item_id"),
    ]
    assert answer["counts"] == {"fresh": 2, "invalid": 5, "known": 1}
    shop.look()
    assert shop.edge.live.items["a"].features == {"genre": "cars"}  # of two the later
    assert set(shop.edge.live.items) == {"a", item_id(0)}


def test_a_store_that_fails_takes_nothing_and_says_so(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise LiveDataUnavailable("the store does not answer.")

    monkeypatch.setattr(SqliteFreshItems, "put", failing)
    monkeypatch.setattr(SqliteFreshItems, "patch", failing)
    assert shop.refusal(put("a", ART))[:2] == (503, "live-data-unavailable")
    assert shop.refusal(patch(item_id(0), hidden=True))[:2] == (503, "live-data-unavailable")
    response = shop.edge(put_all({"item_id": "a", "features": ART}, {"item_id": "b", "features": {}}))
    assert response["statusCode"] == 503
    assert [(one["status"], one.get("retry", False)) for one in body_of(response)["results"]] == [
        ("not-written", True),
        ("invalid", False),
    ]


def test_nothing_published_is_a_503(tmp_path: Path) -> None:
    with closing(Edge(LambdaSettings(home=tmp_path / "empty"))) as edge:
        assert body_of(edge(put("a", ART)))["type"] == "urn:tandem:problem:no-release"
    assert not (tmp_path / "empty").exists()


def test_ten_thousand_at_once_the_first_ones_are_found_and_the_rest_waits(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(retrieval=RetrievalSettings(fresh_items=150))
    names = [f"n{number:05d}" for number in range(10_000)]
    statuses: list[str] = []
    for first in (0, 100, 200, 9_900):
        if first == 9_900:  # what other processes took in meanwhile
            with SqliteFreshItems(shop.home / "live.sqlite") as store:
                items = (LiveItem(item_id=name, features=ART, digest=features_digest(ART)) for name in names[300:9_900])
                store.put([Put(item) for item in items], int(time.time()))
        batch = [{"item_id": name, "features": ART} for name in names[first : first + MAX_ITEMS_PUT]]
        statuses += [one["status"] for one in shop.ask(put_all(*batch))["results"]]
    assert statuses == ["fresh"] * 150 + ["waiting"] * 250
    shop.look()
    assert len(shop.edge.live.items) == 10_000
    assert shop.ask(http("GET", "/v1/health"))["fresh_items"] == 150
    assert shop.refusal(http("GET", f"/v1/items/{names[150]}/similar"))[:2] == (404, "item-not-found")
    assert shop.ask(put(names[0], ART | {"price": 9}))["status"] == "fresh"  # told anew, it keeps its place
    assert shop.ask(put(names[150], ART))["status"] == "waiting"
    with SqliteFreshItems(shop.home / "live.sqlite") as store:
        store.remove(names[:100])  # as if a night had taken them in
    shop.edge.live.start_over()
    shop.look()
    assert shop.ask(http("GET", f"/v1/items/{names[150]}/similar"))["items"]
    assert shop.ask(put(names[150], ART))["status"] == "fresh"


def test_fresh_items_stay_while_the_next_release_takes_over(open_shop: Callable[..., Shop], toy: FittedModel) -> None:
    shop = open_shop(pointer_check_seconds=0)
    shop.ask(put("new", ART))
    shop.look()
    release = seal(shop.home, toy)
    publish(shop.home, release)
    give_up = time.monotonic() + 30
    while shop.ask(http("GET", "/v1/items/new/similar"))["why"]["release"] != release:  # found by every answer
        assert time.monotonic() < give_up, "it never took over"
    shop.edge.encoders.look_now(30)
    assert shop.ask(put("newer", ART)) == {"item_id": "newer", "status": "fresh", "release": release}


@pytest.fixture
def table_in_aws(moto_endpoint: str) -> Iterator[DynamoDBFreshItems]:
    client = boto3.client("dynamodb", endpoint_url=moto_endpoint)
    with closing(DynamoDBFreshItems(new_live_table(client), client)) as store:
        yield store
    client.close()


def test_over_dynamodb_it_is_the_same(shop: Shop, table_in_aws: DynamoDBFreshItems) -> None:
    shop.edge.storage.__dict__["fresh_items"] = table_in_aws
    assert shop.ask(put("new", ART))["status"] == "fresh"
    batch = [{"item_id": f"n{number}", "features": ART} for number in range(MAX_ITEMS_PUT)]
    assert shop.ask(put_all(*batch))["counts"] == {"fresh": MAX_ITEMS_PUT}
    shop.ask(patch(item_id(0), hidden=True))
    shop.look()
    assert shop.ask(http("GET", "/v1/health"))["fresh_items"] == MAX_ITEMS_PUT + 1
    near = ids(shop.ask(http("GET", "/v1/items/new/similar", "num_items=100")))
    assert {"n0", "n50"} <= set(near)
    assert item_id(0) not in near
    shop.ask(patch("new", hidden=True))
    shop.look()
    assert "new" not in ids(shop.ask(http("GET", "/v1/items/n0/similar", "num_items=100")))
    assert shop.refusal(patch("never told", hidden=True))[:2] == (404, "item-not-found")


FEATURES = st.dictionaries(
    st.sampled_from(["genre", "tags", "title", "price", "published", "expires", "available", "colour"]),
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers()
    | st.text(max_size=9)
    | st.lists(st.text()),
    max_size=8,
)


@given(st.lists(FEATURES, min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_whatever_is_told_is_refused_or_served_with_the_rest(shop: Shop, told: list[dict[str, Any]]) -> None:
    response = shop.edge(put_all(*({"item_id": str(n), "features": one} for n, one in enumerate(told))))
    assert response["statusCode"] == 200
    right = {str(n) for n, one in enumerate(body_of(response)["results"]) if one["status"] == "fresh"}
    shop.look()
    assert right <= set(shop.edge.live.items)
    assert shop.ask(post({"user_id": "art lover", "filters": {"price": {"gte": 0}}}))["why"]["degraded"] == []
