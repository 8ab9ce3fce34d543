"""The page of a test: one HTML file with everything in it, in the look of the evaluation's report.

What is to be said first, then the lifts as a picture with a text that says the same, every number, and assumptions.
`tandem experiments report --report` writes it. Of a broken split it shows no effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from math import isfinite
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from evaluation.ink import INK, STYLE, svg
from evaluation.page import bullets, page, picture, section
from experiments.analysis.effects import Effect
from experiments.analysis.findings import figure, span
from experiments.analysis.report import Report

_ROW: Final = 0.36
"""Inches an arm takes."""
_COLOUR: Final = "#0072B2"

_METHOD: Final = (
    "Users are what is counted, each in the arm of the first exposure, however they were served afterwards. Intervals "
    "are of 95 %: Welch's t, the delta method for ratios; ᶜ: adjusted by what users did before (CUPED). p-values are "
    "adjusted for the number of arms (Holm), not for the number of metrics: decide by one that was named before."
)


def experiment_page(found: Report) -> str:
    """The page as text; the same report gives the same bytes."""
    first, last = (datetime.fromtimestamp(at, UTC).date() for at in (found.first_exposure, found.last_exposure))
    lead = f"{found.users} users, first exposed from {first} to {last}; control: {found.control}."
    parts = [
        f"<h1>{escape(found.experiment)}</h1><p>{escape(lead)}</p>",
        section("What the test says", bullets(found.findings)),
        section("Users", _users(found)),
        *([] if found.split_broken else _effects(found)),
        section("To be known", bullets([f"{one.code}: {one.message}" for one in found.notices] or ["Nothing."])),
        section("How it was judged", f"<p>{escape(_METHOD)}</p>"),
    ]
    return page(found.experiment, parts)


def _users(found: Report) -> str:
    rows = [(one.arm, f"{one.users}", f"{one.weight:.1%}") for one in found.arms]
    said = (
        f"p = {figure(found.sample_ratio_p, '.3g')} of the sample ratio; {found.users_in_two_variations} users in two."
    )
    return _table(("arm", "users", "share meant"), rows) + f"<p>{escape(said)}</p>"


def _effects(found: Report) -> list[str]:
    shown = [effect for effect in found.effects if isfinite(effect.relative_low)]
    forest = [section("Lifts", picture(_forest(shown), _text(shown)))] if shown else []
    head = ("metric", "arm", "value", "control", "difference", "lift", "p (Holm)", "at all looks", "would be seen")
    powers = {(one.metric, one.arm): one.detectable_lift for one in found.power}
    rows = [_row(effect, powers[effect.metric, effect.arm]) for effect in found.effects]
    return [*forest, section("All effects", _table(head, rows))]


def _row(effect: Effect, detectable: float) -> Sequence[str]:
    return (
        effect.metric + (" ᶜ" if effect.cuped else ""),
        effect.arm,
        figure(effect.value, ".4g"),
        figure(effect.control_value, ".4g"),
        span(effect.estimate, effect.low, effect.high, "+.3g"),
        span(effect.relative, effect.relative_low, effect.relative_high, "+.1%"),
        figure(effect.p_adjusted, ".3g"),
        span(effect.estimate, effect.sequential_low, effect.sequential_high, "+.3g"),
        figure(detectable, ".1%"),
    )


def _text(shown: Sequence[Effect]) -> str:
    said = (
        f"{one.metric}, {one.arm}: {span(one.relative, one.relative_low, one.relative_high, '+.1%')}" for one in shown
    )
    return f"Lift over the control with its 95 % interval; right of zero is more. {'; '.join(said)}."


def _forest(shown: Sequence[Effect]) -> str:
    """A panel a metric, a row an arm."""
    metrics = list(dict.fromkeys(one.metric for one in shown))
    arms = list(dict.fromkeys(one.arm for one in shown))
    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(9, 1.1 + _ROW * len(arms)), layout="constrained")
        for axes, metric in zip(drawn.subplots(1, len(metrics), sharey=True, squeeze=False)[0], metrics, strict=True):
            for one in (one for one in shown if one.metric == metric):
                bars = [[one.relative - one.relative_low], [one.relative_high - one.relative]]
                axes.errorbar([one.relative], [arms.index(one.arm)], xerr=bars, fmt="o", color=_COLOUR, ms=6, lw=1.6)
            axes.axvline(0, color=INK, linewidth=1)
            axes.set_yticks(range(len(arms)), arms)
            axes.set_ylim(len(arms) - 0.5, -0.5)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(PercentFormatter(1.0))
            axes.set_xlabel(metric.replace("_", " "))
        return svg(drawn)


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>'
