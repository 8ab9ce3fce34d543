"""The Lambda functions: an API Gateway HTTP API event (payload 2.0) in, a response out.

`handler` answers everything; `events` and `items` are the same code as functions of their own, with roles of their own,
that take in what users do and say of themselves, and what is told of items. On a laptop nothing is read or opened at
import: the first request, or `warm_up`, does it. In Lambda, what is published is opened while the environment starts,
and under SnapStart before the snapshot; after a restore connections are made anew, and the pointer and the live items
are looked at. No event makes a handler raise; only settings that make no sense do, for with them no request could be
answered. AWS calls it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

from contracts.errors import TandemError
from lambda_user_tower.catalogue import Catalogues
from lambda_user_tower.edge import Edge
from lambda_user_tower.encoding import Encoders
from lambda_user_tower.serving import Serving
from lambda_user_tower.settings import LambdaSettings

Handler = Callable[..., dict[str, Any]]

INITIALISATION: Final = "AWS_LAMBDA_INITIALIZATION_TYPE"
"""Set by Lambda alone: `on-demand`, `provisioned-concurrency` or `snap-start`."""


@cache
def _edge() -> Edge:
    settings = LambdaSettings.from_env()
    if INITIALISATION not in os.environ:
        return Edge(settings)
    from lambda_user_tower.telemetry import Telemetry  # AWS's library is no part of a laptop's set

    return Edge(settings, Telemetry(settings))


def _answer(event: object, context: object = None) -> dict[str, Any]:
    return _edge()(event, context)


handler: Handler = _answer
"""What AWS calls: `POST /v1/recommendations` and the other endpoints of `routing.py`."""

events: Handler = _answer
"""What AWS calls for `POST /v1/events` and all that is told of users."""

items: Handler = _answer
"""What AWS calls for all that is told of items."""


def warm_up() -> None:
    """Open what is published before the first request comes. Raises NothingPublished, or why it cannot be opened."""
    _edge().serving.pin()


class _Needs(NamedTuple):
    """What one of the functions opens before a request comes."""

    follows: Callable[[Edge], Serving | Catalogues | Encoders]
    """What it needs of a publication."""
    stores: tuple[str, ...]
    in_experiments: tuple[str, ...] = ()
    """Stores that it needs besides where experiments may run."""


_NEEDS: Final = {
    "handler": _Needs(lambda edge: edge.serving, ("profiles", "fresh_items"), ("experiments", "exposures")),
    "events": _Needs(
        lambda edge: edge.catalogues, ("profiles", "event_log", "fresh_items", "identities", "live_counts")
    ),
    "items": _Needs(lambda edge: edge.encoders, ("fresh_items",)),
}


def _needs() -> _Needs:
    """Those of this function, by the name under which AWS calls it."""
    return _NEEDS.get(os.environ.get("_HANDLER", "").rpartition(".")[2], _NEEDS["handler"])


def _open_ahead() -> None:
    needs, edge = _needs(), _edge()
    edge.storage.connect(*needs.stores)
    if needs.in_experiments and edge.settings.slates_stream:
        edge.storage.connect("slates")
    experiments = edge.experiments if needs.in_experiments and edge.experiments.on else None
    if experiments is not None:
        edge.storage.connect(*needs.in_experiments)
        experiments.looks.refresh()  # beside the release that is opened now
    try:
        needs.follows(edge).pin()
    except (TandemError, OSError) as error:  # nothing is published yet, or a store is down: requests will say so
        edge.log.write("WARNING", "not-opened-ahead", error=str(error))
    if experiments is not None:
        experiments.follow()


def _start() -> None:
    """What Lambda waits for before it sends a request."""
    if os.environ[INITIALISATION] == "snap-start":
        from snapshot_restore_py import register_after_restore  # part of the runtime

        register_after_restore(lambda: _edge().restored(_needs().follows(_edge())))
    _open_ahead()


if INITIALISATION in os.environ:
    from lambda_user_tower.telemetry import traced

    _start()
    handler = events = items = traced(_answer, _edge().settings.service)
