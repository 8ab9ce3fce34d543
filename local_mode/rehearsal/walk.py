"""What a caller of the deployed API would see: recommend, three events, recommend again.

Each step is a real request over HTTP, told as the curl command that makes it. Answers are held to what was promised:
the slate differs, what was seen is gone, and `why` says how. `tandem aws rehearse-serving` prints it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, Final
from urllib.parse import urlsplit

from contracts.errors import VerificationFailed

PLACES: Final = 10
EVENTS: Final = 3
_SECONDS: Final = 60.0
"""The first request waits for a cold start."""


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


def check_changed(before: dict[str, Any], after: dict[str, Any], seen: list[str]) -> None:
    """Raise VerificationFailed where a slate after events is the one before, or shows what was seen."""
    shown = [item["item_id"] for item in after["items"]]
    if again := sorted(set(shown) & set(seen)):
        raise VerificationFailed(f"the slate after the events shows what was seen: {', '.join(again)}.")
    if shown == [item["item_id"] for item in before["items"]]:
        raise VerificationFailed("the slate after the events is the one before.")
    if not after["why"]["route"]:
        raise VerificationFailed("the slate does not say why.")


def call(url: str, path: str, body: dict[str, Any] | None, what: str) -> Step:
    """One POST of JSON; without a body, one GET."""
    method, data = ("GET", "") if body is None else ("POST", json.dumps(body))
    where = urlsplit(url)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=_SECONDS)
    try:
        connection.request(method, path, data or None, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
    finally:
        connection.close()
    sent = f" -H 'content-type: application/json' -d '{data}'" if data else ""
    command = f"curl -s {url}{path}{sent}"
    return Step(what, command, response.status, answer)


def _expect(step: Step, status: int) -> Any:
    if step.status != status:
        raise VerificationFailed(f"{step.what}: status {step.status}: {json.dumps(step.answer)[:300]}")
    return step.answer
