"""Events in: each answered on its own, in the log before the profile, once however often it is sent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import LogUnavailable, ProfilesUnavailable
from contracts.event import MAX_EVENTS, MAX_EVENTS_BODY_BYTES, Event, decode_event
from contracts.fitted import FittedModel
from lambda_user_tower.edge import Edge
from lambda_user_tower.settings import LambdaSettings
from stores.profiles import SqliteProfiles
from tests.lambda_user_tower.conftest import body_of, http, let_in_as, post, publish, seal, send
from tests.toy_world import item_id

PER_MINUTE = 40


@pytest.fixture
def scene(tmp_path: Path, toy: FittedModel) -> Iterator[Edge]:
    """An edge with a home of its own."""
    publish(tmp_path, seal(tmp_path, toy))
    settings = LambdaSettings(home=tmp_path, budget_ms=20_000, events_per_user_minute=PER_MINUTE)
    with closing(Edge(settings)) as edge:
        yield edge


def told(edge: Edge, *events: dict[str, Any], status: int = 200) -> list[dict[str, Any]]:
    """The answers to a batch."""
    response = edge(send({"events": list(events)}))
    assert response["statusCode"] == status, response
    results: list[dict[str, Any]] = body_of(response)["results"]
    assert len(results) == len(events)
    return results


def logged(edge: Edge) -> list[Event]:
    files = sorted(edge.settings.home.glob("events/*/*.jsonl"))
    return [decode_event(line) for file in files for line in file.read_bytes().splitlines()]


def event(row: int = 3, **fields: Any) -> dict[str, Any]:
    return {"user_id": "u", "item_id": item_id(row), **fields}


def statuses(results: Sequence[dict[str, Any]]) -> list[str]:
    return [result["status"] for result in results]


def test_an_event_is_in_the_log_and_in_the_profile(scene: Edge) -> None:
    now = int(time.time())
    slate = "0" * 32
    response = scene(send(event(event_type="click", timestamp=now - 5, value=2.5, recommendation_id=slate)))
    assert response["statusCode"] == 200
    (result,) = body_of(response)["results"]
    assert result["status"] == "accepted"
    assert body_of(response)["counts"] == {"accepted": 1}
    (line,) = logged(scene)
    assert (line.event_id, line.user_id, line.item_id) == (result["event_id"], "u", item_id(3))
    assert (line.event_type, line.timestamp, line.value) == ("click", now - 5, 2.5)
    assert line.recommendation_id == slate
    assert line.known_item
    profile = scene.storage.profiles.get("u")
    assert [(e.item_id, e.timestamp) for e in profile.history] == [(item_id(3), now - 5)]


def test_the_next_slate_of_the_user_differs(scene: Edge) -> None:
    def slate() -> Any:
        return body_of(scene(post({"user_id": "u", "num_items": 20})))

    before = slate()
    assert before["why"]["route"] == "unknown"
    clicked = [before["items"][place]["item_id"] for place in (0, 3, 5)]
    assert statuses(told(scene, *({"user_id": "u", "item_id": item} for item in clicked))) == ["accepted"] * 3
    after = slate()
    assert after["why"]["route"] == "cold_user"
    assert after["items"] != before["items"]
    assert not {item["item_id"] for item in after["items"]} & set(clicked)


def test_an_event_that_is_sent_again_counts_once(scene: Edge) -> None:
    at = int(time.time()) - 60
    for repeated in (event(event_id="e1"), event(4, timestamp=at), event(5, timestamp=at + 0.5)):
        assert statuses(told(scene, repeated, repeated)) == ["accepted", "duplicate"]
        assert statuses(told(scene, repeated)) == ["duplicate"]
    assert statuses(told(scene, event(), event())) == ["accepted", "accepted"]  # without a time they are two
    assert scene.storage.profiles.get("u").n_events == 5


def test_each_event_has_an_answer_of_its_own(scene: Edge) -> None:
    results = told(
        scene,
        event(),
        {"user_id": "u"},
        event(item_id="no such item"),
        event(timestamp="yesterday"),
        event(colour="red"),
        event(7),
        event(item_id="ü" * 65),
    )
    assert statuses(results) == [*("accepted", "invalid", "unknown-item", "invalid", "invalid", "accepted", "invalid")]
    assert [result.get("field", "") for result in results] == [
        *("", "events[1].item_id", "item_id", "events[3].timestamp", "events[4].colour", "", "events[6].item_id")
    ]
    assert "130 bytes" in results[6]["detail"]
    assert {line.item_id: line.known_item for line in logged(scene)} == {
        item_id(3): True,
        "no such item": False,
        item_id(7): True,
    }
    assert scene.storage.profiles.get("u").n_events == 2


def test_a_time_in_the_future_becomes_now(scene: Edge) -> None:
    now = int(time.time())
    results = told(scene, event(timestamp=now + 10_000), event(4, timestamp=now - 10), event(5, timestamp=now + 1))
    assert [result.get("clamped", False) for result in results] == [True, False, False]
    assert all(line.timestamp <= line.received_at <= time.time() for line in logged(scene))


def test_an_old_event_stays_in_the_log(scene: Edge) -> None:
    old = int(time.time()) - 31 * 86_400
    (result,) = told(scene, event(timestamp=old))
    assert (result["status"], result["field"]) == ("too-old", "timestamp")
    assert [line.timestamp for line in logged(scene)] == [old]
    assert scene.storage.profiles.get("u").n_events == 0


def test_a_flood_of_one_user_is_capped(scene: Edge) -> None:
    """Whatever came through in this minute or, where one ends in between, in two, is at most the limit of each."""
    sent = [told(scene, *(event(row % 50) for row in range(25)), event(3, user_id="calm")) for _ in range(4)]
    ours = [status for results in sent for status in statuses(results[:-1])]
    assert set(ours) == {"accepted", "too-many"}
    assert ours.count("accepted") in (PER_MINUTE, 2 * PER_MINUTE)
    assert all(results[-1]["status"] == "accepted" for results in sent)
    assert all(result["retry"] for results in sent for result in results if result["status"] == "too-many")
    assert len([line for line in logged(scene) if line.user_id == "u"]) == ours.count("accepted")
    assert scene(send(event()))["statusCode"] == (429 if ours.count("accepted") == PER_MINUTE else 200)


def test_a_batch_is_limited(scene: Edge) -> None:
    assert len(told(scene, *(event(3, user_id=f"u{n}") for n in range(MAX_EVENTS)))) == MAX_EVENTS
    response = scene(send({"events": [event()] * (MAX_EVENTS + 1)}))
    assert (response["statusCode"], body_of(response)["field"]) == (400, "events")
    assert scene(send({"events": []}))["statusCode"] == 400


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ("", 400, "body"),
        ("[]", 400, "body"),
        ("{}", 400, "item_id"),
        ('{"item_id": "i"}', 400, "user_id"),
        ('{"item_id": "i", "user_id": "anonymous:s"}', 400, "user_id"),
        ('{"item_id": "i", "user_id": "anonymous:s", "session_id": "s"}', 400, "user_id"),
        ('{"item_id": "i", "session_id": ""}', 400, "session_id"),
        ('{"item_id": "i", "session_id": "%s"}' % ("s" * 119), 400, "session_id"),
        ('{"events": 5}', 400, "events"),
        ('{"events": [{}], "events": [{}]}', 400, "events"),
        ('{"events": [{}], "more": 1}', 400, "more"),
        ('{"user_id": "u", "user_id": "v", "item_id": "i"}', 400, "user_id"),
        ('{"user_id": "", "item_id": "i"}', 400, "user_id"),
        ('{"user_id": "u", "item_id": 7}', 400, "item_id"),
        ('{"user_id": "u", "item_id": "i", "timestamp": -1}', 400, "timestamp"),
        ('{"user_id": "u", "item_id": "i", "timestamp": 1e300}', 400, "timestamp"),
        ('{"user_id": "u", "item_id": "i", "value": "much"}', 400, "value"),
        (" " * (MAX_EVENTS_BODY_BYTES + 1), 413, "body"),
        ("x" * 10_000_000, 413, "body"),
    ],
)
def test_a_body_that_is_wrong_is_named(scene: Edge, body: str, status: int, field: str) -> None:
    response = scene(http("POST", "/v1/events", body=body))
    assert (response["statusCode"], body_of(response)["field"]) == (status, field)
    assert logged(scene) == []


def test_a_caller_speaks_for_nobody_else(scene: Edge) -> None:
    context = {"requestContext": let_in_as("u")}
    response = scene(send({"events": [event(), event(user_id="v")]}) | context)
    assert statuses(body_of(response)["results"]) == ["accepted", "forbidden"]
    response = scene(send(event(user_id="v")) | context)
    assert (response["statusCode"], body_of(response)["type"]) == (403, "urn:tandem:problem:user-forbidden")
    assert {line.user_id for line in logged(scene)} == {"u"}
    for path in ("/v1/recommendations", "/v1/users/v/recommendations"):
        method = "POST" if path.endswith("/v1/recommendations") else "GET"
        asked = http(method, path, body='{"user_id": "v"}') | {"requestContext": let_in_as("u", method, path)}
        assert scene(asked)["statusCode"] == 403
    assert (
        scene(post({"user_id": "u"}) | {"requestContext": let_in_as("u", path="/v1/recommendations")})["statusCode"]
        == 200
    )
    nameless = let_in_as("u") | {"authorizer": {"jwt": {"claims": {}}}}
    assert scene(send(event()) | {"requestContext": nameless})["statusCode"] == 400


def test_an_event_without_a_user_is_its_sessions(scene: Edge) -> None:
    results = told(scene, *({"item_id": item_id(row), "session_id": "s"} for row in (3, 4)), event(session_id="s"))
    assert statuses(results) == ["accepted"] * 3
    assert [line.user_id for line in logged(scene)] == ["anonymous:s", "anonymous:s", "u"]
    session = scene.storage.profiles.get("anonymous:s")
    assert ([e.item_id for e in session.history], session.session_id) == ([item_id(3), item_id(4)], "s")
    assert scene.storage.profiles.get("u").n_events == 1
    longest = {"item_id": item_id(3), "session_id": "s" * 118}
    assert statuses(told(scene, longest)) == ["accepted"]
    response = scene(send({"item_id": item_id(3), "session_id": "s"}) | {"requestContext": let_in_as("u")})
    assert response["statusCode"] == 403  # a caller that is let in as a user names it


def test_an_event_of_a_session_that_is_somebodys_is_theirs(scene: Edge) -> None:
    now, profiles = int(time.time()), scene.storage.profiles
    ours = [{"item_id": item_id(row), "session_id": "s", "timestamp": now - row} for row in (3, 4)]
    assert statuses(told(scene, ours[0])) == ["accepted"]
    profiles.claim("anonymous:s", "u")
    sent = [ours[1], event(5, timestamp=now - 1), {"item_id": item_id(3), "session_id": "other", "timestamp": now}]
    assert statuses(told(scene, *sent)) == ["accepted"] * 3
    assert statuses(told(scene, ours[0])) == ["duplicate"]
    assert statuses(told(scene, ours[1])) == ["accepted"]  # again: it counts once
    assert [e.item_id for e in profiles.get("u").history] == [item_id(4), item_id(5)]
    assert [e.item_id for e in profiles.get("anonymous:s").history] == [item_id(3)]
    assert profiles.get("anonymous:other").n_events == 1
    assert {line.user_id for line in logged(scene)} == {"anonymous:s", "u", "anonymous:other"}


def test_an_event_that_was_under_way_when_its_user_left_is_in_no_profile(scene: Edge) -> None:
    scene.storage.profiles.forget("u", int(time.time()) + 60)
    assert statuses(told(scene, event())) == ["accepted"]
    assert scene.storage.profiles.get("u").n_events == 0
    assert len(logged(scene)) == 1  # where a night leaves it out


class Failing:
    """A store that fails as it is told, and else is the one that it stands before."""

    def __init__(self, store: Any, **errors: Exception) -> None:
        self._store, self._errors = store, errors

    def __getattr__(self, name: str) -> Any:
        if (error := self._errors.get(name)) is None:
            return getattr(self._store, name)

        def fail(*_: object, **__: object) -> None:
            raise error

        return fail


def test_what_the_log_does_not_take_is_in_no_profile(scene: Edge) -> None:
    scene.storage.__dict__["event_log"] = Failing(scene.storage.event_log, append=LogUnavailable("gone."))
    results = told(scene, event(), event(4), status=503)
    assert statuses(results) == ["not-written", "not-written"]
    assert all(result["retry"] for result in results)
    assert scene.storage.profiles.get("u").n_events == 0
    assert scene(send(event()))["statusCode"] == 503


def test_what_the_log_takes_in_part_is_answered_in_part(scene: Edge) -> None:
    class Partly:
        def append(self, events: Sequence[Event]) -> list[str]:
            return ["throttled" if e.item_id == item_id(4) else "" for e in events]

    scene.storage.__dict__["event_log"] = Partly()
    results = told(scene, event(3), event(4), event(5))
    assert statuses(results) == ["accepted", "not-written", "accepted"]
    assert results[1]["detail"] == "throttled"
    assert [e.item_id for e in scene.storage.profiles.get("u").history] == [item_id(3), item_id(5)]
    del scene.storage.__dict__["event_log"]


@pytest.mark.parametrize("fails", [("read", "append_all"), ("append_all",)])
def test_what_the_profile_does_not_take_counts_once_when_it_is_sent_again(scene: Edge, fails: tuple[str, ...]) -> None:
    profiles = scene.storage.profiles
    scene.storage.__dict__["profiles"] = Failing(profiles, **dict.fromkeys(fails, ProfilesUnavailable("gone.")))
    sent = [event(event_id="e1"), event(4, event_id="e2")]
    results = told(scene, *sent, status=503)
    assert statuses(results) == ["profile-not-written", "profile-not-written"]
    assert [line.event_id for line in logged(scene)] == ["e1", "e2"]
    scene.storage.__dict__["profiles"] = profiles
    assert statuses(told(scene, *sent)) == ["accepted", "accepted"]
    assert profiles.get("u").n_events == 2


def test_before_the_first_release_the_answer_says_what_to_do(tmp_path: Path) -> None:
    with closing(Edge(LambdaSettings(home=tmp_path))) as edge:
        for request in (send(event()), post({}), http("GET", "/v1/health")):
            response = edge(request)
            assert response["statusCode"] == 503
            assert body_of(response)["type"] == "urn:tandem:problem:no-release"
            assert "tandem aws seed" in body_of(response)["detail"]


def test_no_log_line_holds_a_user_id(scene: Edge, capsys: pytest.CaptureFixture[str]) -> None:
    canary = "alice@example.com"
    for body in (event(user_id=canary), event(user_id=canary, item_id=canary), {"events": [event(user_id=canary), {}]}):
        scene(send(body))
    scene(send(f'{{"user_id": "{canary}'))
    lines = capsys.readouterr().err.splitlines()
    assert sum("POST /v1/events" in line for line in lines) == 4
    assert not any("alice" in line for line in lines)
    assert json.loads(lines[-2])["events"] == {"accepted": 1, "invalid": 1}


@given(st.lists(st.sampled_from(range(6)), min_size=1, max_size=30))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_repeated_the_profile_counts_each_id_once(scene: Edge, ids: list[int]) -> None:
    user = f"user-{time.time_ns()}"
    for cut in range(0, len(ids), 7):
        told(scene, *(event(n, user_id=user, event_id=f"e{n}") for n in ids[cut : cut + 7]))
    assert scene.storage.profiles.get(user).n_events == len(set(ids))


def test_a_profile_written_by_hand_is_read_by_the_edge(scene: Edge) -> None:
    """The same file, whoever opened it."""
    told(scene, event())
    with SqliteProfiles(scene.settings.home / "profiles.sqlite") as profiles:
        assert profiles.get("u").n_events == 1
