"""`tandem train | demo`: one night, and the whole loop shown at once.

`cli/main.py` registers it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, err, one_of, out, progress_bar, say, table
from cli.evaluate import draw_evaluation
from cli.serving import draw_slate
from cli.tune import TunedOption, tuned_text

if TYPE_CHECKING:
    from contracts.release import GateReport
    from local_mode.demo import Demo

IndexOption = Annotated[
    str,
    typer.Option(
        "--index", help="Where it is searched: embedded, opensearch, or auto (opensearch if large and one runs)."
    ),
]

_COLOURS = {"pass": "green", "warn": "yellow", "block": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("demo")(demo)
    app.command("train")(train)


def train(
    dataset: Annotated[Path, typer.Argument(help="Folder with schema.toml and the tables.")],
    effort: Annotated[str, typer.Option(help="quick, standard or best: the budget, nothing else.")] = "standard",
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same bytes twice, on one thread.")
    ] = False,
    warm_start: Annotated[str | None, typer.Option(help="Release to continue from.")] = None,
    tuned: TunedOption = None,
    no_publish: Annotated[bool, typer.Option("--no-publish", help="Stop before publishing.")] = False,
    index: IndexOption = "auto",
    engine_above: Annotated[
        int,
        typer.Option(min=0, envvar="TANDEM_ENGINE_ABOVE", help="auto: a search engine for more items than this."),
    ] = 50_000,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Train on a dataset, seal the release, let the gate judge it, and publish it.

    Example: tandem train dataset --effort quick
    """
    from data_sources.dataset import read_schema

    read_schema(dataset)  # a wrong path is said before torch has taken its seconds to load
    from local_mode.engine import Index
    from local_mode.retrain import retrain
    from training_job.settings import Effort, TrainingSettings

    one_of("--effort", effort, tuple(Effort))
    one_of("--index", index, tuple(Index))
    settings = TrainingSettings(Effort(effort), seed, deterministic, tuned=tuned_text(tuned, effort))
    with progress_bar() as progress:
        done = retrain(
            dataset,
            home,
            settings,
            warm_start=warm_start,
            publish_it=not no_publish,
            index=Index(index),
            engine_above=engine_above,
            progress=progress,
        )
    payload = {
        "release": done.manifest,
        "gate": done.gate,
        "publication": done.publication,
        "seconds": done.seconds,
    }
    emit(as_json, payload, lambda: _draw_night(done.manifest.id, done.gate, done.seconds, done.publication is not None))


def _draw_night(release: str, gate: GateReport, seconds: dict[str, float], published: bool) -> None:
    draw_gate(gate)
    took = ", ".join(f"{step} {value:.1f} s" for step, value in seconds.items())
    say(f"{release} {'serves' if published else 'is sealed, not published'} ({took}).")


def draw_gate(gate: GateReport) -> None:
    """Every verdict of the gate."""
    rows = [
        [f"[{_COLOURS[check.verdict]}]{check.verdict.upper()}[/]", check.name, check.detail] for check in gate.checks
    ]
    compared = f" against {gate.compared_with}" if gate.compared_with else ""
    out.print(table(f"Gate: {gate.release}{compared}", ["", "check", "finding"], rows, right=9))
    out.print(f"Served model: {gate.served_model}")


def demo(
    data: Annotated[
        Path | None, typer.Option(help="MovieLens folder, LightGCN folder, sequences file or dataset.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    seed: Annotated[int, typer.Option(help="Of the generated world and of training.")] = 0,
    index: IndexOption = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Show the whole loop: data → check → train → gate → publish → recommendations → evaluation.

    Example: tandem demo --home .tandem
    """
    from local_mode.demo import run_demo
    from local_mode.engine import Index

    one_of("--index", index, tuple(Index))
    err.rule("Tandem")
    with progress_bar() as progress:
        done = run_demo(home, data, seed, say, progress, Index(index))
    emit(as_json, _payload(done), lambda: _draw_demo(done))


def _payload(done: Demo) -> dict[str, Any]:
    return {
        "dataset": done.dataset,
        "check": done.check,
        "release": done.night.manifest.id,
        "gate": done.night.gate,
        "publication": done.night.publication,
        "recommendations": done.slates,
        "evaluation": done.evaluation,
        "seconds": done.seconds,
    }


def _draw_demo(done: Demo) -> None:
    draw_gate(done.night.gate)
    for who, slate in done.slates.items():
        draw_slate(slate, who, done.titles)
    draw_evaluation(done.evaluation)
    say(", ".join(f"{step} {value:.1f} s" for step, value in done.seconds.items()))
    say("Next: tandem recommend --user-id …, tandem serve, tandem evaluate, tandem --help.")
