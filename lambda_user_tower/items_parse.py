"""Bodies of the endpoints about items → typed requests, each mistake named by the item and the field that it is in.

One item is refused without the others: a batch is taken apart first, and each element is decoded on its own. Whether a
feature exists is decided in `items.py`. `item_calls.py` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from contracts.errors import RequestInvalid
from contracts.request import ItemBatch, ItemFeatures, ItemFeatureValue, ItemState, ItemToPut
from lambda_user_tower.parse import decoded, refuse_repeats, refuse_two_lists, stored_id
from lambda_user_tower.payload import invalid, read_body, within

MAX_ITEMS_BODY_BYTES: Final = 1024 * 1024
"""A hundred items of the longest features that are kept, and their ids."""

_FEATURES: Final = msgspec.json.Decoder(ItemFeatures)
_ITEM: Final = msgspec.json.Decoder(ItemToPut)
_BATCH: Final = msgspec.json.Decoder(ItemBatch)
_STATE: Final = msgspec.json.Decoder(ItemState)
_MEMBERS: Final = {"features": ItemFeatureValue}


def parse_item(identifier: str, event: dict[str, Any]) -> ItemToPut:
    """The item of `PUT /v1/items/{id}`. Raises RequestInvalid."""
    body = read_body(event)
    told = decoded(_FEATURES, body, lambda: refuse_repeats(body, ItemFeatures.__struct_fields__), _MEMBERS)
    return ItemToPut(stored_id(identifier, "item_id"), told.features)


def parse_items(event: dict[str, Any]) -> Sequence[ItemToPut | RequestInvalid]:
    """The items of `POST /v1/items`, with the reason in place of those that cannot be understood.

    Raises RequestInvalid where the body is no batch of at most `MAX_ITEMS_PUT` items.
    """
    body = read_body(event, MAX_ITEMS_BODY_BYTES)
    raw = decoded(_BATCH, body, lambda: refuse_two_lists(body, "items")).items
    return [_item_or_reason(element, place) for place, element in enumerate(raw)]


def parse_state(identifier: str, event: dict[str, Any]) -> tuple[str, ItemState]:
    """Id and state of `PATCH /v1/items/{id}`. Raises RequestInvalid, also where nothing is to change."""
    body = read_body(event)
    state = decoded(_STATE, body, lambda: refuse_repeats(body, ItemState.__struct_fields__))
    if state == ItemState():
        raise invalid("body", "nothing is to change", fix="Give `available`, `hidden` or both.")
    return stored_id(identifier, "item_id"), state


def _item_or_reason(element: msgspec.Raw, place: int) -> ItemToPut | RequestInvalid:
    body = bytes(element)
    try:
        told = decoded(_ITEM, body, lambda: refuse_repeats(body, ItemToPut.__struct_fields__), _MEMBERS)
        stored_id(told.item_id, "item_id")
    except RequestInvalid as error:
        return within(error, f"items[{place}]")
    return told
