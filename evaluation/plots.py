"""Plots of an evaluation as SVG text that follows the page's light or dark colours.

Models have the colour-blind safe colours of Okabe and Ito ("Color Universal Design", 2008) and a marker of their own,
so that colour alone never says anything. The same evaluation gives the same bytes. `evaluation.report` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evaluation.bootstrap import Interval
from evaluation.findings import HEADLINE_METRICS, metric_name, model_name
from evaluation.ink import INK, STYLE, svg
from evaluation.result import Evaluation

_LOOKS: Final = {
    "two_tower": ("#0072B2", "o"),
    "served": ("#D55E00", "D"),
    "als": ("#009E73", "s"),
    "als_tuned": ("#56B4E9", "^"),
    "item_knn": ("#CC79A7", "v"),
    "segment_popularity": ("#E69F00", "P"),
    "popularity": ("#8C8C8C", "X"),
}

_ROW: Final = 0.34
"""Inches a model takes in a plot of rows."""


def accuracy_plot(evaluation: Evaluation) -> str:
    """Each model's headline metrics with intervals, a panel a metric."""
    models = list(evaluation.models)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.1 + _ROW * len(models)), layout="constrained")
        panels = figure.subplots(1, len(HEADLINE_METRICS), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, HEADLINE_METRICS, strict=True):
            _rows(axes, {name: figures[metric] for name, figures in evaluation.models.items() if metric in figures})
            axes.set_xlabel(metric_name(metric))
        return svg(figure)


def difference_plot(evaluation: Evaluation, subject: str) -> str:
    """How far a subject is ahead (right of zero) of every other model."""
    others = evaluation.differences[subject]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.1 + _ROW * len(others)), layout="constrained")
        panels = figure.subplots(1, len(HEADLINE_METRICS), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, HEADLINE_METRICS, strict=True):
            _rows(axes, {name: figures[metric] for name, figures in others.items() if metric in figures})
            axes.axvline(0, color=INK, linewidth=1)
            axes.set_xlabel(f"{metric_name(metric)}: {model_name(subject)} minus …")
        return svg(figure)


def segment_plot(evaluation: Evaluation, metric: str) -> str:
    """One metric of every model, a row of marks for each segment."""
    segments = list(evaluation.segments)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.3 + 0.45 * len(segments)), layout="constrained")
        axes = figure.subplots()
        for number, name in enumerate(evaluation.models):
            colour, marker = _look(name)
            offset = 0.5 * (number / max(len(evaluation.models) - 1, 1) - 0.5)
            placed = [
                (place + offset, figures[metric])
                for place, segment in enumerate(segments)
                if metric in (figures := evaluation.segments[segment].models.get(name, {}))
            ]
            heights, values = [at for at, _ in placed], [interval.value for _, interval in placed]
            axes.errorbar(values, heights, xerr=_bars([of for _, of in placed]), fmt=marker, color=colour, ms=5, lw=1,
                          label=model_name(name))  # fmt: skip
        labels = [f"{segment.replace('_', ' ')} ({evaluation.segments[segment].users})" for segment in segments]
        axes.set_yticks(range(len(segments)), labels)
        axes.invert_yaxis()
        axes.set_xlabel(metric_name(metric))
        figure.legend(loc="outside right upper")
        return svg(figure)


def tradeoff_plot(evaluation: Evaluation) -> str:
    """Accuracy against how much of the catalogue is shown."""
    with mpl.rc_context(STYLE | {"axes.grid.axis": "both"}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axes = figure.subplots()
        for name, figures in evaluation.models.items():
            colour, marker = _look(name)
            covered, found = figures.get("coverage@20"), figures.get("ndcg@20")
            if covered and found:
                axes.errorbar([covered.value], [found.value], yerr=_bars([found]), fmt=marker, color=colour, ms=8, lw=1,
                              label=model_name(name))  # fmt: skip
        axes.set_xlabel(f"{metric_name('coverage@20')} (share of the catalogue that anybody is shown)")
        axes.set_ylabel(metric_name("ndcg@20"))
        figure.legend(loc="outside right upper")
        return svg(figure)


def _rows(axes: Axes, intervals: Mapping[str, Interval]) -> None:
    for place, (name, interval) in enumerate(intervals.items()):
        colour, marker = _look(name)
        axes.errorbar([interval.value], [place], xerr=_bars([interval]), fmt=marker, color=colour, ms=6, lw=1.6)
    axes.set_yticks(range(len(intervals)), [model_name(name) for name in intervals])
    axes.set_ylim(len(intervals) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4))  # more labels run into each other in two panels


def _bars(intervals: list[Interval]) -> list[list[float]]:
    """Lengths of error bars below and above."""
    return [
        [max(0.0, interval.value - interval.low) for interval in intervals],
        [max(0.0, interval.high - interval.value) for interval in intervals],
    ]


def _look(name: str) -> tuple[str, str]:
    return _LOOKS.get(name, ("#8C8C8C", "o"))
