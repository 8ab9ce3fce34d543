"""Events of API Gateway are read part by part; whatever is wrong with one is named."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from contracts.errors import MediaTypeUnsupported, RequestInvalid, RequestTooLarge
from contracts.request import MAX_BODY_BYTES
from lambda_user_tower.payload import MAX_QUERY_CHARACTERS, read_body, read_call, request_id


def event(path: str = "/v1/health", query: str = "", **context: Any) -> dict[str, Any]:
    return {
        "rawPath": path,
        "rawQueryString": query,
        "requestContext": {"http": {"method": "GET"}, "stage": "$default", "requestId": "abc", **context},
    }


BROKEN_EVENTS = {
    "event": [None, [], "text", 7],
    "requestContext": [{}, {"requestContext": None}, {"requestContext": "x"}],
    "requestContext.http": [{"requestContext": {}}, {"requestContext": {"http": []}}],
    "requestContext.http.method": [{"requestContext": {"http": {}}}, {"requestContext": {"http": {"method": 1}}}],
    "rawPath": [{"requestContext": {"http": {"method": "GET"}}}, event() | {"rawPath": 5}],
    "rawQueryString": [event() | {"rawQueryString": 5}],
    "queryStringParameters": [
        event() | {"rawQueryString": None, "queryStringParameters": [1]},
        event() | {"rawQueryString": None, "queryStringParameters": {"a": "\ud800"}},
    ],
}


@pytest.mark.parametrize(("field", "broken"), [(field, one) for field, many in BROKEN_EVENTS.items() for one in many])
def test_a_broken_event_is_named(field: str, broken: object) -> None:
    with pytest.raises(RequestInvalid) as caught:
        read_call(broken)
    assert caught.value.field == field


def test_the_path_of_an_http_api_is_decoded_already() -> None:
    """API Gateway decodes rawPath: what still looks encoded is part of an id."""
    assert read_call(event("/v1/users/ü 100%25/recommendations")).path == "/v1/users/ü 100%25/recommendations"


def test_the_path_of_a_function_url_is_decoded_here() -> None:
    host = {"domainName": "abc.lambda-url.eu-central-1.on.aws"}
    assert (
        read_call(event("/v1/users/%C3%BC%2Fa%2541/recommendations", **host)).path == "/v1/users/ü/a%41/recommendations"
    )
    with pytest.raises(RequestInvalid, match="rawPath"):
        read_call(event("/v1/users/%FF/recommendations", **host))


def test_a_named_stage_is_taken_off() -> None:
    assert read_call(event("/prod/v1/health", stage="prod")).path == "/v1/health"
    assert read_call(event("/v1/health", stage="prod")).path == "/v1/health"
    assert read_call(event("/v1/health", stage=7)).path == "/v1/health"


def test_a_hand_written_event_may_have_only_the_parts_of_its_query() -> None:
    broken = event() | {"rawQueryString": None, "queryStringParameters": {"exclude_ids": "ü,b", "x": "a&b"}}
    assert read_call(broken).query == "exclude_ids=%C3%BC,b&x=a%26b"


def test_a_query_that_is_too_long_is_not_read() -> None:
    with pytest.raises(RequestTooLarge, match="rawQueryString"):
        read_call(event(query="x" * (MAX_QUERY_CHARACTERS + 1)))


def test_the_request_id_is_the_gateways_or_lambdas_or_random() -> None:
    class Context:
        aws_request_id = "lambda-id"

    assert request_id(event(), Context()) == "abc"
    assert request_id({}, Context()) == "lambda-id"
    for hostile in (event(requestId="a\nb"), event(requestId="x" * 129), event(requestId=7), None, event(requestId="")):
        assert len(request_id(hostile, None)) == 32
        assert request_id(hostile, None) != request_id(hostile, None)


def posted(body: object, encoded: object = False, **headers: str) -> dict[str, Any]:
    return event() | {"body": body, "isBase64Encoded": encoded, "headers": headers}


def test_bodies_are_read_as_text_or_base64() -> None:
    assert read_body(posted("ü")) == "ü".encode()
    assert read_body(posted(b64encode(b"\xff{}").decode(), encoded=True)) == b"\xff{}"
    assert read_body(event() | {"body": "{}"}) == b"{}"
    assert read_body({"body": "{}", "headers": None}) == b"{}"


@pytest.mark.parametrize("body", [None, 5, {}, "\ud800"])
def test_a_missing_or_mistyped_body_is_named(body: object) -> None:
    with pytest.raises(RequestInvalid) as caught:
        read_body(posted(body))
    assert caught.value.field == "body"


@pytest.mark.parametrize("body", ["e", "e30", "e30=e30=", "e3 0=", "é===", "e30=\n", "*"])
def test_base64_that_is_none_is_named(body: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        read_body(posted(body, encoded=True))
    assert caught.value.field == "body"


def test_a_flag_that_is_none_is_named() -> None:
    with pytest.raises(RequestInvalid) as caught:
        read_body(posted("{}", encoded="yes"))
    assert caught.value.field == "isBase64Encoded"


def test_the_limit_of_a_body_counts_its_bytes() -> None:
    assert len(read_body(posted("a" * MAX_BODY_BYTES))) == MAX_BODY_BYTES
    assert len(read_body(posted(b64encode(b"a" * MAX_BODY_BYTES).decode(), encoded=True))) == MAX_BODY_BYTES
    for body, encoded in (
        ("a" * (MAX_BODY_BYTES + 1), False),
        ("ü" * (MAX_BODY_BYTES // 2 + 1), False),
        (b64encode(b"a" * (MAX_BODY_BYTES + 1)).decode(), True),
        ("*" * 10_000_000, True),  # refused for its length before it is looked at
    ):
        with pytest.raises(RequestTooLarge) as caught:
            read_body(posted(body, encoded))
        assert caught.value.field == "body"


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "Application/JSON; charset=utf-8", "application/vnd.tandem+json", "application/json ;x"],
)
def test_json_by_any_of_its_names_is_read(media_type: str) -> None:
    assert read_body(posted("{}", **{"content-type": media_type})) == b"{}"


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "", "json", 5]
)
def test_another_media_type_is_refused(media_type: Any) -> None:
    with pytest.raises(MediaTypeUnsupported) as caught:
        read_body(posted("{}", **{"content-type": media_type}))
    assert caught.value.field == "content-type"


def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(MediaTypeUnsupported) as caught:
        read_body(posted("H4sI", encoded=True, **{"content-encoding": "gzip"}))
    assert caught.value.field == "content-encoding"
