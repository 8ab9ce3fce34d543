"""`tandem evaluate`: how good it is on data that training has not seen, beside baselines.

Parses, calls `training_job.backtest`, prints; `draw_evaluation` is the table that the demo shows, too. `cli/main.py`
registers it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.console import JsonFlag, emit, one_of, out, progress_bar, say, table

if TYPE_CHECKING:
    from rich.table import Table

    from evaluation.result import Evaluation, Figures

_PROTOCOLS: Final = ("global-time", "leave-last", "given", "cold-users", "random")
_COLUMNS: Final = ("ndcg@10", "recall@20", "hit_rate@10", "mrr@10", "coverage@20", "diversity@20")
_WITH_INTERVAL: Final = ("ndcg@10", "recall@20")
"""Eighty columns hold no more; --json and --report have every interval."""
_MAX_USERS: Final = 50_000
"""Judged users: more narrow no interval that anybody can see, and a million would take an hour."""


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("evaluate")(evaluate)


def evaluate(
    dataset: Annotated[Path, typer.Argument(help="Folder with schema.toml and the tables.")],
    protocol: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(_PROTOCOLS)}; default: given where the data has a split, else by their time."),
    ] = None,
    effort: Annotated[str, typer.Option(help="quick, standard or best: the budget of training.")] = "standard",
    seed: Annotated[int, typer.Option(min=0, help="Of training, samples and intervals.")] = 0,
    max_users: Annotated[int, typer.Option(min=1, help="Judge a random sample of so many users.")] = _MAX_USERS,
    report: Annotated[Path | None, typer.Option(help="Write one self-contained HTML page here.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train on a part of the events and judge on the rest, beside popularity, ALS and item-kNN.

    Cold users (fewer than 5 known events) are reported apart. The whole catalogue is ranked for every judged user.

    Example: tandem evaluate dataset --effort quick --report report.html
    """
    from data_sources.dataset import open_dataset
    from data_sources.indexed import index_dataset
    from evaluation.judge import JudgeSettings
    from training_job.backtest import SERVED_SAMPLE, Protocol, backtest, default_protocol
    from training_job.settings import Effort, TrainingSettings

    one_of("--protocol", protocol, _PROTOCOLS)
    one_of("--effort", effort, tuple(Effort))
    settings = TrainingSettings(effort=Effort(effort), seed=seed)
    judging = JudgeSettings(seed=seed, max_users=max_users, samples={"served": SERVED_SAMPLE})
    with progress_bar() as progress:
        progress(0, 1, "reading the dataset")
        indexed = index_dataset(open_dataset(dataset))
        chosen = Protocol(protocol) if protocol else default_protocol(indexed)
        evaluation = backtest(indexed, chosen, settings, judging, progress)
    if report is not None:
        _write_report(report, evaluation, dataset)
    emit(as_json, evaluation, lambda: draw_evaluation(evaluation))


def _write_report(path: Path, evaluation: Evaluation, dataset: Path) -> None:
    from evaluation.report import report

    path.write_text(report(evaluation, f"{dataset.resolve().name}: {evaluation.protocol}"), encoding="utf-8")
    say(f"Report: {path}")


def draw_evaluation(evaluation: Evaluation) -> None:
    """The headline, the segments, and what beats what."""
    from evaluation.findings import findings, metric_name, protocol_sentence

    say(protocol_sentence(evaluation))
    columns = [metric for metric in _COLUMNS if any(metric in figures for figures in evaluation.models.values())]
    judged = max(evaluation.judged.values(), default=0)
    title = f"{evaluation.protocol}: {judged} {'warm ' if evaluation.users == 'warm' else ''}users"
    head = ["model", *(metric_name(metric) for metric in columns)]
    out.print(table(title, head, _rows(evaluation.models, columns)))
    if evaluation.segments:
        out.print(_segment_table(evaluation))
    cold = [
        metric for metric in dict.fromkeys(m for f in evaluation.models.values() for m in f) if metric[:5] == "cold_"
    ]
    if cold:
        head = ["model", *(metric_name(metric) for metric in cold)]
        out.print(table("Cold start: answered, and right", head, _rows(evaluation.models, cold)))
    for sentence in findings(evaluation):
        out.print(sentence, highlight=False)


def _segment_table(evaluation: Evaluation) -> Table:
    """NDCG@10, a line a segment and a column a model."""
    from evaluation.findings import model_name

    models = list(evaluation.models)
    rows = [
        [
            f"{name.replace('_', ' ')} ({of.users})",
            *(_cell(of.models.get(model, {}), "ndcg@10").split(" ")[0] for model in models),
        ]
        for name, of in evaluation.segments.items()
    ]
    return table("NDCG@10 by segment", ["segment (users)", *map(model_name, models)], rows)


def _rows(models: dict[str, Figures], columns: list[str]) -> list[list[str]]:
    """A line a model: value, and half the width of its interval where it has one."""
    from evaluation.findings import model_name

    return [[model_name(name), *(_cell(figures, column) for column in columns)] for name, figures in models.items()]


def _cell(figures: Figures, column: str) -> str:
    if (interval := figures.get(column)) is None:
        return "–"
    if column not in _WITH_INTERVAL:
        return f"{interval.value:.4f}"
    return f"{interval.value:.4f} ±{(interval.high - interval.low) / 2:.4f}"
