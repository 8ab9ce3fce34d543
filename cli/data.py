"""`tandem check`, `tandem generate` and `tandem import`: data in, and what is wrong with it.

Parses, calls `data_sources`, prints; knows nothing of models. `cli/main.py` registers it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cli.console import JsonFlag, emit, out, progress_bar, say, table
from data_sources.checks import Status
from data_sources.doctor import Diagnosis, diagnose
from data_sources.generator import DEFAULT_UNTIL, WorldSettings
from data_sources.generator import generate as generate_world
from data_sources.importers.imported import DEFAULT_MAX_REJECTED, ImportReport
from data_sources.importers.lightgcn import import_lightgcn
from data_sources.importers.movielens import import_movielens
from data_sources.importers.sequences import import_sequences

_PLACES_SHOWN = 3

_DEFAULTS = WorldSettings()
_DEFAULT_UNTIL = datetime.combine(DEFAULT_UNTIL, time())

OutOption = Annotated[Path, typer.Option("--out", help="Folder of the dataset; one that is there is replaced.")]
MaxRejectedOption = Annotated[
    float,
    typer.Option(
        "--max-rejected",
        min=0,
        max=1,
        help="Share of a file's lines that may be unreadable before nothing is imported.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command()(check)
    app.command()(generate)
    importing = typer.Typer(help="Import a public data set in its own format.", no_args_is_help=True)
    importing.command()(movielens)
    importing.command()(sequences)
    importing.command()(lightgcn)
    app.add_typer(importing, name="import")


def check(
    dataset: Annotated[Path, typer.Argument(help="Folder with schema.toml and the tables.")],
    everything: Annotated[bool, typer.Option("--all", help="Also list the checks that pass.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Examine a dataset: what is wrong, where, why it matters and how to mend it. Exit status 1 where a check fails.

    Example: tandem check dataset
    """
    diagnosis = diagnose(dataset)
    emit(as_json, diagnosis, lambda: _print_diagnosis(diagnosis, everything))
    if not diagnosis.ok:
        raise typer.Exit(1)


_COLOURS = {Status.PASS: "green", Status.WARN: "yellow", Status.FAIL: "bold red"}


def _print_diagnosis(diagnosis: Diagnosis, everything: bool) -> None:
    shown = [result for result in diagnosis.checks if everything or result.status is not Status.PASS]
    for result in shown:
        out.print(f"[{_COLOURS[result.status]}]{result.status}[/] [bold]{result.name}[/] {escape(result.found)}")
        for place in result.where[:_PLACES_SHOWN]:
            out.print(f"     where: {escape(str(place))}", highlight=False)
        if len(result.where) > _PLACES_SHOWN:
            out.print(f"     and {len(result.where) - _PLACES_SHOWN} more places", highlight=False)
        if result.fix:
            out.print(f"     why:   {escape(result.why)}", highlight=False)
            out.print(f"     fix:   {escape(result.fix)}", highlight=False)
    counts = ", ".join(f"{count} {status}" for status, count in diagnosis.counts.items())
    out.print(
        f"{diagnosis.events:,} events, {diagnosis.users:,} users, {diagnosis.items:,} items: {counts}", highlight=False
    )


def generate(
    out_folder: OutOption,
    users: Annotated[int, typer.Option(min=1, help="Number of users.")] = _DEFAULTS.users,
    items: Annotated[int, typer.Option(min=1, help="Number of items.")] = _DEFAULTS.items,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = _DEFAULTS.seed,
    days: Annotated[int, typer.Option(min=1, help="Length of the window of events.")] = _DEFAULTS.days,
    cold_share: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of users and of items with fewer than five events.")
    ] = _DEFAULTS.cold_share,
    events_per_user: Annotated[float, typer.Option(min=1, help="Mean number of events.")] = _DEFAULTS.events_per_user,
    until: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="The day at whose beginning the events end (UTC).")
    ] = _DEFAULT_UNTIL,
    as_json: JsonFlag = False,
) -> None:
    """Generate a synthetic world: tastes, drift, births, sessions, cold users and items.

    Example: tandem generate --users 2000 --items 500 --out world
    """
    settings = WorldSettings(
        users=users,
        items=items,
        seed=seed,
        days=days,
        cold_share=cold_share,
        events_per_user=events_per_user,
        until=until.date(),
    )
    with progress_bar() as progress:
        world = generate_world(out_folder, settings, progress)
    emit(
        as_json,
        world,
        lambda: say(f"{world.events:,} events of {world.users:,} users on {world.items:,} items in {world.dataset}"),
    )


def movielens(
    source: Annotated[Path, typer.Argument(help="Folder of ML-100K, of ML-1M, or of the CSV form.")],
    out_folder: OutOption,
    max_rejected: MaxRejectedOption = DEFAULT_MAX_REJECTED,
    as_json: JsonFlag = False,
) -> None:
    """Import MovieLens: ratings become events, films and people keep their features.

    Example: tandem import movielens ml-1m --out dataset
    """
    _run(import_movielens, source, out_folder, max_rejected, as_json)


def sequences(
    source: Annotated[Path, typer.Argument(help="File with a line `user TAB item item …` for each user.")],
    out_folder: OutOption,
    max_rejected: MaxRejectedOption = DEFAULT_MAX_REJECTED,
    as_json: JsonFlag = False,
) -> None:
    """Import sequences of items, one user a line, in the order of time.

    Example: tandem import sequences sequences.txt --out dataset
    """
    _run(import_sequences, source, out_folder, max_rejected, as_json)


def lightgcn(
    source: Annotated[Path, typer.Argument(help="Folder with train.txt and test.txt.")],
    out_folder: OutOption,
    max_rejected: MaxRejectedOption = DEFAULT_MAX_REJECTED,
    as_json: JsonFlag = False,
) -> None:
    """Import a split of the graph recommenders' papers: `user item item …` a line.

    Example: tandem import lightgcn gowalla --out dataset
    """
    _run(import_lightgcn, source, out_folder, max_rejected, as_json)


def _run(
    importer: Callable[[Path, Path, float], ImportReport],
    source: Path,
    out_folder: Path,
    max_rejected: float,
    as_json: bool,
) -> None:
    report = importer(source, out_folder, max_rejected)
    emit(as_json, report, lambda: _print_report(report))


def _print_report(report: ImportReport) -> None:
    rows = [[file, f"{lines:,}", f"{report.rejected[file]:,}"] for file, lines in report.lines.items()]
    out.print(table("Read", ["file", "lines", "rejected"], rows))
    for line in report.first_rejected:
        say(f"{line.file} line {line.line}: {line.reason}: {line.text}")
    if report.rejects_file:
        say(f"All rejected lines: {report.rejects_file}")
    say(f"{report.events:,} events of {report.users:,} users on {report.items:,} items in {report.dataset}")
