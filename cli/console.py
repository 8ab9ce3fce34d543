"""What every command prints with: tables and progress for people on stderr, one JSON object for scripts on stdout.

Knows nothing of commands. All files of `cli/` call it.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

err = Console(stderr=True)
out = Console()

JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, everything else on stderr.")]
HomeOption = Annotated[
    Path,
    typer.Option("--home", envvar="TANDEM_HOME", help="Folder of releases, the pointer and profiles."),
]
DEFAULT_HOME = Path(".tandem")
JSON_SECONDS = 5.0
"""Between two progress lines of the same stage."""

ProgressCallback = Callable[[int, int, str], None]
"""done, total, what is being done."""


def emit(as_json: bool, payload: Any, render: Callable[[], None]) -> None:
    """Print the result of a command: `payload` as JSON, or whatever `render` draws."""
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(payload, enc_hook=_plain), indent=2).decode() + "\n")
    else:
        render()


def _plain(value: Any) -> Any:
    """Numpy scalars and arrays, paths: what msgspec does not know by itself."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form here")


def table(title: str, columns: list[str], rows: list[list[str]], right: int = 1) -> Table:
    """A table whose columns from number `right` on are figures."""
    drawn = Table(title=title, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        drawn.add_column(column, justify="right" if number >= right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    return drawn


@contextmanager
def progress_bar(json_lines: bool = False) -> Iterator[ProgressCallback]:
    """A bar on stderr for a callback(done, total, text); a plain line per stage where stderr is no terminal.

    `json_lines`: there a JSON object a line instead, at most every JSON_SECONDS, for what reads logs.
    """
    if not err.is_terminal:
        yield _json_lines() if json_lines else _line_per_stage()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)

        def advance(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total or None, description=text)  # 0: nobody knows

        yield advance


def _line_per_stage() -> ProgressCallback:
    printed: set[str] = set()

    def advance(_done: int, total: int, text: str) -> None:
        stage = re.sub(r"[\d./]+", "", text)
        if stage not in printed:
            printed.add(stage)
            err.print(f"{text} ({total} steps)" if total > 1 else text, highlight=False)

    return advance


def _json_lines() -> ProgressCallback:
    begun, last, stage = time.monotonic(), -JSON_SECONDS, ""

    def advance(done: int, total: int, text: str) -> None:
        nonlocal last, stage
        now = time.monotonic()
        if text != stage or done == total or now - last >= JSON_SECONDS:
            last, stage = now, text
            line = {"progress": text, "done": done, "total": total, "seconds": round(now - begun, 1)}
            sys.stderr.write(msgspec.json.encode(line).decode() + "\n")

    return advance


def one_of(option: str, value: str | None, choices: Sequence[str]) -> None:
    """Refuse a value that is not among the choices, as a usage error."""
    if value is not None and value not in choices:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(choices)}", param_hint=option)


def say(text: str) -> None:
    """A sentence to the person at the terminal; a command in it stays one line, to be copied."""
    err.print(text, highlight=False, soft_wrap=True)
