"""What clients of a rehearsed shop tell between two nights, and what the next night must make of it.

An item that nobody knew, one of which more is told, a session that turns out to be somebody's, a user who leaves. All
of it goes through the API; what a night made of it is read from its snapshot, from the live table, and asked of the API
again. `two_nights.py` calls it.
"""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import polars as pl

from contracts.live import session_user
from contracts.night import snapshot_prefix
from local_mode.aws.stores import AwsStores
from local_mode.rehearsal.newcomers import EACH, Shop, expected
from local_mode.rehearsal.walk import LIKE, call

TOLD_ITEM: Final = "told-item"
LATE_ITEM: Final = "late-item"
"""Told while the night runs, when its dataset has been taken."""
GUEST: Final = "guest"
"""A session that signs in."""
SIGNED_IN: Final = "signed-in"
_LOOK_EVERY_SECONDS: Final = 0.25
_PARQUET: Final = ".parquet"


class LiveDay(NamedTuple):
    """What was told."""

    like: str
    """The item of which more is told, and whose features the new one has; empty where items have none."""
    leaver: str


def live_day(shop: Shop) -> LiveDay:
    """Tell everything, and see that it counts at once. Raises VerificationFailed."""
    like, features = shop.popular_item()
    if features:
        _tell(shop, like, features)
    _sign_in(shop)
    leaver = shop.somebody()
    _done(shop, f"/v1/users/{leaver}", None, "a user leaves", "DELETE", status="deleted")
    route = shop.recommend(leaver)["why"]["route"]
    expected(route == "unknown", f"{leaver} has left, and is served by route {route}.")
    return LiveDay(like if features else "", leaver)


def tell_late(shop: Shop) -> None:
    """Tell an item that the night which runs can know no more. Raises VerificationFailed."""
    _, features = shop.popular_item()
    _done(shop, f"/v1/items/{LATE_ITEM}", {"features": features}, "an item during a night", "PUT", status="fresh")


@contextmanager
def never_missing(shop: Shop, item: str) -> Iterator[None]:
    """Meanwhile the API must know an item whenever it is asked. Raises VerificationFailed where once it did not."""
    missed: list[int] = []
    ended = threading.Event()

    def look() -> None:
        asked = 0
        while not ended.wait(_LOOK_EVERY_SECONDS):
            asked += 1
            if not shop.similar(item):
                missed.append(asked)

    watch = threading.Thread(target=look, name="never-missing")
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()
    expected(not missed, f"{item} was not known at {len(missed)} looks, the first was number {min(missed, default=0)}.")


def check_night(shop: Shop, stores: AwsStores, night: str, release: str, day: LiveDay) -> Iterator[str]:
    """What a night and its release made of it: promises that were kept. Raises VerificationFailed otherwise."""
    events = snapshot_users(stores, night)
    expected(day.leaver not in events, f"{day.leaver} has left, and is in the snapshot of {night}.")
    route = shop.recommend(day.leaver)["why"]["route"]
    expected(route == "unknown", f"{night} has brought back {day.leaver}, who has left: route {route}.")
    yield f"{day.leaver}, who left, is in no event of {night} and in no profile that it wrote"
    expected(session_user(GUEST) not in events, f"the session of {SIGNED_IN} is a user of its own in {night}.")
    expected(events[SIGNED_IN] == EACH, f"{SIGNED_IN} has {events[SIGNED_IN]} events of their session in {night}.")
    expected(shop.recommend(SIGNED_IN)["why"]["route"] != "unknown", f"{SIGNED_IN} is not known after {night}.")
    yield f"what {SIGNED_IN} did before they signed in is theirs in {night}"
    if day.like:
        waiting = {item.item_id for item in stores.fresh_items.changes().items}
        expected(TOLD_ITEM in waiting, f"{TOLD_ITEM} is no live item any more, and a rollback would lose it.")
        expected(day.like not in waiting, f"{day.like} is known to all releases, and serving still follows it.")
        late = stores.fresh_items.get([LATE_ITEM])[LATE_ITEM]
        expected(release in late.encodings, f"{LATE_ITEM} was not encoded for {release}.")
        shop.await_similar(LATE_ITEM)
        yield f"{LATE_ITEM}, told while {night} ran, is served over {release}"
        yield f"{TOLD_ITEM} stays for a release that lacks it; {day.like}, which all know, is followed no more"


def snapshot_users(stores: AwsStores, night: str) -> Counter[str]:
    """User → events in the snapshot of a night; users with features and without events have 0."""
    found: Counter[str] = Counter()
    for key, size in stores.data.sizes(snapshot_prefix(night)):
        if not key.endswith(_PARQUET):
            continue
        table = pl.read_parquet(io.BytesIO(b"".join(stores.data.stream(key, size))))
        if "user_id" in table.columns:
            counted = dict(table["user_id"].value_counts().iter_rows())
            found.update(counted if "item_id" in table.columns else dict.fromkeys(counted, 0))
    return found


def _tell(shop: Shop, like: str, features: dict[str, Any]) -> None:
    _done(shop, f"/v1/items/{TOLD_ITEM}", {"features": features}, "a new item", "PUT", status="fresh")
    _done(shop, f"/v1/items/{like}", {"features": features}, "more of an item", "PUT", status="known")
    shop.await_similar(TOLD_ITEM)
    near = call(shop.url, f"/v1/items/{like}/similar?num_items={LIKE}", None, f"similar to {like}").answer["items"]
    expected(TOLD_ITEM in {item["item_id"] for item in near}, f"{TOLD_ITEM} is not among what is like {like}.")


def _sign_in(shop: Shop) -> None:
    """A session without a user has events, and then it is somebody's."""
    events = [{"session_id": GUEST, "item_id": item} for item in shop.popular(EACH)]
    taken = call(shop.url, "/v1/events", {"events": events}, "events of a session").answer
    expected(taken.get("counts") == {"accepted": EACH}, f"a session's events are not taken: {taken}.")
    _done(shop, f"/v1/users/{SIGNED_IN}/merge", {"session_id": GUEST}, "a session signs in", "POST", status="merged")
    slate = shop.recommend(SIGNED_IN)
    expected(slate["why"]["route"] != "unknown", f"{SIGNED_IN} has signed in, and their session is not theirs.")


def _done(shop: Shop, path: str, body: dict[str, Any] | None, what: str, method: str, *, status: str) -> None:
    step = call(shop.url, path, body, what, method)
    expected(step.status == 200 and step.answer["status"] == status, f"{what}: {step.status}: {step.answer}")
