"""Any request that is right gets a full slate: distinct items, none barred, all within the filters."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contracts.fitted import FittedModel
from contracts.slate import Route
from lambda_user_tower.edge import Edge
from tests.lambda_user_tower.conftest import body_of, post
from tests.toy_world import NOW, item_id

ROWS = st.integers(0, 230)  # the last thirty name items that nobody knows
EVENT = st.fixed_dictionaries(
    {"item_id": ROWS.map(item_id)},
    optional={
        "event_type": st.sampled_from(["view", "buy", ""]),
        "timestamp": st.none() | st.floats(0, 4_102_444_800) | st.integers(NOW - 10**6, NOW + 10**6),
    },
)
HISTORY = st.lists(EVENT, max_size=12)
ANY_NUMBER = st.floats(allow_nan=False, allow_infinity=False)
REQUEST = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.sampled_from(["warm", "cool", "nobody"]) | st.text(min_size=1, max_size=5),
        "num_items": st.integers(1, 100),
        "history": st.none() | HISTORY,
        "session": st.none() | st.fixed_dictionaries({"history": HISTORY}),
        "features": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "gender": st.none() | st.sampled_from(["F", "M", "x", "", True, 1.0]),
                "age": st.none() | ANY_NUMBER,
                "shoes": st.none() | st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=2),
            },
        ),
        "filters": st.fixed_dictionaries(
            {},
            optional={
                "genre": st.sampled_from(["art", "cars", "unheard-of", ["art", "books"], [""]]),
                "tags": st.sampled_from(["big", ["old", "red"]]),
                "price": st.fixed_dictionaries({"gte": ANY_NUMBER})
                | st.just({"gte": 3, "lte": 12})
                | st.just({"lte": -1}),
            },
        ),
        "exclude_ids": st.lists(ROWS.map(item_id), max_size=60),
        "prefer": st.none() | st.just("new"),
        "explain": st.booleans(),
    },
)


@given(REQUEST)
def test_any_right_request_gets_what_is_promised(edge: Edge, toy: FittedModel, request_: dict[str, Any]) -> None:
    response = edge(post(json.dumps(request_)))
    assert response["statusCode"] == 200, response
    slate = body_of(response)
    rows = toy.items.ids.rows(item["item_id"] for item in slate["items"])
    assert (rows >= 0).all()
    assert len(set(rows.tolist())) == len(rows)
    allowed = allowed_rows(edge, toy, request_)
    assert set(rows.tolist()) <= allowed
    assert len(rows) == min(request_.get("num_items", 10), len(allowed))
    assert all(np.isfinite(item["score"]) for item in slate["items"])
    assert all(("explain" in item) == request_.get("explain", False) for item in slate["items"])
    assert slate["why"]["route"] in {str(route) for route in Route}
    assert slate["why"]["degraded"] == []


def allowed_rows(edge: Edge, toy: FittedModel, request: dict[str, Any]) -> set[int]:
    """Rows that may be served, worked out one by one from what the toy world says of them."""
    stored = edge.storage.profiles.get(request["user_id"]) if "user_id" in request else None
    history = [event.item_id for event in stored.history] if stored else []
    barred = set(request.get("exclude_ids", [])) | set(stored.seen if stored else [])
    inline = request.get("history")
    barred |= {event["item_id"] for event in inline} if inline is not None else set(history)
    barred |= {event["item_id"] for event in (request.get("session") or {"history": []})["history"]}
    rows = {row for row in range(len(toy.items)) if row not in (1, 2)}  # unavailable, expired
    rows = {row for row in rows if item_id(row) not in barred}
    filters = request.get("filters", {})
    return {row for row in rows if all(passes(toy, row, name, value) for name, value in filters.items())}


def passes(toy: FittedModel, row: int, name: str, value: Any) -> bool:
    """Whether an item passes one filter."""
    wanted = [value] if isinstance(value, str) else value
    if name == "genre":
        return toy.categories[toy.items.category[row]] in wanted
    if name == "tags":
        return any(row >> bit & 1 for bit, tag in enumerate(("big", "old", "red")) if tag in wanted)
    return wanted.get("gte", -np.inf) <= row % 20 <= wanted.get("lte", np.inf)


@given(REQUEST)
def test_the_same_request_gets_the_same_items(edge: Edge, request_: dict[str, Any]) -> None:
    one, other = (body_of(edge(post(json.dumps(request_)))) for _ in range(2))
    assert one["items"] == other["items"]
    times = [int(slate["recommendation_id"][:12], 16) for slate in (one, other)]
    assert times == sorted(times)
