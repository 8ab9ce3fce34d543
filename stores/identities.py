"""Who left, and which anonymous session turned out to be whom: what every reading of old events has to respect.

`Identities` is the protocol, `SqliteIdentities` the local class; the one in AWS is `dynamodb_identities.py`. Small
against the users: a line a departure or a sign-in. The profile's own record says the same to writers of live events;
this is the list that a night, a batch and a job of forgetting read whole. It does not know profiles or logs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from contracts.live import Merge, Tombstone


class Identities(Protocol):
    """Where tombstones and merges are kept. Every method raises LiveDataUnavailable where the store cannot answer."""

    def bury(self, user_id: str, now_seconds: int) -> Tombstone:
        """A user left: written before anything of them is removed. The latest departure counts."""
        ...

    def merge(self, session: str, user_id: str, now_seconds: int) -> Merge:
        """A session is a user's; the first one to say so wins, and is returned to everybody else too."""
        ...

    def tombstones(self) -> Iterator[Tombstone]:
        """All of them, in no order."""
        ...

    def merges(self) -> Iterator[Merge]:
        """All of them, in no order."""
        ...

    def tombstone(self, user_id: str) -> Tombstone | None:
        """That of one user."""
        ...

    def forget_merge(self, session: str) -> None:
        """Take the name of the user from a session; its tombstone keeps its events out from then on."""
        ...

    def connect(self) -> None:
        """Make ready what a request would wait for; nothing is sent."""
        ...

    def reconnect(self) -> None:
        """Let go of connections that a snapshot has cut."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
