"""`tandem aws cost`: what a profile would cost a month under a load, from a dated file of prices.

Parses, takes the sizes from `infra.profiles`, calls `local_mode.aws.cost`, prints. It needs no account and no network.
`cli/aws.py` registers it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.markup import escape

from cli.console import JsonFlag, emit, one_of, out, say, table
from contracts.errors import RequestInvalid

if TYPE_CHECKING:
    from infra.profiles import Deployment
    from local_mode.aws.cost import Line, Sizes
    from local_mode.aws.prices import Prices

FREE_UNDER: Final = 0.005
"""USD; lines below half a cent say nothing."""
ENDPOINT_ZONES: Final = 4
"""Hours of interface endpoints that an hour of a private network costs: two in each of two zones (infra/network.py)."""
HISTORY_DAYS: Final = 730
"""Where nothing leaves the history, the bill is that of the day on which it is two years long."""


def cost(
    users: Annotated[int, typer.Option(min=0, help="Users with a profile.")],
    items: Annotated[int, typer.Option(min=1, help="Items of the catalogue.")],
    requests_per_day: Annotated[int, typer.Option(min=0, help="Slates that are asked for.")],
    events_per_day: Annotated[int | None, typer.Option(min=0, help="Default: one for each request.")] = None,
    target: Annotated[str, typer.Option("--profile", "--for", help="mini, dev or prod: what is deployed.")] = "dev",
    growthbook: Annotated[bool, typer.Option("--growthbook", help="Experiments are fetched, not pushed.")] = False,
    region: Annotated[str | None, typer.Option(help="Region of the prices; default: that of the file.")] = None,
    prices_file: Annotated[Path | None, typer.Option("--prices", help="A file of your own in this form.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show what is assumed, with reasons and sources.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Reckon what a deployment costs a month, line by line. It needs no account.

    Example: tandem aws cost --users 100000 --items 20000 --requests-per-day 100000 --profile mini
    """
    from infra.profiles import PROFILES
    from local_mode.aws import cost_assumptions as assumed
    from local_mode.aws.cost import Load, monthly
    from local_mode.aws.cost_fit import misfits
    from local_mode.aws.prices import read_prices

    one_of("--profile", target, tuple(PROFILES))
    prices = read_prices(prices_file)
    _same_region(prices, region)
    events = requests_per_day * assumed.EVENTS_PER_REQUEST.value if events_per_day is None else events_per_day
    load, sizes = Load(users, items, requests_per_day, events), sizes_of(PROFILES[target](f"tandem-{target}"))
    sizes = replace(sizes, fetches_experiments=growthbook)
    lines, warnings = monthly(load, sizes, prices), misfits(load, sizes, prices)
    payload = {
        "profile": target,
        "usd_per_month": round(sum(line.usd for line in lines), 2),
        "prices": {"date": str(prices.date), "region": prices.region},
        "lines": lines,
        "warnings": warnings,
        "assumptions": {name: found._asdict() for name, found in assumed.ALL.items()},
        "left_out": assumed.LEFT_OUT,
    }
    emit(as_json, payload, lambda: _draw(payload, lines, prices, explain))


def sizes_of(deployment: Deployment) -> Sizes:
    """What a profile of infra deploys, as the arithmetic takes it."""
    from local_mode.aws.cost import NightMachines, SearchNodes, Sizes

    search, night = deployment.search, deployment.night
    return Sizes(
        profile=deployment.profile,
        recommend_mb=deployment.recommend_memory_mb,
        events_mb=deployment.events_memory_mb,
        search=None
        if search is None
        else SearchNodes(search.instance, search.nodes, search.volume_gb, search.masters, search.master_instance),
        night=NightMachines(
            night.training_instance,
            night.processing_instance,
            night.training_instances,
            night.spot,
            night.night_memory_mb,
        ),
        engine_above=night.engine_above,
        endpoint_zones=ENDPOINT_ZONES * deployment.in_vpc,
        fetches_experiments=bool(deployment.growthbook_client_key_secret),
        restorable=deployment.keep_data,
        retention_days=deployment.retention_days,
        history_days=night.history_days or HISTORY_DAYS,
        log_days=deployment.log_days,
        requests_per_second=deployment.requests_per_second,
    )


def _same_region(prices: Prices, region: str | None) -> None:
    if region not in (None, prices.region):
        raise RequestInvalid(
            f"--region {region}: the file has the prices of {prices.region}.",
            field="region",
            fix="Leave it out for a first figure (other regions are up to a quarter dearer), or give --prices FILE.",
        )


def _draw(payload: dict[str, Any], lines: list[Line], prices: Prices, explain: bool) -> None:
    rows = [
        [line.part, line.what, _number(line.amount), line.unit, _price(line), f"{line.usd:,.2f}"]
        for line in lines
        if line.usd >= FREE_UNDER
    ]
    rows.append(["", "[bold]a month[/]", "", "", "", f"[bold]{payload['usd_per_month']:,.2f}[/]"])
    drawn = table(
        f"{payload['profile']}, {prices.region}, USD, prices of {prices.date}",
        ["part", "what", "amount", "unit", "USD a unit", "USD a month"],
        rows,
        right=2,
    )
    drawn.columns[3].justify = "left"
    out.print(drawn)
    if any(line.estimate for line in lines):
        say("~ a price that was not read in AWS's own list of this year: see --explain.")
    for warning in payload["warnings"]:
        say(f"[bold yellow]It does not fit:[/] {escape(warning)}")
    if explain:
        _explain(payload, prices)


def _number(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:,.3g}"


def _price(line: Line) -> str:
    return f"{'~' if line.estimate else ''}{line.usd_per_unit:.10f}".rstrip("0").rstrip(".")


def _explain(payload: dict[str, Any], prices: Prices) -> None:
    assumptions = payload["assumptions"].items()
    rows = [[name, f"{found['value']:,g}", found["unit"], found["why"]] for name, found in assumptions]
    out.print(table("Assumed", ["", "", "", "why"], rows, right=9))
    found = sorted(prices.prices.items())
    sources = [[name, f"{price.usd:g}", price.unit, price.source, price.why or price.seen] for name, price in found]
    out.print(table(f"Prices of {prices.date}", ["", "USD", "unit", "source", "seen"], sources, right=9))
    for left_out in payload["left_out"]:
        say(f"Not in it: {left_out}.")
