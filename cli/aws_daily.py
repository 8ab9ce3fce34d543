"""`tandem aws recommend | events | status | logs`: what a deployment answers, takes, is and writes.

Parses, calls `local_mode.aws`, prints. `cli/aws.py` adds the commands to its group.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cli.aws_nights import draw_nights
from cli.aws_options import DEFAULT_PREFIX, OutputsOption, PrefixOption, ProfileOption, RegionOption, Where
from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, one_of, out, table
from cli.serving import draw_slate

if TYPE_CHECKING:
    from local_mode.aws.logs import Line
    from local_mode.aws.status import Part

_FUNCTIONS = ("recommend", "events", "items")
_COLOURS = {"INFO": "dim", "WARNING": "yellow", "ERROR": "bold red"}


def recommend(
    user_id: Annotated[str | None, typer.Option(help="Who asks; leave out for somebody unknown.")] = None,
    num_items: Annotated[int, typer.Option(min=1, max=100, help="Places of the slate.")] = 10,
    explain: Annotated[bool, typer.Option("--explain", help="List the parts of each score.")] = False,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask the deployed API for recommendations, by a call that your credentials sign.

    Example: tandem aws recommend --user-id u_42 --num-items 5 --explain
    """
    body: dict[str, Any] = {"num_items": num_items, "explain": explain}
    if user_id is not None:
        body["user_id"] = user_id
    with Where(prefix, outputs, profile, region).open() as (deployment, account):
        from local_mode.aws.api import Api

        slate = Api(deployment.api_url, account).recommend(body)
    emit(as_json, slate, lambda: draw_slate(slate, user_id or "somebody unknown", {}))


def events(
    user_id: Annotated[str, typer.Option(help="Whose events.")],
    item_id: Annotated[list[str], typer.Option(help="What they are about, in order; repeatable.")],
    event_type: Annotated[str | None, typer.Option("--type", help="Default: the dataset's default type.")] = None,
    recommendation_id: Annotated[str | None, typer.Option(help="Of the slate that led to them.")] = None,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Send events of a user to the deployed API. Exit status 1 where one of them could not be written.

    Example: tandem aws events --user-id u_42 --item-id i_7 --type click
    """
    told = {"user_id": user_id, "event_type": event_type, "recommendation_id": recommendation_id}
    bodies = [
        {name: value for name, value in {**told, "item_id": item}.items() if value is not None} for item in item_id
    ]
    with Where(prefix, outputs, profile, region).open() as (deployment, account):
        from local_mode.aws.api import Api

        answer = Api(deployment.api_url, account).send(bodies)
    emit(as_json, answer, lambda: _draw_events(item_id, answer))
    if any(result.get("retry") for result in answer["results"]):
        raise typer.Exit(1)


def _draw_events(items: list[str], answer: dict[str, Any]) -> None:
    rows = [
        [escape(item), result["status"], str(result.get("event_id") or ""), escape(result.get("detail") or "")]
        for item, result in zip(items, answer["results"], strict=True)
    ]
    out.print(table("Events", ["item", "status", "event id", ""], rows, right=9))


def status(
    home: HomeOption = DEFAULT_HOME,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what serves, how old it is, whether each part answers, and how the last nights ended. Exit status 1 where
    one does not.

    Example: tandem aws status --json
    """
    with Where(prefix, outputs, profile, region).stores(home) as stores:
        from local_mode.aws.status import status as look

        parts = look(stores)
    ok = all(part.ok for part in parts)
    rows = [["[green]ok[/]" if part.ok else "[bold red]no[/]", part.name, escape(part.found)] for part in parts]
    payload = {"ok": ok, "parts": {part.name: {"ok": part.ok, "found": part.found, **part.facts} for part in parts}}
    emit(as_json, payload, lambda: _draw_status(prefix, rows, parts))
    if not ok:
        raise typer.Exit(1)


def _draw_status(prefix: str, rows: list[list[str]], parts: list[Part]) -> None:
    out.print(table(prefix, ["", "part", "found"], rows, right=9))
    for part in parts:
        if part.name == "nights":
            draw_nights(part.facts)


def logs(
    function: Annotated[str, typer.Option(help="recommend, events or items.")] = "recommend",
    since: Annotated[str, typer.Option(help="How far back: 90s, 15m, 2h or 1d.")] = "15m",
    level: Annotated[str, typer.Option(help="INFO, WARNING or ERROR, and what is worse.")] = "INFO",
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C.")] = False,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The lines as they were written, one a line.")] = False,
) -> None:
    """Read the log lines of a deployed function; no user id is in them, only its keyed hash.

    Example: tandem aws logs --function events --since 2h --level ERROR
    """
    with Where(prefix, outputs, profile, region).open() as (deployment, account):
        from local_mode.aws import logs as lines

        one_of("--function", function, _FUNCTIONS)
        one_of("--level", level, lines.LEVELS)
        deployment.needed(f"{function}_log_group")
        group = getattr(deployment, f"{function}_log_group")
        read = lines.follow if follow else lines.read
        found = read(account, group, lines.seconds_of(since), level)
        for line in found:
            _print_line(line, as_json)


def _print_line(line: Line, as_json: bool) -> None:
    from local_mode.aws.logs import readable

    if as_json:
        sys.stdout.write(f"{line.text}\n")
        sys.stdout.flush()  # followed by a program
    else:
        out.print(f"{line.moment} [{_COLOURS[line.level]}]{line.level:7}[/] {escape(readable(line))}", highlight=False)
