"""A home with a published toy release, users of every route and live items, for tests of the batch and of the handler.

Users: `warm0`… with twenty events each, `cold` with two, `told` of whom only features are known, `angry` who only
disliked things, `reader` who has seen most of the catalogue, `here` whose visit is going on at NOW, `left` who left and
`again` who came back. `stranger` has no profile.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from batch_job.recommend_plan import Plan, Sources
from contracts.live import LiveItem, features_digest
from contracts.profile import HistoryEvent
from retrieval.fresh import FreshEncoder
from stores.fresh_items import Put, SqliteFreshItems
from stores.identities import SqliteIdentities
from stores.profiles import SqliteProfiles
from stores.releases import LocalReleases
from tests.lambda_user_tower.conftest import publish, seal
from tests.toy_world import DAY, NOW, item_id, toy_model

ITEMS = 400
WARM = 12
PEOPLE = ("cold", "told", "angry", "reader", "here", "again", *(f"warm{number}" for number in range(WARM)))
"""Whoever has a profile and did not leave."""
EVERYBODY = ("stranger", *PEOPLE)
HIDDEN = (0, 5, 40)
SOLD_OUT = (3, 10)
FRESH = 12


def build(home: Path, served_model: str = "two_tower") -> Path:
    """Fill a home."""
    release = seal(home, toy_model(n_items=ITEMS, unavailable=(1,), expired=(2,)))
    publish(home, release, served_model=served_model)
    with SqliteProfiles(home / "profiles.sqlite") as profiles, closing(identities(home)) as told:
        for number in range(WARM):
            profiles.append(f"warm{number}", history(range(number, 200 + number, 10)))
        profiles.append("cold", history((3, 8)))
        profiles.append("angry", history(range(20, 30), weight=-1.0))
        profiles.append("reader", history(range(20, 320)))
        profiles.append("here", [*history(range(30, 90, 5)), HistoryEvent(item_id(77), NOW - 60)])
        profiles.append("anonymous:visit", history((4, 9)))
        for user in ("left", "again"):
            profiles.append(user, history((1, 2, 3, 4, 5, 6)))
            told.bury(user, NOW - DAY)
            profiles.forget(user, NOW - DAY)
        profiles.append("again", history((11, 16), later=DAY))
        for user, features in (("told", {"gender": "F"}), ("cold", {"gender": "M", "age": 30}), ("warm1", {"age": 50})):
            profiles.put_features(user, features)
    return home


def history(rows: Sequence[int], weight: float = 1.0, later: int = 0) -> list[HistoryEvent]:
    """Events of some items, the newest two hours before NOW."""
    return [HistoryEvent(item_id(row), NOW - 7_200 - len(rows) + place, weight) for place, row in enumerate(rows)]


def tell_live_items(home: Path) -> None:
    """Fresh items, half of them with their encodings, one that was clicked; hidden and sold out ones."""
    release = LocalReleases(home).serving().publication.release
    encoder = FreshEncoder(LocalReleases(home).open(release), release)
    with closing(SqliteFreshItems(home / "live.sqlite")) as store:
        for number in range(FRESH):
            features = {"genre": ("art", "books", "cars")[number % 3], "title": f"Toy {number}", "published": NOW - DAY}
            item = LiveItem(
                item_id=f"fresh{number}", features=features, digest=features_digest(features), created_at=NOW - number
            )
            store.put([Put(item, release, encoder.encode(features)) if number % 2 else Put(item)], NOW)
        store.count({"fresh0": 3}, NOW)
        store.patch("fresh1", NOW, hidden=True)
        for row in HIDDEN:
            store.patch(item_id(row), NOW, hidden=True)
        for row in SOLD_OUT:
            store.patch(item_id(row), NOW, available=False)


def identities(home: Path) -> SqliteIdentities:
    return SqliteIdentities(home / "live.sqlite")


def sources_of(home: Path) -> Sources:
    """The stores of a home."""
    return Sources(
        partial(LocalReleases, home),
        partial(SqliteProfiles, home / "profiles.sqlite"),
        partial(SqliteFreshItems, home / "live.sqlite"),
        partial(SqliteIdentities, home / "live.sqlite"),
    )


def plan_for(users: Path | None = None, **changes: Any) -> Plan:
    return Plan(**{"users": users, "now_seconds": NOW, **changes})


def file_of(folder: Path, users: Sequence[str]) -> Path:
    """A file of ids, one a line."""
    path = folder / "users.txt"
    path.write_text("".join(f"{user}\n" for user in users))
    return path


def rows_of(out: Path) -> pl.DataFrame:
    """Everything in a folder, by user and rank."""
    return pl.read_parquet(out / "part-*.parquet").sort("user_id", "rank")
