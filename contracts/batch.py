"""Recommendations for many users as files: what a folder of them was made from, and what is in it.

    _manifest.json            from what it is made; written before anything else of it
    part-00000.parquet …      user_id, rank (from 1), item_id, score, route, model, explored; of some users each
    _SUCCESS                  what is in it; written last, so a folder without it is not finished

`batch_job/recommend.py` writes it; whoever sends mail or fills a cache reads it.
"""

from __future__ import annotations

from typing import Final

import msgspec

BATCH_MANIFEST: Final = "_manifest.json"
BATCH_SUCCESS: Final = "_SUCCESS"
CURRENT_BATCH_VERSION: Final = 1
OLDEST_READABLE_BATCH_VERSION: Final = 1


class BatchManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What all parts of one folder have in common."""

    format_version: int = CURRENT_BATCH_VERSION
    publication: str
    release: str
    served_model: str
    users: str
    """sha256 of the file that names the users, or `all`."""
    num_items: int
    settings: dict[str, str]
    """What else decides the slates: of retrieval, of re-ranking and of the promotion."""
    moment: int
    """Unix seconds: all slates are those of this time."""
    listed: int
    """Users to make recommendations for, each once; who has left by then is left out later."""
    anonymous: int
    """Sessions of nobody that were named and are not listed."""
    parts: int


class PartCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What is in one part, or in all of them."""

    users: int = 0
    """With recommendations."""
    rows: int = 0
    left: int = 0
    """Users who left: nothing of them is in a part."""
    without_items: int = 0
    """Users for whom nothing was eligible."""
    unreadable: int = 0
    """Users whose profile could not be read; they have what a stranger is served."""
    routes: dict[str, int] = {}
    """Route → users."""

    def __add__(self, other: PartCounts) -> PartCounts:
        names = [*self.routes, *other.routes]
        return PartCounts(
            users=self.users + other.users,
            rows=self.rows + other.rows,
            left=self.left + other.left,
            without_items=self.without_items + other.without_items,
            unreadable=self.unreadable + other.unreadable,
            routes={name: self.routes.get(name, 0) + other.routes.get(name, 0) for name in sorted(set(names))},
        )


class BatchDone(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `_SUCCESS`."""

    manifest: BatchManifest
    counts: PartCounts
    parts_made: int
    """By the run that finished it; the others were there."""
