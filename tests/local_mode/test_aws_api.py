"""Signed calls of an API that recomputes every signature, and what is said where it does not let anybody in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import AwsCallFailed, TandemError
from index_loader.publish import publish
from local_mode.aws.account import Account
from local_mode.aws.api import Api
from stores.releases import LocalReleases
from tests.index_loader.worlds import seal
from tests.local_mode.aws_deployment import serving, signed_api
from tests.toy_world import toy_model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    store = LocalReleases(home)
    publish(store, seal(store, toy_model()), None, None)
    return home


@pytest.fixture
def account(moto_endpoint: str) -> Iterator[Account]:
    account = Account()
    yield account
    account.close()


@pytest.fixture
def api(home: Path, account: Account) -> Iterator[Api]:
    with signed_api(home) as url:
        yield Api(url, account)


def test_a_signed_call_gets_a_slate(api: Api) -> None:
    slate = api.recommend({"user_id": "zoë ü", "num_items": 5, "explain": True})
    assert len(slate["items"]) == 5
    assert slate["why"]["route"] == "unknown"
    assert api.health()["status"] == "ok"


def test_an_event_is_in_the_next_slate(api: Api) -> None:
    first = api.recommend({"user_id": "u_events", "num_items": 3})["items"][0]["item_id"]
    told = {"user_id": "u_events", "item_id": first, "event_type": "click"}
    assert api.send([told, {"user_id": "u_events", "item_id": "nothing"}])["counts"] == {
        "accepted": 1,
        "unknown-item": 1,
    }
    after = api.recommend({"user_id": "u_events", "num_items": 3})
    assert first not in [item["item_id"] for item in after["items"]]
    assert after["why"]["route"] != "unknown"


def test_a_problem_keeps_its_code(api: Api) -> None:
    with pytest.raises(TandemError, match="POST /v1/recommendations: num_items") as caught:
        api.recommend({"num_items": 0})
    assert caught.value.code == "request-invalid"
    with pytest.raises(TandemError) as caught:
        api.call("GET", "/v1/nothing")
    assert caught.value.code == "not-found"


def test_nothing_published_is_said_as_the_api_says_it(account: Account, tmp_path: Path) -> None:
    with signed_api(tmp_path) as url, pytest.raises(TandemError) as caught:
        Api(url, account).health()
    assert caught.value.code == "no-release"


def test_other_credentials_are_not_let_in(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    stranger = Account()
    with pytest.raises(AwsCallFailed, match="403: Forbidden") as caught:
        Api(api.url, stranger).health()
    assert "execute-api:Invoke" in caught.value.fix


def test_a_signature_is_of_this_very_request(home: Path, account: Account) -> None:
    """The verifier of these tests verifies: what changes on the way is refused, and what does not is answered."""
    with signed_api(home) as url, serving(_altering(url, {})) as between:
        assert len(Api(between, account).recommend({"num_items": 2})["items"]) == 2
    for change in ({"rawPath": "/v1/popular"}, {"body": '{"num_items":1}'}):
        with signed_api(home) as url, serving(_altering(url, change)) as between, pytest.raises(AwsCallFailed):
            Api(between, account).recommend({"num_items": 2})


def _altering(url: str, change: dict[str, Any]) -> Any:
    """A proxy that passes requests on under the host that was signed, with a change."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    def handler(event: dict[str, Any], _: object) -> dict[str, Any]:
        event = event | change
        method = event["requestContext"]["http"]["method"]
        names = {name: value for name, value in event["headers"].items() if name != "content-length"}
        request = Request(f"{url}{event['rawPath']}", event["body"].encode(), names, method=method)  # noqa: S310
        try:
            with urlopen(request) as answer:  # noqa: S310  # the loopback
                return {"statusCode": answer.status, "headers": {}, "body": answer.read().decode()}
        except HTTPError as error:
            with error:
                return {"statusCode": error.code, "headers": {}, "body": error.read().decode()}

    return handler


@pytest.mark.parametrize("body", ["<html>", "[]", ""])
def test_what_is_no_answer_of_ours_is_said(body: str, account: Account) -> None:
    with (
        serving(lambda *_: {"statusCode": 502, "headers": {}, "body": body}) as url,
        pytest.raises(AwsCallFailed, match="answered 502 and no JSON object"),
    ):
        Api(url, account).health()


def test_an_api_out_of_reach_is_said(account: Account) -> None:
    with pytest.raises(AwsCallFailed, match=r"127\.0\.0\.1:9"):
        Api("http://127.0.0.1:9", account).health()


def test_events_that_could_not_be_written_are_answered_and_not_raised(account: Account) -> None:
    answer = '{"results":[{"status":"not-written","retry":true}],"counts":{"not-written":1}}'
    with serving(lambda *_: {"statusCode": 503, "headers": {}, "body": answer}) as url:
        assert Api(url, account).send([{"user_id": "u", "item_id": "i"}])["results"][0]["retry"]
