"""What a caller of the deployed API would see: recommend, three events, recommend again; and what changes in a day.

Each step is a real request over HTTP, told as the curl command that makes it. Answers are held to what was promised:
the slate differs, what was seen is gone, and `why` says how; an item that is told is found within a minute and gone
within seconds of being hidden, and a user who leaves is a stranger. `tandem aws rehearse-serving` prints it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

from contracts.errors import VerificationFailed

PLACES: Final = 10
EVENTS: Final = 3
FOUND_SECONDS: Final = 60.0
"""Within which an item that was told is found."""
GONE_SECONDS: Final = 15.0
"""Within which one that was hidden is in no answer."""
LIKE: Final = 100
"""Similar items that are asked for: one that is told with the features of another is near it, and not always first."""
_SECONDS: Final = 60.0
"""The first request waits for a cold start."""
_AGAIN_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Step:
    """A request and its answer."""

    what: str
    command: str
    """With which anybody can make it."""
    status: int
    answer: Any


def walk(url: str, user_id: str) -> Iterator[Step]:
    """Make the requests one after the other. Raises VerificationFailed where an answer breaks a promise."""
    asked = {"user_id": user_id, "num_items": PLACES}
    before = call(url, "/v1/recommendations", asked, "recommendations before")
    yield before
    items = [item["item_id"] for item in _expect(before, 200)["items"]]
    if len(items) < PLACES:
        raise VerificationFailed(f"{before.what}: {len(items)} items, {PLACES} were asked for.")
    clicked = items[:EVENTS]
    sent = {"events": [{"user_id": user_id, "item_id": item, "event_type": "click"} for item in clicked]}
    taken = call(url, "/v1/events", sent, "three events")
    yield taken
    if _expect(taken, 200)["counts"] != {"accepted": EVENTS}:
        raise VerificationFailed(f"{taken.what}: not all were accepted: {taken.answer['counts']}.")
    after = call(url, "/v1/recommendations", asked, "recommendations after")
    yield after
    check_changed(_expect(before, 200), _expect(after, 200), clicked)


def live_walk(url: str, user_id: str, like: str, features: Mapping[str, Any]) -> Iterator[Step]:
    """Tell an item with the `features` of the item `like`, find it, hide it, and let a user with events leave.

    Without features nothing is told of items. Raises VerificationFailed where an answer breaks a promise.
    """
    if features:
        yield from _tell_and_hide(url, user_id, like, features)
    before = call(url, "/v1/recommendations", {"user_id": user_id}, "recommendations of a user with events")
    if _expect(before, 200)["why"]["route"] == "unknown":
        raise VerificationFailed(f"{user_id} has events, and is served as a stranger.")
    yield before
    left = call(url, f"/v1/users/{user_id}", None, "the user leaves", "DELETE")
    if _expect(left, 200)["status"] != "deleted":
        raise VerificationFailed(f"{user_id} is deleted, and the answer is {left.answer}.")
    yield left
    after = call(url, "/v1/recommendations", {"user_id": user_id}, "recommendations of a stranger")
    if (route := _expect(after, 200)["why"]["route"]) != "unknown":
        raise VerificationFailed(f"{user_id} has left, and is served by route {route}.")
    yield after


def _tell_and_hide(url: str, user_id: str, like: str, features: Mapping[str, Any]) -> Iterator[Step]:
    new = f"rehearsal-{uuid4().hex[:6]}"  # one that was hidden by another walk would stay hidden
    told = call(url, f"/v1/items/{new}", {"features": dict(features)}, "a new item", "PUT")
    if _expect(told, 200)["status"] != "fresh":
        raise VerificationFailed(f"{new} was told, and the answer is {told.answer}.")
    yield told

    def similar() -> Step:
        return call(url, f"/v1/items/{like}/similar?num_items={LIKE}", None, f"similar to {like}")

    yield _await(similar, lambda items: new in items, FOUND_SECONDS, f"{new} is not found")
    hidden = call(url, f"/v1/items/{new}", {"hidden": True}, "it is hidden", "PATCH")
    _expect(hidden, 200)
    yield hidden
    yield _await(similar, lambda items: new not in items, GONE_SECONDS, f"{new} is hidden, and still shown")
    slate = call(url, "/v1/recommendations", {"user_id": user_id, "num_items": LIKE}, "recommendations without it")
    if new in _items(slate):
        raise VerificationFailed(f"{slate.what}: {new} is hidden, and among them.")
    yield slate


def _await(ask: Callable[[], Step], promise: Callable[[list[str]], bool], seconds: float, broken: str) -> Step:
    """The first answer of which a promise holds. Raises VerificationFailed where none comes in time."""
    until = time.monotonic() + seconds
    while not promise(_items(step := ask())):
        if time.monotonic() > until:
            raise VerificationFailed(f"{step.what}: {broken} after {seconds:.0f} s.")
        time.sleep(_AGAIN_SECONDS)
    return step


def _items(step: Step) -> list[str]:
    return [item["item_id"] for item in _expect(step, 200)["items"]]


def check_changed(before: dict[str, Any], after: dict[str, Any], seen: list[str]) -> None:
    """Raise VerificationFailed where a slate after events is the one before, or shows what was seen."""
    shown = [item["item_id"] for item in after["items"]]
    if again := sorted(set(shown) & set(seen)):
        raise VerificationFailed(f"the slate after the events shows what was seen: {', '.join(again)}.")
    if shown == [item["item_id"] for item in before["items"]]:
        raise VerificationFailed("the slate after the events is the one before.")
    if not after["why"]["route"]:
        raise VerificationFailed("the slate does not say why.")


def call(url: str, path: str, body: dict[str, Any] | None, what: str, method: str = "") -> Step:
    """One POST of JSON; without a body, one GET; unless `method` says otherwise."""
    usual, data = ("GET", "") if body is None else ("POST", json.dumps(body))
    method = method or usual
    where = urlsplit(url)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=_SECONDS)
    try:
        connection.request(method, path, data or None, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
    finally:
        connection.close()
    sent = f" -H 'content-type: application/json' -d '{data}'" if data else ""
    command = f"curl -s {'' if method == usual else f'-X {method} '}{url}{path}{sent}"
    return Step(what, command, response.status, answer)


def _expect(step: Step, status: int) -> Any:
    if step.status != status:
        raise VerificationFailed(f"{step.what}: status {step.status}: {json.dumps(step.answer)[:300]}")
    return step.answer
