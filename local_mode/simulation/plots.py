"""Plots of a simulation as SVG text: effects beside the truth, estimates against it, retention over the dose.

In the house's way: the page's ink and lines, colours of Okabe and Ito, a marker for each arm, so that colour alone
never says anything; the truth is a hollow diamond wherever it appears. The same simulation gives the same bytes.
`report.py` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import isfinite
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.ink import INK, STYLE, svg
from local_mode.simulation.results import ArmEffect, DosePoint, OffPolicy, Simulation
from local_mode.simulation.verdict import METRIC_WORDS, shown

_LOOKS: Final = {
    "popularity": ("#8C8C8C", "X"),
    "oracle": ("#E69F00", "P"),
    "als": ("#009E73", "s"),
    "two_tower": ("#0072B2", "o"),
    "two_tower_reranked": ("#D55E00", "^"),
}
OVER_USERS: Final = ("clicks", "sessions", "retention")
"""Metrics that have a value for each user; the others are of an arm as a whole."""
_TRUTH: Final = "D"
_ROW: Final = 0.36
"""Inches of a row of marks."""
_BIAS: Final = 0.14
"""How far the truth is drawn below the estimate, in rows."""
_PANEL_COLUMNS: Final = 3


def forest_plot(simulation: Simulation) -> str:
    """A panel for each metric: every arm's lift over the control with its interval, the truth under it."""
    by_metric = _by_metric(simulation.pooled)
    rows = -(-len(by_metric) // _PANEL_COLUMNS)
    with mpl.rc_context(STYLE):
        height = rows * (1.0 + _ROW * max(map(len, by_metric.values()), default=1)) + 0.4
        figure = Figure(figsize=(9, height), layout="constrained")
        panels = figure.subplots(rows, _PANEL_COLUMNS, squeeze=False).ravel()
        for place, (axes, (metric, effects)) in enumerate(zip(panels, by_metric.items(), strict=False)):
            _forest(axes, effects, named=place % _PANEL_COLUMNS == 0)
            axes.set_xlabel(METRIC_WORDS.get(metric, metric))
        for axes in panels[len(by_metric) :]:
            axes.set_axis_off()
        figure.legend(handles=_meanings(), loc="outside lower center", ncols=2)
        return svg(figure)


def truth_plot(simulation: Simulation) -> str:
    """Every interval over users of every run against the true effect: on the diagonal where the estimate is right."""
    by_metric = _by_metric([effect for run in simulation.runs for effect in run.effects if _has_truth(effect)])
    with mpl.rc_context(STYLE | {"axes.grid.axis": "both"}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        panels = figure.subplots(1, max(len(by_metric), 1), squeeze=False)[0]
        for axes, (metric, effects) in zip(panels, by_metric.items(), strict=False):
            _against_truth(axes, effects)
            axes.set_xlabel(f"true lift: {METRIC_WORDS.get(metric, metric)}")
        panels[0].set_ylabel("lift as estimated")
        figure.legend(handles=_arm_handles(simulation), loc="outside lower center", ncols=4)
        return svg(figure)


def dose_plot(simulation: Simulation) -> str:
    """Retention gained over the dose, with the interval of each dose and the truth."""
    with mpl.rc_context(STYLE | {"axes.grid.axis": "both"}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color=INK, linewidth=1)
        ordered = sorted(simulation.dose, key=lambda point: (point.arm, point.alpha))
        for arm, points in groupby(ordered, key=lambda point: point.arm):
            _dose_line(axes, arm, list(points))
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        axes.set_xlabel("dose α: how far satisfaction moves coming back")
        axes.set_ylabel("retention, points over the control")
        figure.legend(loc="outside lower center", ncols=4)
        return svg(figure)


def off_policy_plot(estimates: Sequence[OffPolicy]) -> str:
    """A row for each estimate of a policy that was not served, with the truth under it."""
    known = [one for one in estimates if one.estimate is not None]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 1.1 + _ROW * max(len(known), 1)), layout="constrained")
        axes = figure.subplots()
        for place, one in enumerate(known):
            _interval(axes, place, (one.estimate or 0.0, one.low or 0.0, one.high or 0.0), ("#0072B2", "o"))
            _truth(axes, place, one.truth)
        axes.set_yticks(range(len(known)), [f"{one.arm}, {one.estimator.upper()}" for one in known])
        axes.set_ylim(len(known) - 0.4, -0.5)
        axes.set_xlabel("clicks a randomised place")
        figure.legend(handles=_meanings(), loc="outside lower center", ncols=2)
        return svg(figure)


def _by_metric(effects: Sequence[ArmEffect]) -> dict[str, list[ArmEffect]]:
    """Effects that are known, by metric, in the order in which metrics first appear."""
    found: dict[str, list[ArmEffect]] = {}
    for effect in effects:
        if isfinite(effect.relative):
            found.setdefault(effect.metric, []).append(effect)
    return found


def _has_truth(effect: ArmEffect) -> bool:
    return (
        effect.metric in OVER_USERS
        and effect.true_relative is not None
        and isfinite(effect.true_relative)
        and isfinite(effect.relative_low)
    )


def _forest(axes: Axes, effects: Sequence[ArmEffect], *, named: bool) -> None:
    axes.axvline(0, color=INK, linewidth=1)
    for place, effect in enumerate(effects):
        _interval(axes, place, shown(effect), _look(effect.arm))
        _truth(axes, place, effect.true_relative)
    axes.set_yticks(range(len(effects)), [effect.arm if named else "" for effect in effects])
    axes.set_ylim(len(effects) - 0.4, -0.5)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(4))  # more labels run into each other in three panels


def _interval(axes: Axes, place: float, interval: tuple[float, float, float], look: tuple[str, str]) -> None:
    value, low, high = interval
    reach = [[max(0.0, value - low)], [max(0.0, high - value)]] if isfinite(low) and isfinite(high) else None
    axes.errorbar([value], [place], xerr=reach, fmt=look[1], color=look[0], ms=6, lw=1.6)


def _truth(axes: Axes, place: float, truth: float | None) -> None:
    if truth is not None and isfinite(truth):
        axes.plot([truth], [place + _BIAS], _TRUTH, markerfacecolor="none", markeredgecolor=INK, ms=5)


def _against_truth(axes: Axes, effects: Sequence[ArmEffect]) -> None:
    ends = [end for one in effects for end in (one.relative_low, one.relative_high, one.true_relative or 0.0)]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=INK, linewidth=1)
    for effect in effects:
        colour, marker = _look(effect.arm)
        reach = [[max(0.0, effect.relative - effect.relative_low)], [max(0.0, effect.relative_high - effect.relative)]]
        axes.errorbar(
            [effect.true_relative or 0.0], [effect.relative], yerr=reach, fmt=marker, color=colour, ms=5, lw=1
        )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
        axis.set_major_locator(MaxNLocator(4))


def _dose_line(axes: Axes, arm: str, points: Sequence[DosePoint]) -> None:
    colour, marker = _look(arm)
    doses, estimates = [one.alpha for one in points], [one.estimate for one in points]
    reach = [
        [max(0.0, one.estimate - one.low) for one in points],
        [max(0.0, one.high - one.estimate) for one in points],
    ]
    axes.errorbar(doses, estimates, yerr=reach, fmt=f"{marker}-", color=colour, ms=6, lw=1.4, label=f"{arm}, estimate")
    truths = [(one.alpha, one.true_effect) for one in points if one.true_effect is not None]
    if truths:
        xs, ys = zip(*truths, strict=True)
        axes.plot(xs, ys, f"{_TRUTH}:", color=colour, markerfacecolor="none", ms=6, lw=1, label=f"{arm}, truth")


def _meanings() -> list[Line2D]:
    """The legend of what stands for what."""
    estimate = Line2D([], [], color=INK, marker="o", lw=1.6, ms=6, label="estimate with its 95 % interval")
    truth = Line2D(
        [], [], color="none", marker=_TRUTH, markerfacecolor="none", markeredgecolor=INK, ms=5, label="truth"
    )
    return [estimate, truth]


def _arm_handles(simulation: Simulation) -> list[Line2D]:
    others = [arm for arm in simulation.arms if arm != simulation.control]
    return [Line2D([], [], color=_look(arm)[0], marker=_look(arm)[1], lw=1, label=arm) for arm in others]


def _look(arm: str) -> tuple[str, str]:
    return _LOOKS.get(arm, ("#56B4E9", "v"))
