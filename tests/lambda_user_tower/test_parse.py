"""Bodies and query strings become typed requests, or a RequestInvalid that names the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import RequestInvalid
from contracts.request import MAX_EXCLUDED, Range, RecommendationRequest
from lambda_user_tower.parse import parse_body, parse_popular, parse_similar, parse_user

HALF_A_PAIR = b"\\ud800"
NESTED = b"[" * 10_000

BAD_BODIES = {
    "body": [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"user_id": "a"',
        b'{"user_id": "a"} {}',
        b"\xef\xbb\xbf{}",
        b'{"user_id": "\xff"}',
        b'{"user_id": "a\x00b"}',
        "{}".encode("utf-16"),
        NESTED,
        b'{"num_items": NaN}',
        b'{"num_items": Infinity}',
        b'{"num_items": -Infinity}',
        b"{'user_id': 'a'}",
        b'{"' + HALF_A_PAIR + b'": 1}',
        b'{"": 1}',
        b'{"features": {"": 1, "": 2}}',
    ],
    "num_items": [
        b'{"num_items": %s}' % number
        for number in (
            b"0",
            b"-1",
            b"101",
            b"1000000000",
            b"1.5",
            b"1e9",
            b'"10"',
            b"true",
            b"null",
            b"[]",
            b"9" * 5000,
        )
    ],
    "user_id": [
        b'{"user_id": ""}',
        b'{"user_id": 7}',
        b'{"user_id": "' + b"a" * 129 + b'"}',
        b'{"user_id": "' + HALF_A_PAIR + b'"}',
        b'{"user_id": "a", "user_id": "b"}',
        b'{"user_id": "a", "\\u0075ser_id": "b"}',
    ],
    "surprise": [b'{"surprise": 1}', b'{"surprise": ' + NESTED],
    "features": [b'{"features": []}', b'{"features": ' + NESTED, b'{"features": {"' + b"k" * 257 + b'": 1}}'],
    "features.age": [
        b'{"features": {"fine": 1, "age": 1e999}}',
        b'{"features": {"fine": 1, "age": ' + b"9" * 400 + b"}}",
        b'{"features": {"fine": 1, "age": {"a": 1}}}',
        b'{"features": {"age": "' + HALF_A_PAIR + b'"}}',
    ],
    "features.age[1]": [b'{"features": {"fine": ["x"], "age": ["x", 3]}}'],
    "age": [b'{"features": {"age": 1, "age": 2}}'],
    "filters.genre": [b'{"filters": {"genre": 5}}', b'{"filters": {"a": "x", "genre": []}}'],
    "filters.price.gte": [b'{"filters": {"price": {"gte": "a"}}}', b'{"filters": {"price": {"gte": 1e999}}}'],
    "filters.price.over": [b'{"filters": {"price": {"over": 1}}}'],
    "history[1].item_id": [
        b'{"history": [{"item_id": "a"}, {"item_id": 4}]}',
        b'{"history": [{"item_id": "a"}, {}]}',
        b'{"history": [{"item_id": "a"}, {"item_id": "' + HALF_A_PAIR + b'"}]}',
    ],
    "history[0].timestamp": [
        b'{"history": [{"item_id": "a", "timestamp": %s}]}' % moment
        for moment in (b"-1", b"1e999", b"4102444801", b'"1"')
    ],
    "history": [b'{"history": [%s]}' % b",".join([b'{"item_id": "a"}'] * 201)],
    "session.history": [b'{"session": {"history": null}}'],
    "session.history[0].colour": [b'{"session": {"history": [{"item_id": "a", "colour": "red"}]}}'],
    "exclude_ids": [json.dumps({"exclude_ids": ["a"] * (MAX_EXCLUDED + 1)}).encode()],
    "exclude_ids[0]": [
        b'{"exclude_ids": [""]}',
        b'{"exclude_ids": [null]}',
        b'{"exclude_ids": ["' + HALF_A_PAIR + b'"]}',
    ],
    "prefer": [b'{"prefer": "old"}', b'{"prefer": true}'],
    "explain": [b'{"explain": 1}', b'{"explain": "true"}', b'{"explain": null}'],
}


@pytest.mark.parametrize(("field", "body"), [(field, body) for field, bodies in BAD_BODIES.items() for body in bodies])
def test_a_bad_body_names_the_field(field: str, body: bytes) -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse_body(body)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


def test_a_full_body_is_read() -> None:
    body = {
        "user_id": "ü\x00/\u202e",
        "num_items": 3,
        "history": [{"item_id": "a", "event_type": "buy", "timestamp": 1.5}],
        "features": {"age": 30, "country": "DE", "tags": ["x"], "member": True, "city": None},
        "filters": {"genre": ["a", "b"], "price": {"gte": 1, "lte": 2.5}, "brand": "c"},
        "exclude_ids": ["z"],
        "session": {"history": [{"item_id": "b"}], "session_id": "s"},
        "prefer": "new",
        "explain": True,
    }
    request = parse_body(json.dumps(body).encode())
    assert json.loads(msgspec.json.encode(request)) == body | {
        "history": [body["history"][0]],
        "session": {"history": [{"item_id": "b", "event_type": None, "timestamp": None}], "session_id": "s"},
    }
    assert request.filters["price"] == Range(gte=1, lte=2.5)


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused(body: bytes) -> None:
    _parses_or_names_a_field(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*RecommendationRequest.__struct_fields__, "item_id", "gte", "surprise"])


@given(st.dictionaries(FIELDS, JSON | st.dictionaries(FIELDS, JSON, max_size=2) | st.lists(JSON), max_size=4))
def test_any_object_parses_or_is_refused(body: dict[str, object]) -> None:
    _parses_or_names_a_field(json.dumps(body).encode(errors="surrogatepass"))


def _parses_or_names_a_field(body: bytes) -> None:
    if (request := _read_or_field(lambda: parse_body(body))) is not None:
        assert parse_body(msgspec.json.encode(request)) == request


def _read_or_field(read: Callable[[], Any]) -> Any:
    """What was read, or None where it was refused by name; nothing else may happen."""
    refused: RequestInvalid | None = None
    try:
        return read()
    except RequestInvalid as error:
        refused = error
    assert refused.field
    return None


def test_query_parameters_are_read() -> None:
    request = parse_user(
        "u",
        "num_items=3&explain=true&prefer=new&filter.genre=a%26b&filter.tag=x&filter.tag=y+z&exclude_ids=a,b%2Cc&exclude_ids=d",
    )
    assert request == RecommendationRequest(
        user_id="u",
        num_items=3,
        explain=True,
        prefer="new",
        filters={"genre": "a&b", "tag": ["x", "y z"]},
        exclude_ids=["a", "b,c", "d"],
    )
    assert parse_user("u", "") == RecommendationRequest(user_id="u")
    assert parse_user("u", "&&") == RecommendationRequest(user_id="u")
    assert parse_popular("category=a&segment.gender=F&segment.age=30").segment == {"gender": "F", "age": "30"}
    assert parse_similar("i", "num_items=100").num_items == 100


BAD_QUERIES = {
    "num_items": ["0", "-1", "101", "1000000000", "9" * 5000, "1.5", "1e3", "", "+1", "%31", "1_0", "true", "١"],
    "explain": ["1", "True", "", "null"],
    "prefer": ["old", ""],
    "exclude_ids": ["a," * (MAX_EXCLUDED + 1), "%ff", "%", "%g0", "a%ED%A0%80"],
    "exclude_ids[1]": ["a," + "b" * 129],
    "filter.x": ["%ff", "100%"],
    "filters.x": ["a" * 257],
    "surprise": ["1", ""],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD_QUERIES.items() for value in values]
)
def test_a_bad_query_parameter_is_named(field: str, value: str) -> None:
    name = {"filters.x": "filter.x", "exclude_ids[1]": "exclude_ids"}.get(field, field)
    with pytest.raises(RequestInvalid) as caught:
        parse_user("u", f"{name}={value}")
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["num_items", "explain", "prefer"])
def test_a_parameter_given_twice_is_named(name: str) -> None:
    value = {"num_items": "1", "explain": "true", "prefer": "new"}[name]
    with pytest.raises(RequestInvalid) as caught:
        parse_user("u", f"{name}={value}&{name}={value}")
    assert caught.value.field == name


@pytest.mark.parametrize("query", ["=", "=1", "&=&"])
def test_a_parameter_without_a_name_is_refused(query: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse_popular(query)
    assert caught.value.field == "rawQueryString"


def test_a_segment_feature_has_one_value() -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse_popular("segment.gender=F&segment.gender=M")
    assert caught.value.field == "segment.gender"


@pytest.mark.parametrize("identifier", ["", "a" * 129, "\ud800"])
def test_an_id_in_a_path_has_the_limits_of_the_body(identifier: str) -> None:
    with pytest.raises(RequestInvalid) as caught:
        parse_user(identifier, "")
    assert caught.value.field == "user_id"
    with pytest.raises(RequestInvalid) as caught:
        parse_similar(identifier, "")
    assert caught.value.field == "item_id"


@given(st.lists(st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()), max_size=5))
def test_excluded_ids_survive_their_encoding(ids: list[str]) -> None:
    query = "exclude_ids=" + ",".join(quote(identifier, safe="") for identifier in ids)
    assert parse_user("u", query).exclude_ids == ids


@given(st.text(max_size=60))
def test_any_query_parses_or_is_refused(query: str) -> None:
    for read in (lambda: parse_user("u", query), lambda: parse_similar("i", query), lambda: parse_popular(query)):
        _read_or_field(read)
