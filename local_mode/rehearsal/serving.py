"""The serving half, rehearsed: the functions of a bundle behind the gateway, over the stand-ins for AWS.

What a function is told comes from its own settings class, as in the stacks. It does not know what is published; the
commands that fill a deployment fill this one. `tandem aws rehearse-serving` and the tests call it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from lambda_user_tower.gateway_routes import routes
from lambda_user_tower.settings import LambdaSettings
from local_mode.lambda_runtime.function import Function
from local_mode.lambda_runtime.gateway import DEFAULT_ROUTE, Gateway
from local_mode.rehearsal.stand_ins import (
    EXPERIMENTS_SECRET,
    EXPOSURES,
    LIVE_TABLE,
    REGION,
    RELEASES,
    SECRET,
    SLATES,
    STREAM,
    TABLE,
    StandIns,
)

BUDGET_MS: Final = 1_000
"""Of a request: this machine runs every stand-in beside the functions."""

EXPERIMENTS_SECONDS: Final = 1.0
"""Between two looks at the experiments: nobody waits for a minute here."""

TIMEOUT_SECONDS: Final = 30.0
"""What a function may take, a cold start on a busy machine included."""

RECOMMEND: Final = "recommend"
HANDLERS: Final = {
    RECOMMEND: "lambda_user_tower.handler.handler",
    "events": "lambda_user_tower.handler.events",
    "items": "lambda_user_tower.handler.items",
}
"""Function → what AWS calls."""
_OF_RECOMMEND: Final[dict[str, Any]] = {
    "exposures_stream": EXPOSURES,
    "slates_stream": SLATES,
    "experiments_key_secret": EXPERIMENTS_SECRET,
    "experiments_check_seconds": EXPERIMENTS_SECONDS,
}
"""What no other function is told."""
WITHOUT_SNAPSHOT: Final = frozenset({"items"})
"""As the stacks have it (`infra/serving.py`)."""


@dataclass(frozen=True)
class Rehearsed:
    """The functions at work."""

    url: str
    functions: dict[str, Function]

    def logs(self) -> str:
        """What all functions have written."""
        return "".join(function.log() for function in self.functions.values())


def settings_of(stand_ins: StandIns, service: str, home: Path) -> LambdaSettings:
    """What a function is told; `home` is where it keeps the files of releases."""
    return LambdaSettings(
        home=home / service,
        service=service,
        budget_ms=BUDGET_MS,
        releases_bucket=RELEASES,
        profiles_table=TABLE,
        live_table=LIVE_TABLE,
        events_stream=STREAM,
        log_key_secret=SECRET,
        **(_OF_RECOMMEND if service == RECOMMEND else {}),
        opensearch_url=stand_ins.search_url,
        opensearch_region=REGION if stand_ins.search_url else "",
    )


@contextmanager
def functions_of(
    bundle: Path,
    stand_ins: StandIns,
    home: Path,
    *,
    snap_start: bool = True,
    handlers: Mapping[str, str] = HANDLERS,
    more: Mapping[str, str] | None = None,
    **changes: Any,
) -> Iterator[dict[str, Function]]:
    """The functions by name, none started. `changes`: of their settings; `more`: variables beside them."""
    with ExitStack() as stack:
        functions = {}
        for name, handler in handlers.items():
            told = (
                replace(settings_of(stand_ins, name, home), **changes).to_env()
                | stand_ins.environment
                | dict(more or {})
            )
            snap = snap_start and name not in WITHOUT_SNAPSHOT
            function = Function(bundle, handler, told, timeout_seconds=TIMEOUT_SECONDS, snap_start=snap)
            functions[name] = stack.enter_context(function)
        yield functions


@contextmanager
def behind_a_gateway(
    functions: Mapping[str, Function],
    port: int = 0,
    authorise: Callable[[dict[str, Any]], dict[str, Any] | HTTPStatus] | None = None,
) -> Iterator[Rehearsed]:
    """The functions by HTTP on the loopback, each behind its routes; what has none is recommend's 404."""
    known = {route.key: functions[route.function] for route in routes() if route.function in functions}
    gateway = Gateway(known | {DEFAULT_ROUTE: functions["recommend"]}, port, authorise)
    thread = threading.Thread(target=gateway.serve_forever, name="gateway")
    thread.start()
    try:
        yield Rehearsed(f"http://127.0.0.1:{gateway.server_port}", dict(functions))
    finally:
        gateway.shutdown()
        thread.join()
        gateway.server_close()
