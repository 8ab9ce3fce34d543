"""Which endpoint answers, whatever an id holds; a method that the path has not is told which ones it has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import MethodNotAllowed, RouteNotFound
from lambda_user_tower.routing import Endpoint, find_endpoint

WITH_ID = [endpoint for endpoint in Endpoint if "{id}" in endpoint]


@pytest.mark.parametrize("endpoint", Endpoint)
def test_every_endpoint_is_found_by_its_own_path(endpoint: Endpoint) -> None:
    method, path = endpoint.split(" ")
    assert find_endpoint(method, path) == (endpoint, "{id}" if endpoint in WITH_ID else "")


@given(st.sampled_from(WITH_ID), st.text(max_size=9) | st.sampled_from(["a/similar", "similar", "/merge", "b/merge/"]))
def test_an_id_may_hold_anything(endpoint: Endpoint, identifier: str) -> None:
    method, path = endpoint.split(" ")
    assert find_endpoint(method, path.replace("{id}", identifier)) == (endpoint, identifier)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/items", ("POST",)),
        ("GET", "/v1/items/a", ("PUT", "PATCH")),
        ("POST", "/v1/items/a/similar", ("GET", "PUT", "PATCH")),
        ("GET", "/v1/items/similar", ("PUT", "PATCH")),  # the id of `similar` would begin where the path ends
        ("GET", "/v1/users/a/merge", ("PUT", "DELETE", "POST")),
        ("POST", "/v1/users/merge", ("PUT", "DELETE")),
        ("PATCH", "/v1/popular", ("GET",)),
    ],
)
def test_a_method_that_is_none_is_told_which_there_are(method: str, path: str, allowed: tuple[str, ...]) -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        find_endpoint(method, path)
    assert set(refused.value.allowed) == set(allowed)
    for other in allowed:
        find_endpoint(other, path)


@pytest.mark.parametrize("path", ["/", "", "/v1/items?", "/v1/item/a", "/v1/users", "v1/items/a", "/v1/health/"])
def test_a_path_that_is_none_is_not_found(path: str) -> None:
    with pytest.raises(RouteNotFound):
        find_endpoint("GET", path)
