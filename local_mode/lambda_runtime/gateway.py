"""API Gateway's HTTP API on the loopback: real HTTP in, the function of the route asked, its answer out.

The server and the events are those of `dev_server.py`; what is added is what stands in front of a deployed function:
routes, an authoriser, and the gateway's own answers where a function fails. The authorisers stand in: they put into an
event what the real ones put, and verify no signature. `tandem aws rehearse-serving` and the tests call it.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from functools import cache
from http import HTTPStatus
from time import time
from typing import Any, Final

from contracts.errors import FunctionError
from local_mode.dev_server import DevServer
from local_mode.lambda_runtime.function import Function
from local_mode.lambda_runtime.instance import PAYLOAD_LIMIT
from local_mode.lambda_runtime.provided import ACCOUNT

DEFAULT_ROUTE: Final = "$default"
"""Takes whatever no other route takes."""

Event = dict[str, Any]
Authoriser = Callable[[Event], "dict[str, Any] | HTTPStatus"]
"""An event → its `requestContext.authorizer`, or the status with which the gateway turns the call away."""


class Gateway(DevServer):
    """The functions by route key: `POST /v1/events`, `PUT /v1/items/{id}`, `PUT /v1/items/{proxy+}`, or `$default`.

    `serve_forever` in a thread, as every server.
    """

    def __init__(self, functions: Mapping[str, Function], port: int, authorise: Authoriser | None = None) -> None:
        """Listens on the loopback; port 0 takes a free one."""
        self._functions, self._authorise = dict(functions), authorise
        super().__init__(self._respond, port, body_limit=PAYLOAD_LIMIT)

    def _respond(self, event: Event, _: object) -> dict[str, Any]:
        """The answer to an event, a function's or the gateway's own."""
        route = self._route(event)
        if route is None:
            return _own_answer(HTTPStatus.NOT_FOUND)
        event["routeKey"] = event["requestContext"]["routeKey"] = route
        if self._authorise is not None:
            caller = self._authorise(event)
            if isinstance(caller, HTTPStatus):
                return _own_answer(caller)
            event["requestContext"]["authorizer"] = caller
        try:
            return _as_response(self._functions[route].invoke(event))
        except FunctionError as error:
            too_large = error.payload["errorType"] == "RequestEntityTooLargeException"
            return _own_answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE if too_large else HTTPStatus.INTERNAL_SERVER_ERROR)

    def _route(self, event: Event) -> str | None:
        """The most specific route that matches: one without variables, then by segment, then greedy ones."""
        called = f"{event['requestContext']['http']['method']} {event['rawPath']}"
        matching = [key for key in self._functions if key != DEFAULT_ROUTE and _pattern(key).fullmatch(called)]
        fallback = DEFAULT_ROUTE if DEFAULT_ROUTE in self._functions else None
        return min(matching, key=lambda key: ("+}" in key, "{" in key, -len(key)), default=fallback)


@cache
def _pattern(key: str) -> re.Pattern[str]:
    """What a route key matches: a variable is one segment of a path, a greedy one all that is left."""
    greedy = re.sub(r"\\{\w+\\\+\\}", ".+", re.escape(key))
    return re.compile(re.sub(r"\\{\w+\\}", "[^/]+", greedy))


def _own_answer(status: HTTPStatus) -> dict[str, Any]:
    """The gateway's own words, which are JSON but no problem documents."""
    body = json.dumps({"message": status.phrase})
    return {"statusCode": status.value, "headers": {"content-type": "application/json"}, "body": body}


def _as_response(answer: Any) -> dict[str, Any]:
    """A function's answer as payload 2.0 reads it: without a `statusCode` all of it is the body of a 200."""
    if isinstance(answer, dict) and "statusCode" in answer:
        return {"headers": {}, "body": "", **answer}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(answer)}


_CREDENTIAL: Final = re.compile(r"AWS4-HMAC-SHA256\s+Credential=([^/\s,]+)/")


def iam(event: Event) -> dict[str, Any] | HTTPStatus:
    """The IAM authoriser: whoever signs at all is the role that they are here. The signature is not verified."""
    match = _CREDENTIAL.match(event["headers"].get("authorization", ""))
    if match is None:
        return HTTPStatus.FORBIDDEN
    caller = {
        "accessKey": match[1],
        "accountId": ACCOUNT,
        "callerId": "AROAEXAMPLE:caller",
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": f"arn:aws:sts::{ACCOUNT}:assumed-role/caller/caller",
        "userId": "AROAEXAMPLE:caller",
    }
    return {"iam": caller}


class Jwt:
    """The JWT authoriser: the claims of a bearer token, whose signature is not verified."""

    def __init__(self, scopes: Mapping[str, tuple[str, ...]] | None = None) -> None:
        """`scopes`: route key → the scopes of which a token must have one."""
        self._scopes = dict(scopes or {})

    def __call__(self, event: Event) -> dict[str, Any] | HTTPStatus:
        """The caller, or 401 for no token, a broken or an expired one, or 403 where none of the scopes is in it."""
        claims = _claims(event["headers"].get("authorization", ""))
        if claims is None or not _in_time(claims):
            return HTTPStatus.UNAUTHORIZED
        wanted = self._scopes.get(event["routeKey"])
        held = str(claims.get("scope", "")).split()
        if wanted is not None and not set(wanted) & set(held):
            return HTTPStatus.FORBIDDEN
        told = {name: _claim_text(value) for name, value in claims.items()}
        return {"jwt": {"claims": told, "scopes": None if wanted is None else held}}


def _claims(authorization: str) -> dict[str, Any] | None:
    """The middle part of a token; None where it is none."""
    parts = authorization.removeprefix("Bearer ").split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None


def _in_time(claims: dict[str, Any]) -> bool:
    expires = claims.get("exp")
    return isinstance(expires, int | float) and time() < expires


def _claim_text(value: Any) -> str:
    """A claim as API Gateway hands it over: always text, a list as `[a b]`."""
    if isinstance(value, list):
        return f"[{' '.join(_claim_text(part) for part in value)}]"
    return value if isinstance(value, str) else json.dumps(value)
