"""The calls about users: `PUT /v1/users/{id}`, `DELETE /v1/users/{id}` and `POST /v1/users/{id}/merge`.

Each parses, has `users.py` do the work and answers. A caller who is let in as a user speaks for nobody else. `edge.py`
owns one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from contracts.errors import ProfileTooLarge, RequestTooLarge, UserForbidden
from lambda_user_tower.catalogue import Catalogues
from lambda_user_tower.logs import Log
from lambda_user_tower.payload import Answerer, Call, Facts, authorised_user
from lambda_user_tower.problems import ok_response
from lambda_user_tower.routing import Endpoint
from lambda_user_tower.storage import Storage
from lambda_user_tower.users import leave, merge, put_features
from lambda_user_tower.users_parse import parse_merge, parse_user_features, parse_user_id


class UserCalls:
    """Answers about users."""

    def __init__(self, storage: Storage, catalogues: Catalogues, log: Log) -> None:
        """Opens nothing yet. `catalogues` have the schema that features are held against."""
        self._storage, self._catalogues, self._log = storage, catalogues, log
        self.answerers: Mapping[Endpoint, Answerer] = {
            Endpoint.PUT_USER: self._put,
            Endpoint.DELETE_USER: self._delete,
            Endpoint.MERGE: self._merge,
        }

    def _put(self, identifier: str, call: Call, facts: Facts) -> dict[str, Any]:
        user_id, features = self._user(identifier, call, facts), parse_user_features(call.event)
        schema = self._catalogues.pin().catalogue.schema
        try:
            answer = put_features(user_id, features, self._storage.profiles, schema, int(time.time()))
        except ProfileTooLarge as error:
            raise RequestTooLarge(f"features: {error.message}", field="features", fix="Tell fewer of them.") from error
        return ok_response(answer)

    def _delete(self, identifier: str, call: Call, facts: Facts) -> dict[str, Any]:
        user_id = self._user(identifier, call, facts)
        return ok_response(leave(user_id, self._storage.profiles, self._storage.identities, int(time.time())))

    def _merge(self, identifier: str, call: Call, facts: Facts) -> dict[str, Any]:
        user_id, session = self._user(identifier, call, facts), parse_merge(call.event)
        answer = merge(user_id, session, self._storage.profiles, self._storage.identities, int(time.time()))
        facts["merged"] = answer.events
        return ok_response(answer)

    def _user(self, identifier: str, call: Call, facts: Facts) -> str:
        """The user whom a call is about. Raises UserForbidden for another one than the caller is let in as."""
        user_id, only_user = parse_user_id(identifier), authorised_user(call.event)
        facts["user"] = self._log.pseudonym(user_id)
        if only_user not in (None, user_id):
            raise UserForbidden("id: the caller is let in as another user.", fix="Give the token's subject.")
        return user_id
