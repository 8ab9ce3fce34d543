"""The calls about items: `PUT /v1/items/{id}`, `POST /v1/items` and `PATCH /v1/items/{id}`.

Each opens what it needs, parses, has `items.py` do the work and answers. Only trusted callers tell items: one that is
let in as a user is refused. `edge.py` owns one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from contracts.deadline import Deadline
from contracts.errors import UserForbidden
from lambda_user_tower.encoding import Encoders
from lambda_user_tower.items import Desk, patch_item, put_item, put_items
from lambda_user_tower.items_parse import parse_item, parse_items, parse_state
from lambda_user_tower.laps import Laps
from lambda_user_tower.live import FIRST_PATIENCE_SECONDS, LiveItems
from lambda_user_tower.payload import Answerer, Call, Facts, authorised_user
from lambda_user_tower.places import ItemStatus, Places
from lambda_user_tower.problems import ok_response
from lambda_user_tower.routing import Endpoint
from lambda_user_tower.settings import LambdaSettings
from lambda_user_tower.storage import Storage


class ItemCalls:
    """Answers about items."""

    def __init__(self, storage: Storage, encoders: Encoders, live: LiveItems, settings: LambdaSettings) -> None:
        """Opens nothing yet."""
        self._storage, self._encoders, self._live = storage, encoders, live
        self._places = Places(live, settings.retrieval.fresh_items)
        self._budget_ms = settings.budget_ms
        self.answerers: Mapping[Endpoint, Answerer] = {
            Endpoint.PUT_ITEM: self._put,
            Endpoint.PUT_ITEMS: self._put_all,
            Endpoint.PATCH_ITEM: self._patch,
        }

    def _put(self, identifier: str, call: Call, facts: Facts) -> dict[str, Any]:
        _refuse_users(call)
        told, laps = parse_item(identifier, call.event), Laps()
        desk = self._desk(laps)
        answer = put_item(told, desk)
        laps.lap("write")
        facts |= {"told": {str(answer.status): 1}, **laps.ms}
        return ok_response(answer)

    def _put_all(self, _: str, call: Call, facts: Facts) -> dict[str, Any]:
        _refuse_users(call)
        told, laps = parse_items(call.event), Laps()
        desk = self._desk(laps)
        answer = put_items(told, desk)
        laps.lap("write")
        facts |= {"told": answer.counts, **laps.ms}
        return ok_response(answer, 503 if ItemStatus.NOT_WRITTEN in answer.counts else 200)

    def _patch(self, identifier: str, call: Call, facts: Facts) -> dict[str, Any]:
        _refuse_users(call)
        (item_id, state), laps = parse_state(identifier, call.event), Laps()
        desk = self._desk(laps)
        answer = patch_item(item_id, state, desk)
        laps.lap("write")
        facts |= laps.ms
        return ok_response(answer)

    def _desk(self, laps: Laps) -> Desk:
        """What serves, and a view of what is fresh already that is not too old."""
        opened = self._encoders.pin()
        if self._live.age_seconds is None:
            self._live.looks.refresh(FIRST_PATIENCE_SECONDS)
        self._live.looks.refresh_within(Deadline(self._budget_ms))
        laps.lap("open")
        return Desk(opened, self._storage.fresh_items, self._places, int(time.time()))


def _refuse_users(call: Call) -> None:
    if authorised_user(call.event) is not None:
        raise UserForbidden("items: the caller is let in as a user.", fix="Let the shop's own services tell items.")
