"""Who left and whose sessions are whose, laid over the events of a snapshot: a column at a time, a digest a user.

An event of a session that turned out to be a user's is theirs; an event from before a user left is gone, and so is what
the dataset says of them. It does not know where events come from or how they are put in order. `snapshot.py` makes it
of the store of identities; the parts and the catalogue of a snapshot ask it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from itertools import islice
from typing import Final, Self

import polars as pl

from contracts.live import user_digest
from stores.identities import Identities

ARRIVED: Final = "received_at"
"""Unix seconds at which an event of the log arrived; null: the event is of the dataset."""
MOVED: Final = "moved"
"""Whether an event came under the id of a session, and is a user's now."""
LEFT: Final = "left_at"
"""Unix seconds at which a user left."""

CHUNK_ROWS: Final = 100_000
"""Taken from the store, or hashed, at a time: 20 MB."""

_LEFT_SCHEMA: Final = {"digest": pl.String, LEFT: pl.Int64}
_MERGED_SCHEMA: Final = {"user_id": pl.String, "merged_into": pl.String}


class People:
    """What a night knows of users beside their events."""

    def __init__(self, left: pl.DataFrame, merged: pl.DataFrame) -> None:
        """`left`: digest and left_at of users; `merged`: user_id of sessions and the user that they merged into."""
        self._left, self._merged = left.sort("digest"), merged.sort("user_id")

    @classmethod
    def of(cls, identities: Identities) -> Self:
        """Everybody in the store. Raises LiveDataUnavailable."""
        left = _frame(((one.digest, one.deleted_at) for one in identities.tombstones()), _LEFT_SCHEMA)
        return cls(left, _frame(((one.session, one.user_id) for one in identities.merges()), _MERGED_SCHEMA))

    @classmethod
    def nobody(cls) -> Self:
        """Nobody left, and no session is anybody's."""
        return cls(pl.DataFrame(schema=_LEFT_SCHEMA), pl.DataFrame(schema=_MERGED_SCHEMA))

    @property
    def any_left(self) -> bool:
        return not self._left.is_empty()

    def digest(self) -> str:
        """Changes where somebody leaves or a session becomes somebody's; empty where neither ever happened."""
        if self._left.is_empty() and self._merged.is_empty():
            return ""
        seen = sha256()
        for frame in (self._left, self._merged):
            for chunk in frame.iter_slices(CHUNK_ROWS):
                seen.update(chunk.write_csv().encode())
        return seen.hexdigest()

    def renamed(self, events: pl.DataFrame) -> pl.DataFrame:
        """Events with a column `user_id` under the ids of users, and MOVED of each; the order stays."""
        if self._merged.is_empty():
            return events.with_columns(pl.lit(value=False).alias(MOVED))
        joined = events.join(self._merged, on="user_id", how="left", maintain_order="left")
        moved = pl.col("merged_into").is_not_null().alias(MOVED)
        return joined.with_columns(moved, user_id=pl.coalesce("merged_into", "user_id")).drop("merged_into")

    def sessions_in(self, user_ids: pl.Series) -> pl.Series:
        """Those of some ids that are sessions which merged into a user, each once."""
        return user_ids.unique().to_frame("user_id").join(self._merged, on="user_id", how="semi")["user_id"]

    def departures(self, user_ids: pl.Series) -> pl.DataFrame:
        """user_id and left_at of those of some users who left, a row each. One digest is made a distinct id."""
        if self._left.is_empty():
            return pl.DataFrame(schema={"user_id": pl.String, LEFT: pl.Int64})
        distinct = user_ids.drop_nulls().unique()
        digests = pl.Series("digest", map(user_digest, distinct), pl.String)
        named = pl.DataFrame({"user_id": distinct, "digest": digests})
        return named.join(self._left, on="digest").select("user_id", LEFT)


def _frame(rows: Iterable[tuple[object, ...]], schema: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """Rows as a frame, without a Python object each for longer than a chunk."""
    return pl.concat([pl.DataFrame(schema=schema), *_chunks(iter(rows), schema)])


def _chunks(rows: Iterator[tuple[object, ...]], schema: Mapping[str, type[pl.DataType]]) -> Iterator[pl.DataFrame]:
    while chunk := list(islice(rows, CHUNK_ROWS)):
        yield pl.DataFrame(chunk, schema=schema, orient="row")
