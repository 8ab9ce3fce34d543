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
from contracts.night import Outcome
from local_mode.aws.account import naming_aws_failures
from local_mode.aws.api import Api
from local_mode.aws.night_history import UNKNOWN, History, history
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
        ("live", _live),
        ("events", _stream),
        ("nights", _nights),
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
    return _table(stores, "profiles", stores.deployment.profiles_table, "users")


def _live(stores: AwsStores) -> Part:
    stores.deployment.needed("live_table")
    return _table(stores, "live", stores.deployment.live_table, "records")


def _table(stores: AwsStores, part: str, name: str, what: str) -> Part:
    table = stores.account.client("dynamodb").describe_table(TableName=name)["Table"]
    facts = {"status": table["TableStatus"], what: table["ItemCount"], "bytes": table["TableSizeBytes"]}
    found = f"{table['TableStatus']}, {table['ItemCount']:,} {what} some hours ago"  # DynamoDB counts every six hours
    return Part(part, table["TableStatus"] in ("ACTIVE", "UPDATING"), found, facts)


def _stream(stores: AwsStores) -> Part:
    name = stores.deployment.events_stream
    described = stores.account.client("firehose").describe_delivery_stream(DeliveryStreamName=name)
    state = described["DeliveryStreamDescription"]["DeliveryStreamStatus"]
    return Part("events", state == "ACTIVE", f"{name}: {state}", {"stream": name, "status": state})


def _nights(stores: AwsStores) -> Part:
    """Not well where the last one failed; where they are turned off, that is what somebody wanted."""
    if not stores.deployment.night_state_machine:
        return Part("nights", True, "none: `npx cdk deploy --all` of this version of Tandem adds them", {})
    told = history(stores)
    next_run = told.schedule.next_run
    facts = {
        "schedule": told.schedule,
        "next_run": next_run.isoformat() if next_run else None,
        "running": told.running,
        "last": told.last,
        "success_age_seconds": told.success_age_seconds,
    }
    failed = bool(told.last) and told.last[0].outcome in (Outcome.FAILED, UNKNOWN)
    return Part("nights", not failed, _told(told), facts)


def _told(told: History) -> str:
    if told.running:
        now = f"{told.running[0].name} runs since {told.running[0].seconds / 60:.0f} minutes"
    elif not told.schedule.enabled:
        now = "turned off (`tandem aws resume`)"
    else:
        now = f"next {told.schedule.when}"
    if not told.last:
        return f"{now}; none has begun yet"
    last = told.last[0]
    age = told.success_age_seconds
    good = "none has ended well" if age is None else f"the last that ended well {age / 3600:.1f} hours ago"
    return f"{now}; {last.night} {last.outcome}{f': {last.reason}' if last.reason else ''}; {good}"


def _search(stores: AwsStores) -> Part:
    endpoint = stores.deployment.search_endpoint
    problem = stores.engine_problem()
    if not problem:
        return Part("search", True, f"{endpoint} answers", {"reachable": True})
    found = f"{endpoint} is not reachable from here: {problem}"
    if inside := (urlsplit(endpoint).hostname or "").startswith(_IN_VPC):
        found = f"{endpoint} is in a VPC and not reachable from here; the API's health says whether it is from there."
    return Part("search", inside, found, {"reachable": False})
