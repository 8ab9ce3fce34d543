"""A day of a rehearsed shop: people who come back, somebody new, and an item that was not there yesterday.

Events go through the API, as callers send them; the catalogue is sent to the data bucket, as whoever owns it does. What
a night makes of them is asked of the API too. `two_nights.py` calls it.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from contracts.errors import VerificationFailed
from contracts.event import MAX_EVENTS
from contracts.night import dataset_listing, dataset_prefix
from data_sources.dataset import Dataset, open_dataset, write_dataset
from local_mode.rehearsal.walk import FOUND_SECONDS, Step, call
from stores.mirrored_folder import mirror
from stores.s3_bucket import Bucket

NEW_USER: Final = "newcomer"
NEW_ITEM: Final = "new-item"

USERS: Final = 40
"""That come back on a day: a tenth of a second each in the engine of profiles on a busy machine."""
EACH: Final = 3
"""Events of one user."""
FANS: Final = 25
"""Users that take up the new item: enough to leave the cold ones (5 events) behind."""
_AGAIN_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 60.0
"""A process looks at the pointer once a second, and opens a release in some seconds on a busy machine."""


@dataclass(frozen=True)
class Shop:
    """A dataset, and the API that serves it."""

    url: str
    folder: Path
    """Of the dataset, which grows with its catalogue."""
    bucket: Bucket
    """Of data."""

    @property
    def name(self) -> str:
        """Of the dataset in the bucket."""
        return self.folder.name

    def day(self, seed: int) -> int:
        """People come back and click what is popular and what is not; how many events were taken."""
        found = open_dataset(self.folder)
        draw = random.Random(seed)
        users = draw.sample(found.events["user_id"].unique().sort().to_list(), USERS)
        items = found.items["item_id"].to_list() or found.events["item_id"].unique().sort().to_list()
        return self._send([(user, item) for user in users for item in draw.sample(items, EACH)])

    def new_item(self) -> None:
        """Put an item into the catalogue, in all but its name one that exists."""
        found = open_dataset(self.folder)
        if not found.items.width:
            return  # a bare list of sequences has no catalogue: an item is there when somebody takes it
        like = found.items.filter(pl.col("item_id") == self.popular(1)[0]).with_columns(item_id=pl.lit(NEW_ITEM))
        users = found.users if found.users.width else None
        write_dataset(self.folder, found.schema, found.events, users, pl.concat([found.items, like]))
        mirror(self.folder, self.bucket, dataset_prefix(self.name), dataset_listing(self.name))

    def newcomers(self) -> int:
        """Somebody new, who takes what is popular and the new item, and others who take it too; how many events."""
        found = open_dataset(self.folder)
        popular = _by_events(found, "item_id").head(EACH + 2).to_list()
        fans = _by_events(found, "user_id").head(FANS).to_list()
        return self._send([(NEW_USER, item) for item in (*popular, NEW_ITEM)] + [(fan, NEW_ITEM) for fan in fans])

    def recommend(self, user: str) -> dict[str, Any]:
        """Their slate."""
        answer: dict[str, Any] = _expect(
            call(self.url, "/v1/recommendations", {"user_id": user, "num_items": 10}, "recommendations")
        )
        return answer

    def popular(self, number: int) -> list[str]:
        """The most popular items, best first."""
        return [str(item) for item in _by_events(open_dataset(self.folder), "item_id")[:number]]

    def popular_item(self) -> tuple[str, dict[str, Any]]:
        """See the function of this name."""
        return popular_item(self.folder)

    def somebody(self) -> str:
        """A user who has done much, and is none of the fans."""
        return str(_by_events(open_dataset(self.folder), "user_id")[FANS])

    def similar(self, item: str) -> list[str]:
        """Items like one; none where the release does not know it."""
        step = call(self.url, f"/v1/items/{item}/similar", None, "similar items")
        return [each["item_id"] for each in step.answer["items"]] if step.status == 200 else []

    def await_similar(self, item: str) -> None:
        """Until the API knows an item that was told. Raises VerificationFailed where it does not come to."""
        until = time.monotonic() + FOUND_SECONDS
        while not self.similar(item):
            expected(time.monotonic() < until, f"{item} was told, and is not known after {FOUND_SECONDS:.0f} s.")
            time.sleep(_AGAIN_SECONDS)

    def await_release(self, release: str) -> None:
        """Until the API serves a release. Raises VerificationFailed where it goes on serving another."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while (served := self.recommend(NEW_USER)["why"]["release"]) != release:
            if time.monotonic() > until:
                raise VerificationFailed(f"{release} was published, and the API goes on serving {served}.")
            time.sleep(_AGAIN_SECONDS)

    def _send(self, pairs: list[tuple[str, str]]) -> int:
        """Events of now, a batch a request. Raises VerificationFailed where one is not taken."""
        for first in range(0, len(pairs), MAX_EVENTS):
            events = [{"user_id": user, "item_id": item} for user, item in pairs[first : first + MAX_EVENTS]]
            answer = _expect(call(self.url, "/v1/events", {"events": events}, "events"))
            if answer["counts"].get("accepted", 0) + answer["counts"].get("unknown-item", 0) != len(events):
                raise VerificationFailed(f"not all of {len(events)} events were taken: {answer['counts']}.")
        return len(pairs)


def expected(kept: bool, otherwise: str) -> None:
    """Raise VerificationFailed where a promise is broken."""
    if not kept:
        raise VerificationFailed(otherwise)


def popular_item(dataset: Path) -> tuple[str, dict[str, Any]]:
    """The most popular item of a dataset, and its features as a client tells them; empty where items have none."""
    found = open_dataset(dataset)
    item = str(_by_events(found, "item_id")[0])
    if not found.items.width:
        return item, {}
    rows = found.items.filter(pl.col("item_id") == item).drop("item_id").to_dicts()
    return item, {name: value for row in rows for name, value in row.items() if value is not None}


def _by_events(found: Dataset, column: str) -> pl.Series:
    """Items or users, those with most events first; of those with as many, always the same."""
    counted = found.events.group_by(column).len()
    return counted.sort("len", column, descending=[True, False])[column]


def _expect(step: Step) -> Any:
    if step.status != 200:
        raise VerificationFailed(f"{step.what}: status {step.status}: {step.answer}")
    return step.answer
