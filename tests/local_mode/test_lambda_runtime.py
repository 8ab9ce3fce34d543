"""The real runtime client behind our Runtime API, with small handlers: what Lambda does, done here."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import FunctionError
from local_mode.lambda_runtime import function
from local_mode.lambda_runtime.function import Function
from local_mode.lambda_runtime.gateway import Gateway, Jwt, iam
from local_mode.lambda_runtime.instance import PAYLOAD_LIMIT

pytest.importorskip("awslambdaric", reason="functions run on Linux only")

PLAIN = """
import os, sys, time, signal
from pathlib import Path
print("imported", flush=True)
calls = 0

def handler(event, context):
    global calls
    calls += 1
    if "print" in event:
        print(event["print"])
    if "raise" in event:
        raise ValueError(event["raise"])
    if "exit" in event:
        os._exit(event["exit"])
    if "kill" in event:
        os.kill(os.getpid(), event["kill"])
    if "size" in event:
        return "x" * event["size"]
    if "meet" in event:  # both are here at once, or neither ever leaves
        folder = Path(event["meet"])
        (folder / str(os.getpid())).touch()
        while len(list(folder.iterdir())) < event["many"]:
            time.sleep(0.005)
    time.sleep(event.get("sleep", 0))
    return {
        "event": event, "calls": calls, "pid": os.getpid(), "path": sys.path, "env": dict(os.environ),
        "request_id": context.aws_request_id, "left_ms": context.get_remaining_time_in_millis(),
        "arn": context.invoked_function_arn, "memory": context.memory_limit_in_mb,
    }

def echo(event, context):
    return {"statusCode": 200, "headers": {"x-route": event["routeKey"]}, "body": __import__("json").dumps(event)}

def bare(event, context):
    return ["no", "statusCode"]

def beating(event, context):
    with open(os.environ["BEATS"], "a") as file:
        __import__("threading").Thread(target=_beat, args=(file.name,), daemon=True).start()

def _beat(name):
    while True:
        with open(name, "a") as file:
            file.write(".")
        time.sleep(0.005)
"""

SNAPPED = """
import os
from snapshot_restore_py import register_after_restore, register_before_snapshot
said = ["import"]
register_before_snapshot(lambda: said.append("before 1"))
register_before_snapshot(lambda: said.append("before 2"))
register_after_restore(lambda: said.append("after 1"))
register_after_restore(lambda: said.append("after 2"))
if os.environ.get("BREAK") == "before":
    register_before_snapshot(lambda: 1 / 0)
if os.environ.get("BREAK") == "after":
    register_after_restore(lambda: 1 / 0)

def handler(event, context):
    return said + ["call"]
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "plain.py").write_text(PLAIN)
    (folder / "snapped.py").write_text(SNAPPED)
    (folder / "lacking.py").write_text("import numpy\n\ndef handler(event, context): ...\n")
    (folder / "broken.py").write_text("def handler(:\n")
    (folder / "raising.py").write_text("raise RuntimeError('no settings')\n")
    (folder / "slow.py").write_text("import time\ntime.sleep(60)\n")
    return folder


@pytest.fixture(scope="module")
def plain(bundle: Path) -> Iterator[Function]:
    with Function(bundle, "plain.handler", {"COLOUR": "blue", "AWS_REGION": "eu-west-3"}, memory_mb=512) as started:
        yield started


def test_the_first_call_is_cold_and_the_next_is_warm(bundle: Path) -> None:
    with Function(bundle, "plain.handler", {}) as started:
        assert started.pids() == []
        first, second = started.invoke({"a": 1}), started.invoke({"b": "ü"})
        assert (first["calls"], second["calls"]) == (1, 2)
        assert first["event"] == {"a": 1}
        assert second["event"] == {"b": "ü"}
        assert started.pids() == [first["pid"]] == [second["pid"]]
        assert first["request_id"] != second["request_id"]
        assert started.log().count("imported") == 1
    assert not Path(f"/proc/{first['pid']}").exists()


def test_a_function_sees_what_lambda_shows_it_and_nothing_of_this_environment(plain: Function, bundle: Path) -> None:
    seen = plain.invoke({})
    environment = seen["env"]
    assert environment["COLOUR"] == "blue"
    assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == "eu-west-3"
    assert environment["_HANDLER"] == "plain.handler"
    assert environment["LAMBDA_TASK_ROOT"] == str(bundle)
    assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "512" == seen["memory"]
    assert environment["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"
    assert seen["arn"] == f"arn:aws:lambda:eu-west-3:123456789012:function:{environment['AWS_LAMBDA_FUNCTION_NAME']}:1"
    assert 0 < seen["left_ms"] <= 30_000
    assert "Sampled=0" in environment["_X_AMZN_TRACE_ID"]
    assert seen["path"][0] == str(bundle)
    assert not [entry for entry in seen["path"] if "site-packages" in entry]
    assert {"HOME", "VIRTUAL_ENV"} & environment.keys() == set()


def test_an_error_of_the_handler_is_its_answer_and_the_instance_lives(plain: Function) -> None:
    before = plain.invoke({})["pid"]
    with pytest.raises(FunctionError, match="ValueError: no such thing") as caught:
        plain.invoke({"raise": "no such thing"})
    assert caught.value.payload["errorType"] == "ValueError"
    assert any("plain.py" in line for line in caught.value.payload["stackTrace"])
    assert plain.invoke({})["pid"] == before
    assert "no such thing" in plain.log()


@pytest.mark.parametrize(
    ("handler", "kind", "text"),
    [
        ("lacking.handler", "Runtime.ImportModuleError", "No module named 'numpy'"),
        ("broken.handler", "Runtime.UserCodeSyntaxError", "invalid syntax"),
        ("raising.handler", "RuntimeError", "no settings"),
        ("plain.absent", "Runtime.HandlerNotFound", "absent"),
        ("absent.handler", "Runtime.ImportModuleError", "absent"),
    ],
)
def test_a_function_that_does_not_import_says_why(bundle: Path, handler: str, kind: str, text: str) -> None:
    with Function(bundle, handler, {}) as started:
        for _ in range(2):  # and says it again: the next call starts anew
            with pytest.raises(FunctionError, match=text) as caught:
                started.invoke({})
            assert caught.value.payload["errorType"] == kind
        assert started.pids() == []


def test_a_time_out_kills_and_the_next_call_starts_anew(bundle: Path) -> None:
    with Function(bundle, "plain.handler", {}, timeout_seconds=1.0) as started:
        before = started.invoke({})
        with pytest.raises(FunctionError, match=r"Sandbox.Timedout.*timed out after 1.00 seconds"):
            started.invoke({"sleep": 60})
        assert started.pids() == []
        after = started.invoke({})
        assert (after["calls"], after["pid"] == before["pid"]) == (1, False)


def test_an_import_that_does_not_end_is_given_up(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function, "INIT_SECONDS", 0.2)
    with Function(bundle, "slow.handler", {}, timeout_seconds=0.2) as started:
        with pytest.raises(FunctionError, match=r"Init took more than 0.40 seconds"):
            started.invoke({})
        assert started.pids() == []


@pytest.mark.parametrize(
    ("event", "how"), [({"exit": 3}, "exit status 3"), ({"kill": int(signal.SIGKILL)}, "signal: SIGKILL")]
)
def test_a_process_that_ends_is_an_error_and_is_replaced(bundle: Path, event: dict[str, int], how: str) -> None:
    with Function(bundle, "plain.handler", {}) as started:
        with pytest.raises(FunctionError, match=f"Runtime.ExitError.*{how}"):
            started.invoke(event)
        assert started.invoke({})["calls"] == 1


def test_an_idle_process_that_died_is_not_asked_again(bundle: Path) -> None:
    with Function(bundle, "plain.handler", {}) as started:
        os.kill(pid := started.invoke({})["pid"], signal.SIGKILL)
        while started.pids():
            time.sleep(0.005)
        assert started.invoke({})["pid"] != pid


def test_payloads_over_the_limit_are_refused_both_ways(plain: Function) -> None:
    assert len(plain.invoke({"size": PAYLOAD_LIMIT - 2})) == PAYLOAD_LIMIT - 2
    with pytest.raises(FunctionError, match=r"Function.ResponseSizeTooLarge"):
        plain.invoke({"size": PAYLOAD_LIMIT})
    with pytest.raises(FunctionError, match="RequestEntityTooLargeException"):
        plain.invoke({"filler": "x" * PAYLOAD_LIMIT})


def test_calls_at_the_same_time_have_an_instance_each(bundle: Path, tmp_path: Path) -> None:
    with Function(bundle, "plain.handler", {}) as started, ThreadPoolExecutor(3) as pool:
        seen = list(pool.map(lambda _: started.invoke({"meet": str(tmp_path), "many": 3}), range(3)))
        assert len({answer["pid"] for answer in seen}) == 3
        assert started.invoke({})["calls"] == 2  # no fourth one
        assert len(started.pids()) == 3


def test_nothing_moves_while_an_instance_is_frozen(bundle: Path, tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    with Function(bundle, "plain.beating", {"BEATS": str(beats)}) as started:
        started.invoke({})
        _wait_for_growth(beats)
        started.freeze()
        state = Path(f"/proc/{started.pids()[0]}/stat")
        while state.read_text().split()[2] != "T":
            time.sleep(0.005)
        size = beats.stat().st_size
        time.sleep(0.1)  # twenty beats
        assert beats.stat().st_size == size
        started.thaw()
        _wait_for_growth(beats)
        started.freeze()
        assert started.invoke({}) is None  # which thaws by itself


def _wait_for_growth(file: Path) -> None:
    before = file.stat().st_size
    while file.stat().st_size == before:
        time.sleep(0.005)


def test_hooks_run_around_the_snapshot_in_lambdas_order(bundle: Path) -> None:
    with Function(bundle, "snapped.handler", {}, snap_start=True) as started:
        started.snapshot()
        pid = started.pids()
        said = ["import", "before 2", "before 1", "after 1", "after 2", "call"]
        assert started.invoke({}) == said
        assert started.pids() == pid
        started.restore()  # one more, without a snapshot made before
        assert len(started.pids()) == 2
        assert started.invoke({}) == said


def stands_still(pid: int) -> bool:
    """Whether a process is stopped; a signal arrives when the kernel next looks, a moment later on a busy machine."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "T":
            return True
        time.sleep(0.01)
    return False


def test_a_snapshot_stands_still_until_it_is_restored(bundle: Path) -> None:
    with Function(bundle, "snapped.handler", {}, snap_start=True) as started:
        started.snapshot()
        assert stands_still(started.pids()[0])
        started.restore()
        assert started.invoke({})[-1] == "call"


def test_hooks_that_raise_are_errors(bundle: Path) -> None:
    with (
        Function(bundle, "snapped.handler", {"BREAK": "before"}, snap_start=True) as started,
        pytest.raises(FunctionError, match="ZeroDivisionError"),
    ):
        started.snapshot()
    with Function(bundle, "snapped.handler", {"BREAK": "after"}, snap_start=True) as started:
        started.snapshot()
        with pytest.raises(FunctionError, match="ZeroDivisionError"):
            started.restore()
        assert started.pids() == []


def test_without_snap_start_no_hook_runs(bundle: Path) -> None:
    with Function(bundle, "snapped.handler", {}) as started:
        assert started.invoke({}) == ["import", "call"]


def test_closing_ends_what_is_at_work(bundle: Path) -> None:
    started = Function(bundle, "plain.handler", {})
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(started.invoke, {"print": "at work", "sleep": 60})
        while "at work" not in started.log():
            time.sleep(0.005)
        started.close()
        with pytest.raises(FunctionError, match=r"Runtime.ExitError"):
            answer.result(20)


# ---- the gateway in front


@contextmanager
def standing(functions: dict[str, Function], authorise: Any = None) -> Iterator[int]:
    gateway = Gateway(functions, 0, authorise)
    thread = threading.Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield gateway.server_port
    finally:
        gateway.shutdown()
        thread.join()
        gateway.server_close()


def call(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, Any]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, json.loads(response.read())


@pytest.fixture(scope="module")
def echo(bundle: Path) -> Iterator[Function]:
    with Function(bundle, "plain.echo", {}) as started:
        yield started


def test_http_reaches_the_function_of_its_route(plain: Function, echo: Function, bundle: Path) -> None:
    with (
        Function(bundle, "plain.bare", {}) as bare,
        standing({"POST /v1/events": echo, "GET /bare": bare, "$default": plain}) as port,
    ):
        status, headers, event = call(port, "POST", "/v1/events?a=%20b", b'{"x": 1}')
        assert (status, headers["x-route"]) == (200, "POST /v1/events")
        assert (event["version"], event["rawQueryString"], event["body"]) == ("2.0", "a=%20b", '{"x": 1}')
        assert event["requestContext"]["routeKey"] == "POST /v1/events"
        assert "authorizer" not in event["requestContext"]
        assert call(port, "GET", "/bare")[0::2] == (200, ["no", "statusCode"])
        assert call(port, "GET", "/v1/events")[2]["event"]["routeKey"] == "$default"


def test_the_gateways_own_answers(echo: Function, bundle: Path) -> None:
    with (
        Function(bundle, "raising.handler", {}) as raising,
        standing({"GET /raising": raising, "POST /echo": echo}) as port,
    ):
        assert call(port, "GET", "/raising")[0::2] == (500, {"message": "Internal Server Error"})
        assert call(port, "GET", "/elsewhere")[0::2] == (404, {"message": "Not Found"})
        status, _, answer = call(port, "POST", "/echo", b"\xff" * 7_000_000)
        assert (status, answer) == (413, {"message": "Request Entity Too Large"})


def test_iam_puts_the_caller_where_api_gateway_puts_it(echo: Function) -> None:
    signed = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/eu-west-3/execute-api/aws4_request, SignedHeaders=host"
    with standing({"$default": echo}, iam) as port:
        status, _, event = call(port, "GET", "/", authorization=signed)
        assert status == 200
        caller = event["requestContext"]["authorizer"]["iam"]
        assert (caller["accessKey"], caller["accountId"]) == ("AKIDEXAMPLE", "123456789012")
        assert caller.keys() == {
            *("accessKey", "accountId", "callerId", "cognitoIdentity", "principalOrgId", "userArn", "userId")
        }
        assert call(port, "GET", "/")[0::2] == (403, {"message": "Forbidden"})


def token(**claims: Any) -> str:
    middle = urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"Bearer e30.{middle}.c2ln"


def test_jwt_puts_claims_as_text_and_asks_for_a_scope(echo: Function) -> None:
    later = int(time.time()) + 3600
    jwt = Jwt({"PUT /v1/catalogue": ("catalogue.write",)})
    with standing({"PUT /v1/catalogue": echo, "$default": echo}, jwt) as port:
        held = token(sub="u1", exp=later, groups=["a", "b"], email_verified=True, scope="read catalogue.write")
        status, _, event = call(port, "GET", "/", authorization=held)
        claims = {"sub": "u1", "exp": str(later), "groups": "[a b]", "email_verified": "true"}
        claims["scope"] = "read catalogue.write"
        assert status == 200
        assert event["requestContext"]["authorizer"] == {"jwt": {"claims": claims, "scopes": None}}
        event = call(port, "PUT", "/v1/catalogue", authorization=held)[2]
        assert event["requestContext"]["authorizer"]["jwt"]["scopes"] == ["read", "catalogue.write"]
        poor = token(sub="u1", exp=later, scope="read")
        assert call(port, "PUT", "/v1/catalogue", authorization=poor)[0::2] == (403, {"message": "Forbidden"})


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer a.b",
        "Bearer a.!!.c",
        "Bearer a.MQ.c",
        token(sub="u"),
        token(sub="u", exp=1),
        token(exp="x"),
    ],
)
def test_jwt_turns_away_what_is_no_valid_token(echo: Function, authorization: str) -> None:
    with standing({"$default": echo}, Jwt()) as port:
        answer = call(port, "GET", "/", authorization=authorization)
        assert answer[0::2] == (401, {"message": "Unauthorized"})
