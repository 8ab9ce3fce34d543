"""The entry point `tandem`: collects the groups and turns named failures into an exit status.

Exit status: 0 done; 1 the answer is no (a check failed, the gate blocked); 2 it could not be done (the message says
what and how to mend it). The console script calls `main`.
"""

from __future__ import annotations

import sys

import msgspec
import typer
from rich.markup import escape

from cli import (
    aws,
    batch,
    data,
    evaluate,
    experiments,
    forget,
    index,
    opensearch,
    profiles,
    releases,
    run,
    serving,
    simulate,
    tune,
)
from cli.console import err
from contracts.errors import GateBlocked, TandemError

EXIT_NO = 1
EXIT_FAILED = 2

app = typer.Typer(
    name="tandem",
    help="A two-tower recommender: data in, a trained and gated release out, explained recommendations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
GROUPS = (
    run,
    tune,
    data,
    releases,
    serving,
    evaluate,
    opensearch,
    index,
    profiles,
    batch,
    forget,
    experiments,
    simulate,
    aws,
)
for group in GROUPS:
    group.register(app)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except TandemError as error:
        _report(error)
        sys.exit(EXIT_NO if isinstance(error, GateBlocked) else EXIT_FAILED)
    except KeyboardInterrupt:
        err.print("Interrupted; what was complete before is still in place.")
        sys.exit(EXIT_FAILED)


def _report(error: TandemError) -> None:
    if "--json" in sys.argv:
        body = {"error": error.code, "message": error.message, "fix": error.fix}
        sys.stdout.write(msgspec.json.encode(body).decode() + "\n")
    err.print(f"[bold red]{error.code}[/] {escape(error.message)}")
    if error.fix:
        err.print(f"[bold]Fix:[/] {escape(error.fix)}")


if __name__ == "__main__":
    main()
