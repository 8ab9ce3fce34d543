"""`tandem opensearch start | stop | status`: a real search server for this machine.

Parses, calls `local_mode.opensearch`, prints. `cli/main.py` registers it.
"""

from __future__ import annotations

import typer
from rich.markup import escape

from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, out, say


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="An OpenSearch with k-NN, from Docker or from jars.", no_args_is_help=True)
    group.command("start")(start)
    group.command("stop")(stop)
    group.command("status")(status)
    app.add_typer(group, name="opensearch")


def start(home: HomeOption = DEFAULT_HOME, as_json: JsonFlag = False) -> None:
    """Start an OpenSearch for this home folder, or say where it runs already.

    Takes OPENSEARCH_URL where it is set, else Docker, else jars on a JDK of this machine. TANDEM_OPENSEARCH_HEAP sets
    its memory (1g).

    Example: tandem opensearch start
    """
    from local_mode.opensearch import server

    started = server.start(home, say)
    emit(as_json, started, lambda: out.print(escape(started.url), highlight=False))


def stop(home: HomeOption = DEFAULT_HOME, as_json: JsonFlag = False) -> None:
    """Stop the OpenSearch that was started for this home folder; what is in it stays.

    Example: tandem opensearch stop
    """
    from local_mode.opensearch import server

    stopped = server.stop(home)
    emit(as_json, {"stopped": stopped}, lambda: out.print("stopped" if stopped else "it was not running"))


def status(home: HomeOption = DEFAULT_HOME, as_json: JsonFlag = False) -> None:
    """Say whether an OpenSearch runs for this home folder, where, and of which version.

    Example: tandem opensearch status --json
    """
    from local_mode.opensearch import server

    found = server.status(home)
    text = f"{found.url} (OpenSearch {found.version}, {found.kind})" if found.running else "it is not running"
    emit(as_json, found, lambda: out.print(escape(text), highlight=False))
