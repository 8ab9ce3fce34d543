"""AWS for tests: moto's own HTTP server, so that botocore signs, sends, retries and parses as it does against AWS.

One server serves a session; tests keep apart by the names of what they create. `tests/conftest.py` makes it the
fixture `moto_endpoint`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.request import Request, urlopen

import pytest

from local_mode.rehearsal.moto_private import writing_in_one_step

REGION: Final = "eu-central-1"

_ENVIRONMENT: Final = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""No test can reach a real account, even where the machine has one configured."""


@contextmanager
def moto_endpoint() -> Iterator[str]:
    """The URL of a running moto server; until it ends, the environment names fake credentials and one region."""
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in _ENVIRONMENT.items():
            patch.setenv(name, value)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each call of a client
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            with writing_in_one_step():
                yield f"http://{host}:{port}"
        finally:
            server.stop()


def run_machines(endpoint: str, *, run: bool = True) -> None:
    """Let moto run what Step Functions is told to start, or only note it: one setting for all tests of a process."""
    body = json.dumps({"stepfunctions": {"execute_state_machine": run}}).encode()
    request = Request(  # noqa: S310  # moto's own server on the loopback address
        f"{endpoint}/moto-api/config", body, {"Content-Type": "application/json"}, method="POST"
    )
    urlopen(request, timeout=10).close()  # noqa: S310  # see above


def stop_execution(states: Any, arn: str, seconds: float = 30) -> None:
    """Stop an execution and wait until it has stopped: StopExecution answers before that, here and in AWS.

    Asked again meanwhile, for moto loses what reaches it before the first state or between two. AssertionError after
    so many seconds.
    """
    until = time.monotonic() + seconds
    states.stop_execution(executionArn=arn)
    while states.describe_execution(executionArn=arn)["status"] == "RUNNING":
        assert time.monotonic() < until, f"{arn} still runs"
        time.sleep(0.05)
        states.stop_execution(executionArn=arn)
