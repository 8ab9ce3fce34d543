"""Log lines: one JSON object a line on stderr, without a raw user id, ever.

A user appears as a keyed hash, so that the lines of one user can be joined and nobody can be looked up without the
key. Everything is escaped to ASCII, so that no id or header can start a line of its own. The edge writes here; the
Lambda runtime and a terminal both show stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from types import TracebackType
from typing import Final

import msgspec

from contracts.errors import ItemNotFound, MethodNotAllowed, RequestInvalid, RouteNotFound, TandemError
from lambda_user_tower.settings import LEVELS

_OURS: Final = 500
"""Status from which a failure is ours and wakes somebody up."""

_HASH_BYTES: Final = 8
"""64 bits: no collision to speak of among a hundred million users, short enough to read."""
_KEY_BYTES: Final = 32

_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


class Log:
    """A writer of log lines at or above a level."""

    def __init__(self, level: str = "INFO", key: str = "") -> None:
        self._rank = LEVELS.index(level)
        # a long secret is hashed first: blake2b takes at most 64 bytes of key
        self._key = blake2b(key.encode(), digest_size=_KEY_BYTES).digest() if key else os.urandom(_KEY_BYTES)

    def writes(self, level: str) -> bool:
        """Whether a line of this level would be written, for callers whose fields cost something to compute."""
        return LEVELS.index(level) >= self._rank

    def write(self, level: str, event: str, **fields: object) -> None:
        """Write one line."""
        if self.writes(level):
            sys.stderr.write(_line({"level": level, "event": event, **fields}) + "\n")

    def answered(self, status: int, facts: Mapping[str, object]) -> None:
        """Write the line of a request."""
        self.write("ERROR" if status >= _OURS else "INFO", "request", status=status, **facts)

    def pseudonym(self, user_id: str | None) -> str | None:
        """A user as the log knows them."""
        if user_id is None:
            return None
        text = user_id.encode(errors="surrogatepass")
        return blake2b(text, key=self._key, digest_size=_HASH_BYTES).hexdigest()


def _line(fields: Mapping[str, object]) -> str:
    """An object as a line of ASCII. The standard library escapes whatever else there is, half a surrogate pair too."""
    try:
        line = _encode(fields).decode()
    except UnicodeEncodeError:
        line = ""
    return line if line.isascii() and line else json.dumps(fields, default=str)


def cause(error: Exception) -> dict[str, object]:
    """What the log says of a failed request: codes and places, not values, since values may be a user's."""
    if isinstance(error, RequestInvalid | RouteNotFound | ItemNotFound | MethodNotAllowed):
        return {"problem": error.code}
    if isinstance(error, TandemError):
        return {"problem": error.code, "error": str(error)}
    return {"problem": type(error).__name__, "frames": list(_frames(error.__traceback__))}


def _frames(frame: TracebackType | None) -> Iterator[str]:
    """Where an unexpected failure came from, innermost last."""
    while frame is not None:
        yield f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
        frame = frame.tb_next
