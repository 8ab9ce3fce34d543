"""Log lines from CloudWatch: pages, levels, the runtime's own lines, and following."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any
from uuid import uuid4

import pytest

from contracts.errors import AwsCallFailed, RequestInvalid
from local_mode.aws.account import Account
from local_mode.aws.logs import LEVELS, follow, read, readable, seconds_of

OK = '{"level":"INFO","message":"request","service":"recommend","status":200,"endpoint":"recommendations","ms":3.5}'
SLOW = '{"level":"WARNING","message":"log-key-not-read","error":"denied"}'
FAILED = '{"level":"ERROR","message":"request","status":503,"problem":"store-unavailable","degraded":[]}'
IMPORT = "[ERROR] Runtime.ImportModuleError: Unable to import module"
TIMEOUT = "2026-11-26T01:00:00.000Z 1f2e Task timed out after 10.01 seconds"
START = "START RequestId: 1f2e Version: 3\n"


class Group:
    """A log group with one stream."""

    def __init__(self, account: Account) -> None:
        self.account, self.name = account, f"/aws/lambda/{uuid4().hex}"
        self._client = account.client("logs")
        self._client.create_log_group(logGroupName=self.name)
        self._client.create_log_stream(logGroupName=self.name, logStreamName="one")

    def write(self, *lines: str, seconds_ago: float = 5) -> None:
        first = int((time.time() - seconds_ago) * 1000)
        events = [{"timestamp": first + place, "message": line} for place, line in enumerate(lines)]
        self._client.put_log_events(logGroupName=self.name, logStreamName="one", logEvents=events)

    def read(self, level: str = "INFO", since_seconds: int = 60) -> list[str]:
        return [line.text for line in read(self.account, self.name, since_seconds, level)]


@pytest.fixture
def group(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    account = Account()
    yield Group(account)
    account.close()


def test_lines_come_in_order_from_the_time_that_was_asked_for(group: Group) -> None:
    group.write("long ago", seconds_ago=3_600)
    group.write(START, OK, FAILED)
    assert group.read() == [START.rstrip(), OK, FAILED]
    assert group.read(since_seconds=7_200)[0] == "long ago"


def test_a_level_takes_in_what_is_worse_and_what_the_runtime_says_of_failures(group: Group) -> None:
    group.write(START, OK, SLOW, FAILED, IMPORT, TIMEOUT)
    assert group.read("ERROR") == [FAILED, IMPORT, TIMEOUT]
    assert group.read("WARNING") == [SLOW, FAILED, IMPORT, TIMEOUT]


def test_many_lines_are_read_page_by_page(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"line {number}" for number in range(2_500)]
    for first in range(0, len(lines), 500):
        group.write(*lines[first : first + 500], seconds_ago=50 - first / 100)
    pages: list[Any] = []
    client = group.account.client("logs")
    client.meta.events.register("after-call.cloudwatch-logs.FilterLogEvents", lambda **_: pages.append(1))
    monkeypatch.setattr(client, "get_paginator", _small_pages(client))
    assert group.read() == lines
    assert len(pages) == 25


def _small_pages(client: Any) -> Any:
    """The client's own paginator with pages of 100."""
    paginator = client.get_paginator("filter_log_events")
    paginate = paginator.paginate
    paginator.paginate = lambda **words: paginate(**words, PaginationConfig={"PageSize": 100})
    return lambda _: paginator


def test_followed_each_line_comes_once_and_late_ones_are_found(group: Group) -> None:
    group.write("first", "second")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            group.write("late", seconds_ago=30)  # written after others that are newer
        if len(pauses) == 2:
            group.write("third", seconds_ago=0.01)

    lines = follow(group.account, group.name, 60, pause=pause)
    assert [line.text for line in islice(lines, 4)] == ["first", "second", "late", "third"]
    assert len(pauses) == 2


def test_a_group_that_is_not_there_is_said(group: Group) -> None:
    with pytest.raises(AwsCallFailed, match="FilterLogEvents: ResourceNotFoundException"):
        list(read(group.account, "/aws/lambda/nowhere", 60))


def test_a_request_is_readable(group: Group) -> None:
    group.write(OK, FAILED, START)
    shown = [readable(line) for line in read(group.account, group.name, 60)]
    assert shown[0] == "request status=200 endpoint=recommendations ms=3.5"
    assert shown[1] == "request status=503 problem=store-unavailable"
    assert shown[2] == START.rstrip()


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7_200), ("1d", 86_400)])
def test_times(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["15", "m", "-1m", "1 h", "1w", "99999999d"])
def test_no_time(text: str) -> None:
    with pytest.raises(RequestInvalid, match="is not a time"):
        seconds_of(text)


def test_the_levels_of_the_edge_are_these() -> None:
    from lambda_user_tower.settings import LEVELS as WRITTEN

    assert LEVELS == WRITTEN
