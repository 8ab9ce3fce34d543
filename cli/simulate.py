"""`tandem simulate`: an experiment in a world whose truth is known, through the pipeline that serves.

Parses, calls `local_mode/simulation`, prints. `cli/main.py` registers it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, one_of, out, progress_bar, say, table

if TYPE_CHECKING:
    from rich.table import Table

    from local_mode.simulation.results import ArmEffect, DosePoint, Simulation

_FAMILY_HELP = "What decides a click: taste, movielens (taste, as active as ML-1M), popularity, or noise."


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command("simulate")(simulate)


def simulate(
    runs: Annotated[int, typer.Option(min=1, max=200, help="Worlds, each with a seed of its own.")] = 5,
    users: Annotated[int, typer.Option(min=40, help="Of each world.")] = 3_000,
    items: Annotated[int, typer.Option(min=20, help="There are on the first day; 1 % come on top every day.")] = 500,
    days: Annotated[int, typer.Option(min=1, help="Of experiment; retention needs 36, and 42 for most users.")] = 42,
    warm_days: Annotated[int, typer.Option("--warm-days", min=7, help="Before it.")] = 28,
    alpha: Annotated[float, typer.Option(min=0, help="How much satisfaction moves coming back: an assumption.")] = 1.0,
    epsilon: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the places before it that chance filled: what logs teach.")
    ] = 0.3,
    family: Annotated[str, typer.Option(help=_FAMILY_HELP)] = "taste",
    seed: Annotated[int, typer.Option(min=0, help="Of the first world; the others follow.")] = 7,
    processes: Annotated[int, typer.Option(min=1, help="That work at once.")] = 2,
    alone: Annotated[
        bool, typer.Option("--alone", help="Also train every arm alone on its own log: twice the work.")
    ] = False,
    no_dose: Annotated[bool, typer.Option("--no-dose", help="No dose-response curve of retention.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE.html", help="Write a page with plots.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Simulate an A/B test of popularity, ALS, two-tower, and two-tower with re-ranking, and say what is true of it.

    Users come, click, tire and leave; the assignment, the logs, the nightly training and the analysis are the real
    ones. Twins of the whole world give the true effect of every arm. The logs stay in HOME/simulation.

    Example: tandem simulate --runs 5 --report simulation.html
    """
    from local_mode.simulation.families import FAMILIES
    from local_mode.simulation.report import write_report
    from local_mode.simulation.settings import SimulationSettings
    from local_mode.simulation.simulate import DOSES, FOLDER, Plan
    from local_mode.simulation.simulate import simulate as run_simulation

    one_of("--family", family, list(FAMILIES))
    world = SimulationSettings(
        family=family,
        users=users,
        items=items,
        warm_days=warm_days,
        days=days,
        alpha=alpha,
        epsilon=epsilon,
        seed=seed,
        new_items_per_day=items / 100,
    )
    plan = Plan(world=world, runs=runs, doses=() if no_dose else DOSES, alone=alone, processes=processes)
    with _ended_like_interrupted(), progress_bar() as progress:
        simulation = run_simulation(plan, home, progress)
    if report is not None:
        write_report(simulation, report)
        say(f"Wrote {report}.")
    emit(as_json, simulation, lambda: _show(simulation, home / FOLDER))


@contextmanager
def _ended_like_interrupted() -> Iterator[None]:
    """SIGTERM, as `timeout` and service managers send it, cleans up as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _show(simulation: Simulation, logs: Path) -> None:
    out.print(_effects(simulation))
    if simulation.dose:
        out.print(_doses(simulation.dose))
    out.print(simulation.verdict, highlight=False, soft_wrap=True)
    say("Differences are those between users of equal histories (CUPED), so they are not those of the values.")
    nights, blocked = (sum(len(getattr(run, name)) for run in simulation.runs) for name in ("releases", "blocked"))
    say(f"{nights} nights trained; the gate let {blocked} of them not through, and what served before served on.")
    say(
        f"{simulation.seconds:.0f} s. The logs of each run are in {logs}: tandem experiments report --exposures "
        f"{logs / 'run-1' / 'exposures'} --events {logs / 'run-1' / 'dataset' / 'events'}"
    )


def _effects(simulation: Simulation) -> Table:
    alone = any(one.alone_effect is not None for one in simulation.pooled)
    columns = ["", "value", "difference [95 %]", "true", *(["trained alone"] if alone else [])]
    rows: list[list[str]] = []
    for metric, effects in groupby(simulation.pooled, key=lambda one: one.metric):
        of_metric = list(effects)
        control = [f"{metric}: {simulation.control}", _number(of_metric[0].control_value, "{:.3f}"), "", "", ""]
        rows += [control[: len(columns)]]
        rows += [_row(one)[: len(columns)] for one in of_metric]
    return table(_who(simulation), columns, rows)


def _who(simulation: Simulation) -> str:
    """The arms' users and their split."""
    users = {
        arm: sum(one.users for run in simulation.runs for one in run.arms if one.arm == arm) for arm in simulation.arms
    }
    runs, least = len(simulation.runs), min(run.sample_ratio_p for run in simulation.runs)
    told = ", ".join(f"{arm} {number}" for arm, number in users.items())
    worst = f"1 run: {told}; p" if runs == 1 else f"{runs} runs: {told}; least p"
    return f"Users in {worst} of the sample ratio {least:.3g}"


def _row(one: ArmEffect) -> list[str]:
    return [
        f"  {one.arm}",
        _number(one.value, "{:.3f}"),
        f"{_number(one.estimate, '{:+.3f}')} [{_number(one.low, '{:+.3f}')}, {_number(one.high, '{:+.3f}')}]",
        _number(one.true_effect, "{:+.3f}"),
        _number(one.alone_effect, "{:+.3f}"),
    ]


def _doses(points: list[DosePoint]) -> Table:
    rows = [
        [
            f"{point.alpha:g}",
            point.arm,
            f"{_number(point.estimate, '{:+.3f}')} [{_number(point.low, '{:+.3f}')}, {_number(point.high, '{:+.3f}')}]",
            _number(point.true_effect, "{:+.3f}"),
        ]
        for point in points
    ]
    title = "Retention by dose (at 0 nothing that is shown brings anybody back)"
    return table(title, ["alpha", "arm", "difference [95 %]", "true"], rows, right=2)


def _number(value: float | None, form: str) -> str:
    return "–" if value is None or not isfinite(value) else form.format(value)
