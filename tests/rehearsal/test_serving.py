"""The deployed bundle, called as its callers call it: real HTTP in, a slate out, from real stores.

Proves what no unit test can: that the bundle holds all it needs, that AWS's runtime client starts, snapshots, restores
and freezes it, and that its clients speak to servers that check what they are sent.
"""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3

from contracts.event import decode_event
from local_mode.lambda_runtime.function import Function
from local_mode.lambda_runtime.gateway import Jwt, iam
from local_mode.rehearsal.serving import Rehearsed, behind_a_gateway, functions_of
from local_mode.rehearsal.stand_ins import DATA, TABLE, StandIns
from local_mode.rehearsal.walk import live_walk, walk
from stores.dynamodb_profiles import DynamoDBProfiles
from stores.search_engine import connect
from tests.rehearsal.conftest import Night, ask
from tests.toy_world import item_id

RECOMMEND, EVENTS = "/v1/recommendations", "/v1/events"


def searches(standing: StandIns) -> int:
    """Queries that the search engine has answered."""
    with closing(connect(standing.search_url)) as client:
        total: int = client.indices.stats(metric="search")["_all"]["total"]["search"]["query_total"]
        return total


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.2)
    return False


def test_a_caller_gets_slates_that_know_what_happened(api: Rehearsed, night: Night, standing: StandIns) -> None:
    release = night.publish(0)
    before = searches(standing)
    first, taken, second = walk(api.url, "alice@example.com")  # raises where a promise is broken
    assert first.answer["why"]["release"] == second.answer["why"]["release"] == release
    assert (first.answer["why"]["route"], second.answer["why"]["route"]) == ("unknown", "cold_user")
    assert second.answer["why"]["degraded"] == []
    assert searches(standing) > before
    clicked = [item["item_id"] for item in first.answer["items"][:3]]
    with closing(DynamoDBProfiles(TABLE)) as profiles:
        assert [event.item_id for event in profiles.get("alice@example.com").history] == clicked
    with closing(boto3.client("s3")) as client:
        keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=DATA, Prefix="events/")["Contents"]]
        bodies = [client.get_object(Bucket=DATA, Key=key)["Body"].read() for key in keys]
    written = [decode_event(line) for body in bodies for line in body.splitlines()]
    assert [e.item_id for e in written if e.user_id == "alice@example.com"] == clicked
    assert {result["event_id"] for result in taken.answer["results"]} <= {e.event_id for e in written}
    assert "alice" not in api.logs()
    assert '"namespace"' in api.logs().lower()


def test_what_is_told_during_the_day_counts_within_seconds(api: Rehearsed, night: Night) -> None:
    """By three functions, each with a process of its own, through one table (and an index: test_serving_roles)."""
    night.publish(0, searched=False)
    list(walk(api.url, "erin@example.com"))
    told, found, hidden, gone, slate, known, left, stranger = live_walk(
        api.url, "erin@example.com", item_id(1), {"genre": "books", "title": "A new book"}
    )
    item = told.answer["item_id"]
    shown = [item in [one["item_id"] for one in step.answer["items"]] for step in (found, gone, slate)]
    assert shown == [True, False, False]
    assert (hidden.answer["hidden"], hidden.answer["within_seconds"]) == (True, 15)
    assert known.answer["why"]["route"] == "cold_user"
    assert (left.answer["status"], stranger.answer["why"]["route"]) == ("deleted", "unknown")
    assert "erin" not in api.logs()


def test_every_endpoint_answers_through_the_gateway(api: Rehearsed, night: Night) -> None:
    night.publish(0, searched=False)
    for method, path in (
        ("GET", "/v1/health"),
        ("GET", "/v1/popular?num_items=3"),
        ("GET", f"/v1/items/{item_id(3)}/similar"),
        ("GET", "/v1/users/u%C3%A4/recommendations?num_items=5"),
    ):
        status, answer = ask(api.url, method, path)
        assert status == 200, answer
    assert ask(api.url, "GET", "/v1/nothing")[0] == 404
    assert ask(api.url, "POST", EVENTS, b"x" * 2_000_000)[0] == 413
    warm = api.functions["recommend"].pids()
    assert ask(api.url, "POST", RECOMMEND, {})[0] == 200
    assert api.functions["recommend"].pids() == warm


def test_before_the_first_release_it_says_what_to_do_and_then_serves(api: Rehearsed, night: Night) -> None:
    night.forget()
    for path, body in ((RECOMMEND, {}), (EVENTS, {"user_id": "u", "item_id": "i"})):
        status, answer = ask(api.url, "POST", path, body)
        assert (status, answer["type"]) == (503, "urn:tandem:problem:no-release")
        assert "tandem aws seed" in answer["detail"]
    release = night.publish(3, searched=False)
    assert ask(api.url, "POST", RECOMMEND, {})[1]["why"]["release"] == release
    assert ask(api.url, "POST", EVENTS, {"user_id": "u", "item_id": item_id(1)})[0] == 200


def test_a_publication_between_snapshot_and_restore_serves_at_once(
    functions: dict[str, Function], night: Night
) -> None:
    night.publish(0)
    functions["recommend"].snapshot()
    release = night.publish(4)
    with behind_a_gateway(functions) as api:
        status, answer = ask(api.url, "POST", RECOMMEND, {"history": [{"item_id": item_id(3)}]})
    assert (status, answer["why"]["release"]) == (200, release)
    assert answer["why"]["degraded"] == []


def test_frozen_and_thawed_it_goes_over_to_what_was_published(api: Rehearsed, night: Night) -> None:
    before = night.publish(0)
    assert ask(api.url, "POST", RECOMMEND, {})[1]["why"]["release"] == before
    api.functions["recommend"].freeze()
    after = night.publish(5)
    served = set()

    def gone_over() -> bool:
        status, answer = ask(api.url, "POST", RECOMMEND, {"user_id": "u"})
        assert status == 200
        served.add(answer["why"]["release"])
        return bool(answer["why"]["release"] == after)

    assert eventually(gone_over)
    assert served <= {before, after}


def test_what_cannot_be_opened_leaves_the_last_good_one_serving(api: Rehearsed, night: Night) -> None:
    before = night.publish(0, searched=False)
    assert ask(api.url, "POST", RECOMMEND, {})[1]["why"]["release"] == before
    local = night.publish(6, searched=False)
    with closing(boto3.client("s3")) as client:
        bucket = night.releases
        client.delete_object(Bucket="rehearsal-releases", Key=f"releases/{local}/manifest.json")
    assert bucket.current() is not None
    fresh = ask(api.url, "POST", RECOMMEND, {})[1]["why"]
    assert fresh["release"] in (before, local)  # a process that had opened it in time keeps it
    restarted = api.functions["recommend"]
    restarted.restore()
    status, answer = ask(api.url, "POST", RECOMMEND, {})
    assert (status, answer["why"]["release"], answer["why"]["degraded"]) == (200, before, ["publication_not_opened"])


def token(subject: str) -> str:
    claims = json.dumps({"sub": subject, "exp": time.time() + 60}).encode()
    return f"Bearer e30.{urlsafe_b64encode(claims).decode().rstrip('=')}.signature"


def test_behind_jwt_a_caller_speaks_for_nobody_else(functions: dict[str, Function], night: Night) -> None:
    night.publish(0, searched=False)
    with behind_a_gateway(functions, authorise=Jwt()) as api:
        alice = {"authorization": token("alice")}
        assert ask(api.url, "POST", RECOMMEND, {"user_id": "alice"}, **alice)[0] == 200
        assert ask(api.url, "POST", RECOMMEND, {"user_id": "alice"})[0] == 401
        for path, body in ((RECOMMEND, {"user_id": "bob"}), (EVENTS, {"user_id": "bob", "item_id": item_id(1)})):
            status, answer = ask(api.url, "POST", path, body, **alice)
            assert (status, answer["type"]) == (403, "urn:tandem:problem:user-forbidden")
        assert ask(api.url, "GET", "/v1/users/bob/recommendations", **alice)[0] == 403
        assert ask(api.url, "DELETE", "/v1/users/bob", **alice)[0] == 403
        assert ask(api.url, "PUT", "/v1/items/i", {"features": {"genre": "art"}}, **alice)[0] == 403


def test_behind_iam_a_signed_caller_speaks_for_any_user(functions: dict[str, Function], night: Night) -> None:
    night.publish(0, searched=False)
    with behind_a_gateway(functions, authorise=iam) as api:
        signed = {"authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261126/eu-central-1/execute-api/request"}
        assert ask(api.url, "POST", RECOMMEND, {"user_id": "bob"}, **signed)[0] == 200
        assert ask(api.url, "POST", RECOMMEND, {"user_id": "bob"})[0] == 403


def test_stores_that_are_gone_leave_a_slate(
    serving_bundle: Path, standing: StandIns, night: Night, tmp_path: Path
) -> None:
    """No table of that name, and no such index server: recommended from what the request tells, and marked."""
    night.publish(0)
    changes: dict[str, Any] = {"profiles_table": "no-such-table", "opensearch_url": "http://127.0.0.1:9"}
    with functions_of(serving_bundle, standing, tmp_path, **changes) as functions, behind_a_gateway(functions) as api:
        told = {"user_id": "u", "history": [{"item_id": item_id(row)} for row in range(9)]}
        status, answer = ask(api.url, "POST", RECOMMEND, told)
        assert status == 200
        assert {"profile_unavailable", "index_unavailable"} <= set(answer["why"]["degraded"])
        assert len(answer["items"]) == 10
        status, answer = ask(api.url, "POST", EVENTS, {"user_id": "u", "item_id": item_id(1)})
        assert (status, answer["results"][0]["status"]) == (503, "profile-not-written")
