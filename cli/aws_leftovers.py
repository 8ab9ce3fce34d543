"""`tandem aws leftovers`: what there is of a deployment, before it is destroyed and afterwards.

Parses, calls `local_mode.aws.leftovers`, prints. `make destroy` calls it twice; `cli/aws.py` registers it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cli.aws_options import DEFAULT_PREFIX, PrefixOption, ProfileOption, RegionOption
from cli.console import JsonFlag, emit, out, say, table

if TYPE_CHECKING:
    from local_mode.aws.leftovers import Left


def leftovers(
    before: Annotated[
        bool, typer.Option("--before", help="Say what destroying would delete and what it keeps.")
    ] = False,
    prefix: PrefixOption = DEFAULT_PREFIX,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List what there is of a deployment, and what of it costs. It deletes nothing.

    Exit status 1 where something costs that was not meant to stay. A deletion may take some minutes to show.

    Example: tandem aws leftovers --prefix tandem-test
    """
    from local_mode.aws.account import Account
    from local_mode.aws.leftovers import look, unexpected

    account = Account(profile, region)
    try:
        found = look(account, prefix)
    finally:
        account.close()
    costly = unexpected(found)
    payload = {"ok": before or not costly, "found": found, "unexpected": [left.name for left in costly]}
    emit(as_json, payload, lambda: _draw(found, prefix, before))
    if costly and not before:
        raise typer.Exit(1)


def _draw(found: list[Left], prefix: str, before: bool) -> None:
    from local_mode.aws.leftovers import KEEPS_DATA

    if not found:
        say(f"Nothing in this region carries the tag deployment={prefix}.")
        return
    title = f"What destroying {prefix} means" if before else f"What is there of {prefix}"
    goes = "[bold red]is deleted[/]" if before else "[bold red]left[/]"
    stays = "stays: {}" if before else "on purpose: {}"
    rows = [
        [
            left.kind,
            escape(left.name),
            left.bills or "nothing",
            stays.format(left.on_purpose) if left.on_purpose else goes,
        ]
        for left in found
        if left.bills or left.on_purpose
    ]
    out.print(table(title, ["service", "what", "costs", ""], rows, right=9))
    if before and any(left.on_purpose.startswith(f"profile {KEEPS_DATA}") for left in found):
        say("Its stacks are protected: docs/operations.md, Taking it down, says how to go on.")
    free = sum(not left.bills and not left.on_purpose for left in found)
    if free:
        say(f"And {free} things that cost nothing by being there.")
    say("CDK's bootstrap stack (bucket and registry of assets, some MB) is every deployment's and stays.")
