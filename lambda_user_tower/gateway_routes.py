"""What API Gateway matches, and which function answers: the endpoints of `routing.py`, divided by what they may do.

API Gateway matches `{id}` with one segment of a path, while an id may hold slashes; so beside each route with an id
stands a greedy one, whose path the function sorts out (404 for what is no endpoint). The exact route wins, so an access
log names the endpoint wherever it can. `infra/api.py` makes these routes, the rehearsal follows them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from lambda_user_tower.routing import Endpoint

OF_EVENTS: Final = frozenset({Endpoint.EVENTS, Endpoint.PUT_USER, Endpoint.DELETE_USER, Endpoint.MERGE})
"""Endpoints of the events function: what writes of users."""
OF_ITEMS: Final = frozenset({Endpoint.PUT_ITEM, Endpoint.PUT_ITEMS, Endpoint.PATCH_ITEM})
"""Endpoints of the items function, for back ends alone; recommend has all others."""


class Route(NamedTuple):
    """What API Gateway matches, and whose it is."""

    method: str
    path: str
    function: str
    """`recommend`, `events` or `items`."""

    @property
    def key(self) -> str:
        """As API Gateway calls it."""
        return f"{self.method} {self.path}"


def routes() -> list[Route]:
    """Every endpoint, and what catches the ids with slashes."""
    exact, greedy = [], {}
    for endpoint in Endpoint:
        method, path = endpoint.split(" ")
        function = "events" if endpoint in OF_EVENTS else "items" if endpoint in OF_ITEMS else "recommend"
        exact.append(Route(method, path, function))
        before, has_id, _ = path.partition("{id}")
        if has_id:
            greedy[method, before] = Route(method, f"{before}{{proxy+}}", function)
    return [*exact, *greedy.values()]
