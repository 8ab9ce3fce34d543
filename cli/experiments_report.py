"""`tandem experiments report`: what a test says, from files of exposures and events that anybody can write.

Parses, calls `experiments.analysis`, prints. `cli/experiments.py` has the group that it joins.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.markup import escape

from cli.console import JsonFlag, emit, err, out, progress_bar, say, table
from contracts.errors import naming_full_disk

if TYPE_CHECKING:
    from rich.table import Table

    from experiments.analysis.effects import Effect
    from experiments.analysis.report import Report

EXIT_NO = 1
"""The split is broken: there is no verdict."""


def register(experiments_app: typer.Typer) -> None:
    """Add the command to its group."""
    experiments_app.command("report")(report)


def report(
    exposures: Annotated[Path, typer.Option(help="File or folder, .jsonl, .csv or .parquet: who was in which arm.")],
    events: Annotated[Path, typer.Option(help="The same of what users did: user_id, timestamp, and what there is.")],
    experiment: Annotated[str | None, typer.Option(help="Key; not needed where the log has one only.")] = None,
    control: Annotated[str | None, typer.Option(help="Arm to compare with; default: control, or 0.")] = None,
    metrics: Annotated[
        str, typer.Option(help="Of clicks, sessions, retention, value, active_days, clicks_per_session.")
    ] = "",
    clicks: Annotated[str, typer.Option(help="Event types that count, as click,purchase; default: all.")] = "",
    weights: Annotated[
        str | None, typer.Option(help="Of the split: a=.5,b=.5, or the file of experiments; default: equal.")
    ] = None,
    looks: Annotated[bool, typer.Option("--looks", help="You look before the end: judge by what allows that.")] = False,
    planned_users: Annotated[int, typer.Option(min=2, help="With --looks: users at which it is sharpest.")] = 5_000,
    page: Annotated[Path | None, typer.Option("--report", help="Write one self-contained HTML page here.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare the arms of a test with its control: differences with 95 % intervals, over users and nothing smaller.

    The split is checked first; where it is broken there is no verdict, and the exit status is 1.

    Example: tandem experiments report --exposures .tandem/exposures --events .tandem/events
    """
    from experiments.analysis.event_files import read_events
    from experiments.analysis.exposures import read_exposures
    from experiments.analysis.notices import Notice
    from experiments.analysis.report import Question, judge
    from experiments.analysis.user_metrics import only_experiment

    notices: list[Notice] = []
    with progress_bar() as progress:
        progress(0, 3, "reading exposures")
        exposed = read_exposures(exposures, notices)
        key = only_experiment(exposed, experiment)
        question = Question(
            experiment=key,
            control=control,
            metrics=_names(metrics),
            weights=None if weights is None else _weights(weights, key),
            event_types=_names(clicks),
            looks=looks,
            planned_users=planned_users,
        )
        progress(1, 3, "reading events")
        did = read_events(events, notices)
        progress(2, 3, "comparing")
        found = judge(exposed, did, question, notices)
    if page is not None:
        _write_page(page, found)
    emit(as_json, found, lambda: draw_report(found))
    if found.split_broken:
        raise typer.Exit(EXIT_NO)


def draw_report(found: Report) -> None:
    """Arms, effects and sentences. Of a broken split no effects: somebody would believe them."""
    shares = [
        [one.arm + (" (control)" if one.arm == found.control else ""), f"{one.users}", f"{one.weight:.1%}"]
        for one in found.arms
    ]
    out.print(table(f"{found.experiment}: users", ["arm", "users", "share meant"], shares))
    out.print(f"Sample ratio: p = {found.sample_ratio_p:.3g}", highlight=False)
    for metric in () if found.split_broken else dict.fromkeys(effect.metric for effect in found.effects):
        out.print(_table_of([effect for effect in found.effects if effect.metric == metric]))
    for sentence in found.findings:
        out.print(f"[bold]{escape(sentence)}[/]" if found.split_broken else escape(sentence), highlight=False)
    for one in found.notices:
        err.print(f"[{'bold red' if one.loud else 'yellow'}]{one.code}[/] {escape(one.message)}", highlight=False)


def _table_of(effects: Sequence[Effect]) -> Table:
    """One metric. A difference is as far from both ends of its interval, a lift is not."""
    from experiments.analysis.findings import figure

    first = effects[0]
    how = ", adjusted by what users did before" if first.cuped else ""
    looked = " at all looks" if first.sequential_low is not None else ""
    title = f"{first.metric}: control {figure(first.control_value, '.4g')} (95 % intervals{looked}{how})"
    return table(title, ["arm", "value", "difference", "lift", "p (Holm)"], [_row(effect) for effect in effects])


def _row(effect: Effect) -> list[str]:
    from experiments.analysis.findings import figure, span

    looked = effect.sequential_high is not None
    high, p_value = (effect.sequential_high, effect.sequential_p) if looked else (effect.high, effect.p_adjusted)
    half = nan if high is None else high - effect.estimate
    lift = span(effect.relative, effect.relative_low, effect.relative_high, "+.1%")
    return [
        effect.arm,
        figure(effect.value, ".4g"),
        f"{figure(effect.estimate, '+.3g')} ± {figure(half, '.2g')}",
        figure(effect.relative, "+.1%") if looked else lift,  # no interval of a lift holds at all looks
        figure(p_value, ".3g"),
    ]


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _weights(text: str, experiment: str) -> dict[str, float]:
    """From a file of experiments, a payload or an envelope; else from the text itself."""
    if Path(text).is_file():
        return _weights_of_file(Path(text), experiment)
    try:
        pairs = [part.split("=") for part in _names(text)]
        found = {name.strip(): float(weight) for name, weight in pairs}
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a file nor like a=.5,b=.5", param_hint="--weights") from None
    if len(found) < len(pairs) or not all(isfinite(weight) and weight > 0 for weight in found.values()):
        raise typer.BadParameter(f"{text!r}: each arm once, with a weight above zero", param_hint="--weights")
    return found


def _weights_of_file(path: Path, experiment: str) -> dict[str, float]:
    from contracts.experiment import Envelope
    from experiments.local_file import compile_file
    from experiments.payload import read_payload

    try:  # an envelope is looked into for the weights only: its signature is checked where people are served by it
        payload = read_payload(msgspec.json.decode(path.read_bytes(), type=Envelope).payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        payload = compile_file(path)
    for one in payload.rules:
        if one.key == experiment:
            return {arm.key: arm.weight for arm in one.arms}
    listed = ", ".join(payload.experiments) or "none"
    raise typer.BadParameter(f"{path} has no experiment {experiment!r}, only {listed}", param_hint="--weights")


def _write_page(path: Path, found: Report) -> None:
    from cli.experiments_page import experiment_page

    with naming_full_disk(path):
        path.write_text(experiment_page(found), encoding="utf-8")
    say(f"Report: {path}")
