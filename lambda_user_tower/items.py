"""Items in: features held against the schema of the release that serves, encoded for it, and kept for serving to find.

What a client tells of an item replaces what was told before; stock and hiding are told apart from it. Each item of a
batch gets an answer of its own, in the order of the request; the batch is one write. It knows no HTTP; `item_calls.py`
calls it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from contracts.errors import ItemNotFound, LiveDataUnavailable, RequestInvalid, StateBusy, StorageFull
from contracts.live import MAX_LIVE_FEATURES_BYTES, LiveItem, features_digest
from contracts.request import ItemState, ItemToPut
from contracts.schema import DatasetSchema, FeatureKind
from lambda_user_tower.encoding import OpenEncoder
from lambda_user_tower.features import check_features
from lambda_user_tower.payload import invalid, within
from lambda_user_tower.places import ItemStatus, Places
from stores.fresh_items import FreshItems, Put

WITHIN_SECONDS: Final = 15
"""After so long no slate of any process holds an item that was hidden: a look each five seconds, and old news from ten
seconds on are not served without saying so."""

LATEST_TIME: Final = 253_402_300_799
"""The end of the year 9999, Unix seconds; what is further away from 1970 is no time, but milliseconds, or a mistake."""

_STORE_FAILED: Final = (LiveDataUnavailable, StateBusy, StorageFull, OSError)


class ItemAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one item."""

    status: ItemStatus
    item_id: str | None = None
    """None where it was not understood."""
    retry: bool = False
    """Whether sending it again can help."""
    field: str = ""
    detail: str = ""


class ItemsAnswer(msgspec.Struct, frozen=True):
    """What became of the items of a request, in their order."""

    results: list[ItemAnswer]
    counts: dict[str, int]
    """Status → items."""


class ItemTold(msgspec.Struct, frozen=True):
    """What became of an item that was told alone."""

    item_id: str
    status: ItemStatus
    release: str
    """The release that it was held against, and encoded for where that does not know it."""


class ItemStateTold(msgspec.Struct, frozen=True):
    """Stock and hiding of an item as they are kept now."""

    item_id: str
    available: bool | None
    """None: as at training."""
    hidden: bool
    within_seconds: int
    """After so long every answer goes by it."""


class Desk(NamedTuple):
    """What items are taken in with."""

    open: OpenEncoder
    store: FreshItems
    places: Places
    now_seconds: int


def put_item(told: ItemToPut, desk: Desk) -> ItemTold:
    """Keep an item. Raises RequestInvalid, and what the store raises."""
    desk.store.put([_put(told, desk)], desk.now_seconds)
    status = desk.places.take([told.item_id], desk.open.ids, desk.now_seconds)[told.item_id]
    return ItemTold(told.item_id, status, desk.open.publication.release)


def put_items(told: Sequence[ItemToPut | RequestInvalid], desk: Desk) -> ItemsAnswer:
    """Keep several items, and say what became of each; of two of one id the later stays."""
    puts = [_put_or_reason(one, place, desk) for place, one in enumerate(told)]
    right = [put for put in puts if isinstance(put, Put)]
    statuses: Mapping[str, ItemStatus] = {}
    try:
        if right:
            desk.store.put(right, desk.now_seconds)
        statuses = desk.places.take([put.item.item_id for put in right], desk.open.ids, desk.now_seconds)
    except _STORE_FAILED:
        pass  # each of them is answered with `not-written`
    answers = [_answer(put, statuses) for put in puts]
    return ItemsAnswer(answers, dict(Counter(str(answer.status) for answer in answers)))


def patch_item(item_id: str, state: ItemState, desk: Desk) -> ItemStateTold:
    """Keep the state of an item. Raises ItemNotFound where nobody has told of it, and what the store raises."""
    if desk.open.ids.row(item_id) < 0 and not desk.store.get([item_id]):
        raise ItemNotFound(
            "neither the release that serves nor a client has told of an item of that id.",
            fix="Tell it first: PUT /v1/items/{id}.",
        )
    item = desk.store.patch(item_id, desk.now_seconds, available=state.available, hidden=state.hidden)
    return ItemStateTold(item_id, item.available, item.hidden, WITHIN_SECONDS)


def _put_or_reason(told: ItemToPut | RequestInvalid, place: int, desk: Desk) -> Put | RequestInvalid:
    if isinstance(told, RequestInvalid):
        return told
    try:
        return _put(told, desk)
    except RequestInvalid as error:
        return within(error, f"items[{place}]")


def _put(told: ItemToPut, desk: Desk) -> Put:
    """An item as the store takes it, encoded where the release does not know it. Raises RequestInvalid."""
    features = checked(told.features, desk.open.schema)
    item = LiveItem(
        item_id=told.item_id, features=features, digest=features_digest(features), created_at=desk.now_seconds
    )
    if desk.open.ids.row(told.item_id) >= 0:
        return Put(item)
    return Put(item, desk.open.publication.release, desk.open.encoder.encode(features))


def _answer(put: Put | RequestInvalid, statuses: Mapping[str, ItemStatus]) -> ItemAnswer:
    if isinstance(put, RequestInvalid):
        return ItemAnswer(ItemStatus.INVALID, field=put.field, detail=str(put))
    item_id = put.item.item_id
    if item_id not in statuses:
        return ItemAnswer(ItemStatus.NOT_WRITTEN, item_id, retry=True, detail="The store does not answer.")
    return ItemAnswer(statuses[item_id], item_id)


def checked(features: Mapping[str, Any], schema: DatasetSchema) -> dict[str, Any]:
    """The features that say something. Raises RequestInvalid, naming the feature, for what the schema does not have."""
    for name in features:
        if name not in schema.items:
            raise invalid(f"features.{name}", "there is no such item feature", fix=_choices(schema))
    check_features(features, schema.items)
    told = {name: value for name, value in features.items() if value not in (None, "", [])}
    if not told:
        raise invalid("features", "nothing is told of the item that the release could go by", fix=_choices(schema))
    for name, value in told.items():
        if schema.items[name] is FeatureKind.TIMESTAMP and not abs(value) <= LATEST_TIME:
            raise invalid(f"features.{name}", "it is no time in Unix seconds")
    if len(msgspec.json.encode(told)) > MAX_LIVE_FEATURES_BYTES:
        raise invalid("features", f"they have more than {MAX_LIVE_FEATURES_BYTES} bytes as JSON")
    return told


def _choices(schema: DatasetSchema) -> str:
    """Which features there are, for somebody who missed them."""
    return f"Give some of {', '.join(sorted(schema.items))}." if schema.items else "The schema has no item features."
