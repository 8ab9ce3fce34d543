"""`tandem recommend | serve`: ask the handler that is deployed, in this process or over HTTP.

`cli/main.py` registers it.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, out, table


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("recommend")(recommend)
    app.command("serve")(serve)


def recommend(
    user_id: Annotated[str | None, typer.Option(help="Who asks; leave out for somebody unknown.")] = None,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="Places of the slate.")] = 10,
    explain: Annotated[bool, typer.Option("--explain", help="List the parts of each score.")] = False,
    prefer_new: Annotated[bool, typer.Option("--prefer-new", help="Ask for new items.")] = False,
    session: Annotated[list[str] | None, typer.Option(help="Item of this session, oldest first; repeatable.")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Recommend to one user, through the very handler that is deployed.

    Example: tandem recommend --user-id u_42 --top-k 10 --explain
    """
    body: dict[str, Any] = {"num_items": top_k, "explain": explain}
    if user_id is not None:
        body["user_id"] = user_id
    if prefer_new:
        body["prefer"] = "new"
    if session:
        body["session"] = {"history": [{"item_id": item} for item in session]}
    from local_mode.asking import ask, titles

    slate = ask(home, body)
    names = titles(home, [item["item_id"] for item in slate["items"]]) if not as_json else {}
    emit(as_json, slate, lambda: draw_slate(slate, user_id or "somebody unknown", names))


def draw_slate(slate: dict[str, Any], who: str, names: dict[str, str]) -> None:
    """A slate as a table, with titles where `names` has some, and the parts of each score where they were asked for."""
    why = slate["why"]
    explained = any("explain" in item for item in slate["items"])
    columns = ["", "item", *(["title"] if names else []), "score", *(["made of"] if explained else [])]
    rows = [
        [
            str(place),
            escape(item["item_id"]),
            *([escape(names.get(item["item_id"], ""))] if names else []),
            f"{item['score']:.3f}",
            *([score_parts(item["explain"])] if explained else []),
        ]
        for place, item in enumerate(slate["items"], start=1)
    ]
    out.print(table(f"For {escape(who)}: route {why['route']}, model {why['model']}", columns, rows, right=99))
    notes = [f"release {why['release']}", f"publication {why['publication']}"]
    notes += [f"table {why['segment']}"] if why.get("segment") else []
    notes += [f"degraded: {', '.join(why['degraded'])}"] if why["degraded"] else []
    out.print(escape(", ".join(notes)), style="dim", highlight=False)


def score_parts(parts: dict[str, Any]) -> str:
    """The parts of a score that say something: where the item came from, and figures other than zero."""
    shown = ((name, value) for name, value in parts.items() if name != "raw")  # raw is the sum of what retrieval says
    figures = [f"{name} {value:+.3f}" for name, value in shown if isinstance(value, float) and value]
    words = [str(value) for value in parts.values() if isinstance(value, str)]
    words += [name for name, value in parts.items() if value is True]
    return escape(", ".join([*words, *figures]))


def serve(
    port: Annotated[int, typer.Option(help="Port on the loopback address.")] = 8080,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Answer HTTP on the loopback address with the handler that is deployed.

    Example: tandem serve --port 8080
    """
    from local_mode.dev_server import serve as serve_http

    serve_http(home, port)
