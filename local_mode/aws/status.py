"""How a deployment is: what serves, and whether each of its parts answers from here.

Each part is looked at by itself, so that one that fails hides no other. `tandem aws status` prints what this returns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from contracts.errors import TandemError
from local_mode.aws.account import naming_aws_failures
from local_mode.aws.api import Api
from local_mode.aws.stores import AwsStores

_IN_VPC: Final = "vpc-"
"""So begin the addresses of domains in a VPC; those of public ones begin with `search-`."""


@dataclass(frozen=True)
class Part:
    """One part of a deployment."""

    name: str
    ok: bool
    found: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def status(stores: AwsStores) -> list[Part]:
    """Every part, the most important first."""
    looks: list[tuple[str, Callable[[AwsStores], Part]]] = [
        ("serving", _serving),
        ("api", _api),
        ("profiles", _profiles),
        ("events", _stream),
    ]
    if stores.deployment.search_endpoint:
        looks.append(("search", _search))
    return [_looked_at(name, look, stores) for name, look in looks]


def _looked_at(name: str, look: Callable[[AwsStores], Part], stores: AwsStores) -> Part:
    try:
        with naming_aws_failures():
            return look(stores)
    except TandemError as error:
        return Part(name, False, str(error), {"error": error.code})


def _serving(stores: AwsStores) -> Part:
    current = stores.releases.current()
    if current is None:
        return Part(
            "serving", False, "nothing is published yet: run `tandem aws seed DATASET`.", {"error": "no-release"}
        )
    publication = current.publication
    age = max(0, int(time.time() - datetime.fromisoformat(publication.created_at).timestamp()))
    where = publication.index or "embedded"
    found = (
        f"{publication.id} of {publication.release}, {publication.served_model}, {where}, {age / 3600:.1f} hours old"
    )
    facts = {
        "publication": publication.id,
        "release": publication.release,
        "served_model": publication.served_model,
        "index": publication.index,
        "age_seconds": age,
        "releases": stores.releases.ids(),
    }
    return Part("serving", True, found, facts)


def _api(stores: AwsStores) -> Part:
    begun = time.perf_counter()
    health = Api(stores.deployment.api_url, stores.account).health()
    milliseconds = (time.perf_counter() - begun) * 1000
    found = f"{health.get('status')}: {health.get('release')} ({milliseconds:.0f} ms from here)"
    return Part("api", health.get("status") == "ok", found, health)


def _profiles(stores: AwsStores) -> Part:
    table = stores.account.client("dynamodb").describe_table(TableName=stores.deployment.profiles_table)["Table"]
    facts = {"status": table["TableStatus"], "users": table["ItemCount"], "bytes": table["TableSizeBytes"]}
    found = f"{table['TableStatus']}, {table['ItemCount']:,} users some hours ago"  # DynamoDB counts every six hours
    return Part("profiles", table["TableStatus"] in ("ACTIVE", "UPDATING"), found, facts)


def _stream(stores: AwsStores) -> Part:
    name = stores.deployment.events_stream
    described = stores.account.client("firehose").describe_delivery_stream(DeliveryStreamName=name)
    state = described["DeliveryStreamDescription"]["DeliveryStreamStatus"]
    return Part("events", state == "ACTIVE", f"{name}: {state}", {"stream": name, "status": state})


def _search(stores: AwsStores) -> Part:
    endpoint = stores.deployment.search_endpoint
    problem = stores.engine_problem()
    if not problem:
        return Part("search", True, f"{endpoint} answers", {"reachable": True})
    found = f"{endpoint} is not reachable from here: {problem}"
    if inside := (urlsplit(endpoint).hostname or "").startswith(_IN_VPC):
        found = f"{endpoint} is in a VPC and not reachable from here; the API's health says whether it is from there."
    return Part("search", inside, found, {"reachable": False})
