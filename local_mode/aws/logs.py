"""The functions' log lines from CloudWatch: read page by page, filtered by level, followed, and told apart.

A line is an object of `lambda_user_tower`'s log, or text of the runtime's own (a start, a report, an import that
failed). Knows nothing of terminals; `tandem aws logs` prints what it yields.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from contracts.errors import RequestInvalid
from local_mode.aws.account import Account, naming_aws_failures

LEVELS: Final = ("INFO", "WARNING", "ERROR")
POLL_SECONDS: Final = 2.0
"""Between two looks of `follow`: CloudWatch lets an account look some ten times a second."""
_SETTLING_SECONDS: Final = 60
"""Lines may appear so long after others that are newer; they are looked for again."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_RUNTIME_FAILURES: Final = ("[ERROR]", "Task timed out", "Traceback", "errorType", "Runtime.")
"""Parts of the runtime's own lines that tell of a failure."""
_PATTERNS: Final = {
    level: " ".join(f'?"{term}"' for term in (*LEVELS[LEVELS.index(level) :], "CRITICAL", *_RUNTIME_FAILURES))
    for level in LEVELS[1:]
}
"""Level → what CloudWatch leaves out itself, any of the terms being enough; every line of INFO is wanted."""


@dataclass(frozen=True)
class Line:
    """One line of a log."""

    id: str
    at: float
    """Unix seconds."""
    level: str
    """One of LEVELS; a line of the runtime is ERROR where it tells of a failure, else INFO."""
    text: str
    """As it was written."""
    fields: dict[str, Any] = field(default_factory=dict)
    """Of a line that is a JSON object."""

    @property
    def moment(self) -> str:
        """HH:MM:SS, UTC."""
        return datetime.fromtimestamp(self.at, UTC).strftime("%H:%M:%S")


def seconds_of(text: str) -> int:
    """`90s`, `15m`, `2h` or `1d` in seconds. Raises RequestInvalid."""
    if not (found := re.fullmatch(r"(\d{1,6})([smhd])", text)):
        raise RequestInvalid(f"--since {text!r} is not a time.", field="since", fix="Give it as 90s, 15m, 2h or 1d.")
    return int(found[1]) * _UNITS[found[2]]


def read(account: Account, group: str, since_seconds: int, level: str = "INFO") -> Iterator[Line]:
    """Lines of a log group of the last so many seconds, at or above a level, in order. Raises AwsCallFailed."""
    yield from _read_from(account, group, time.time() - since_seconds, level)


def follow(
    account: Account,
    group: str,
    since_seconds: int,
    level: str = "INFO",
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Line]:
    """Lines as `read` gives them, and from then on those that come. Ends when its caller stops asking."""
    tail = Tail(account, group, since_seconds, level)
    while True:
        yield from tail.new()
        pause(POLL_SECONDS)


class Tail:
    """The end of a log group: each line once."""

    def __init__(
        self, account: Account, group: str, since_seconds: int, level: str = "INFO", streams: str = ""
    ) -> None:
        """`streams`: how the names of the log streams begin that are read; empty: all are."""
        self._account, self._group, self._level, self._streams = account, group, level, streams
        self._since = time.time() - since_seconds
        self._shown: dict[str, float] = {}

    def new(self) -> Iterator[Line]:
        """Lines that have come since the last call, in order. Raises AwsCallFailed."""
        for line in _read_from(self._account, self._group, self._since, self._level, self._streams):
            if line.id not in self._shown:
                self._shown[line.id] = line.at
                yield line
        self._since = max(self._since, time.time() - _SETTLING_SECONDS)
        self._shown = {identity: at for identity, at in self._shown.items() if at >= self._since}


def _read_from(account: Account, group: str, since: float, level: str, streams: str = "") -> Iterator[Line]:
    least = LEVELS.index(level)
    with naming_aws_failures():
        pages = account.client("logs").get_paginator("filter_log_events")
        sieve = {"filterPattern": _PATTERNS[level]} if level in _PATTERNS else {}
        sieve |= {"logStreamNamePrefix": streams} if streams else {}
        for page in pages.paginate(logGroupName=group, startTime=int(since * 1000), **sieve):
            for event in page["events"]:
                line = _line(event)
                if LEVELS.index(line.level) >= least:
                    yield line


def _line(event: dict[str, Any]) -> Line:
    text = event["message"].rstrip()
    try:
        fields = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError:
        fields = {}
    level = str(fields.get("level", "")).upper()
    if level == "CRITICAL":
        level = "ERROR"
    if level not in LEVELS:
        level = "ERROR" if any(part in text for part in _RUNTIME_FAILURES) else "INFO"
    return Line(event["eventId"], event["timestamp"] / 1000, level, text, fields)


_SHOWN: Final = ("status", "endpoint", "route", "ms", "degraded", "events", "problem", "error", "user", "request_id")
"""Of a request's line, in this order; --json has the rest."""


def readable(line: Line) -> str:
    """A line for people: what it is about, then its fields as name=value; the runtime's own as it stands."""
    about = line.fields.get("event") or line.fields.get("message")
    if not isinstance(about, str):
        return line.text
    parts = (f"{name}={_plain(line.fields[name])}" for name in _SHOWN if line.fields.get(name) not in (None, [], {}))
    return " ".join([about, *parts])


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
