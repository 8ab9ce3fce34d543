"""Stands before the handlers in a bundle of the tests: notes every call to AWS as botocore makes it.

One line of JSON a call, to the file that RECORD names: service, operation, and what it is on. Copied into the bundle
and named in place of `lambda_user_tower.handler`; the functions themselves know nothing of it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from botocore.client import BaseClient
from opensearchpy import Transport

_RECORD = Path(os.environ["RECORD"])
_call, _perform = BaseClient._make_api_call, Transport.perform_request


def _note(service: str, operation: str, on: dict[str, Any]) -> None:
    function = os.environ["_HANDLER"].rpartition(".")[2]
    line = json.dumps({"function": function, "service": service, "operation": operation, "on": on})
    with _RECORD.open("a") as file:
        file.write(line + "\n")


def _recorded(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
    on = {name: value for name, value in parameters.items() if isinstance(value, str)}
    _note(client.meta.service_model.service_name, operation, on)
    return _call(client, operation, parameters)


def _searched(transport: Transport, method: str, url: str, *rest: Any, **more: Any) -> Any:
    _note("es", method, {"url": url})
    return _perform(transport, method, url, *rest, **more)


BaseClient._make_api_call = _recorded
Transport.perform_request = _searched

from lambda_user_tower.handler import events, handler  # noqa: E402, F401  # what AWS calls, once the calls are noted
