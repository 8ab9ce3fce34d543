"""Notes every call to AWS as botocore makes it, and every one to a search domain: service, operation, and on what.

One line of JSON a call, to the file that RECORD names, under the name of who makes it. Functions of the tests find it
before their handlers (`recording_serving.py`, `recording_night.py`), jobs by `recorded/sitecustomize.py`; they
themselves know nothing of it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

KIND = "kind"
"""Partition key of the table of live data (`stores/live_table.py`, which not every bundle has)."""


def who() -> str:
    """The function by its handler, or the job by its name."""
    if handler := os.environ.get("_HANDLER"):
        return handler.rpartition(".")[2]
    return os.environ.get("TRAINING_JOB_NAME") or Path(os.environ["TANDEM_ML"]).parent.name


def note(function: str, service: str, operation: str, on: dict[str, Any], record: Path | None = None) -> None:
    """One call."""
    line = json.dumps({"function": function, "service": service, "operation": operation, "on": on})
    with (record or Path(os.environ["RECORD"])).open("a") as file:
        file.write(line + "\n")


def note_calls_of_botocore(client: Any) -> None:
    """`client`: the module botocore.client."""
    call = client.BaseClient._make_api_call

    def recorded(self: Any, operation: str, parameters: dict[str, Any]) -> Any:
        note(who(), self.meta.service_model.service_name, operation, named(parameters))
        return call(self, operation, parameters)

    client.BaseClient._make_api_call = recorded


def named(parameters: dict[str, Any]) -> dict[str, Any]:
    """What a call is on: its texts, and the keys of a call that deletes several objects."""
    on = {name: value for name, value in parameters.items() if isinstance(value, str)}
    if "Delete" in parameters:
        on["Keys"] = [each["Key"] for each in parameters["Delete"]["Objects"]]
    if "RequestItems" in parameters:
        (on["TableName"], asked), *_ = parameters["RequestItems"].items()
        on |= _kinds(asked.get("Keys", []))
    values = parameters.get("ExpressionAttributeValues", {})
    query = [{KIND: values[":kind"]}] if "KeyConditionExpression" in parameters and ":kind" in values else []
    return on | _kinds(
        [*query, *(parameters[name] for name in ("Key", "Item") if isinstance(parameters.get(name), dict))]
    )


def _kinds(keys: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The partitions of records of live data; none of other tables."""
    found = sorted({key[KIND]["S"] for key in keys if KIND in key})
    return {"Kinds": found} if found else {}


def note_calls_of_search(transport: Any) -> None:
    """`transport`: opensearchpy's class of that name."""
    perform = transport.perform_request

    def searched(self: Any, method: str, url: str, *rest: Any, **more: Any) -> Any:
        note(who(), "es", method, {"url": url})
        return perform(self, method, url, *rest, **more)

    transport.perform_request = searched
