"""What is told to a user who asked to be forgotten: what was removed from where, that it is gone, and what is left.

`batch_job/forget.py` makes one; the person who asked is given it. Besides it only the journal of the work is kept,
which names the user by a digest.
"""

from __future__ import annotations

from typing import Final

import msgspec

CERTIFICATE_VERSION: Final = 1


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken out of one place."""

    kind: str
    """`event log`, `dataset`, …"""
    where: str
    files: int
    rows: int


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What was read again afterwards, to see that nothing is left."""

    kind: str
    where: str
    files: int
    rows_since: int = 0
    """Of after the user left: a new beginning, which stays."""


class Remaining(msgspec.Struct, frozen=True, kw_only=True):
    """What is left for a while, or for good, and why."""

    what: str
    until: str


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """One user, forgotten."""

    format_version: int = CERTIFICATE_VERSION
    user_id: str
    user_digest: str
    """What the stores go on knowing of them."""
    left_at: str
    """ISO 8601, UTC; what came later is not part of this."""
    made_at: str
    sessions: int
    """Anonymous sessions that were theirs, and whose events went too."""
    profile: bool
    """Whether a profile held anything of them, now or when they left."""
    removed: list[Removed]
    checked: list[Checked]
    pending: list[str]
    """What could not be done or seen yet; empty: everything is done."""
    remains: list[Remaining]

    @property
    def complete(self) -> bool:
        return not self.pending
