"""The page of a simulation: one HTML file with everything in it, to be mailed, archived or opened without a network.

The verdict first, then the plots (each with a text that says what it shows), then every number with the truth beside
it, and how to read them. It follows the reader's light or dark setting, and the same simulation gives the same bytes.
`tandem simulate --report` writes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from math import isfinite
from pathlib import Path
from typing import Final

from contracts.errors import naming_full_disk
from evaluation.page import bullets, page, picture, plain, section
from experiments.analysis.sample_ratio import ALARM
from local_mode.simulation.plots import dose_plot, forest_plot, off_policy_plot, truth_plot
from local_mode.simulation.results import ArmEffect, OffPolicy, RunResult, Simulation
from local_mode.simulation.verdict import METRIC_WORDS, covers, effect_sentence, outcome, sentences, signed

_TITLE: Final = "A simulated experiment"

_OUTCOMES: Final = {1: "wins", -1: "loses", 0: "not told apart"}

_HOW_TO_READ: Final = (
    "Estimates are what the experiment's own report says: from exposures and events alone, by user, in the arm that "
    "the user was put in, whatever was served in the end. Intervals are of 95 %; p-values are adjusted for the number "
    "of arms (Holm).",
    "The truth is what the same users did in twins of the whole world: one twin an arm, everybody served by that arm, "
    "with the releases that the mixed experiment trained. It needs a simulated world; no real experiment has it.",
    "Trained alone: each arm in a world of its own, where it learned from its own log only. An experiment cannot see "
    "this, because its arms learn from each other's clicks.",
    "Retention is the share of users who were active in days 28 to 34 after their first exposure; users whose day 34 "
    "lies beyond the data are in no count of it.",
    "Coverage and diversity are of an arm as a whole, not of a user.",
    "The dose α is an assumption. An effect on retention at one dose says what satisfaction would do if it moved "
    "people that much; the curve says what follows from other doses, and must hold zero at α = 0.",
    "Off-policy estimates are of a policy that nobody was served, from places that chance filled. Where the log says "
    "too little about it, they are refused.",
)


def write_report(simulation: Simulation, path: Path) -> None:
    """Write the page. Raises StorageFull where the disk is."""
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report(simulation), encoding="utf-8")


def report(simulation: Simulation) -> str:
    """The page as text."""
    parts = [
        f"<h1>{_TITLE}</h1>",
        f"<p>{escape(_what(simulation))}</p>",
        section("Verdict", bullets(sentences(simulation))),
        *_forest_section(simulation),
        section("All effects", _effects(simulation.pooled)),
        *_truth_section(simulation),
        *_dose_section(simulation),
        section("Runs", _runs(simulation)),
        *_off_policy_section(simulation.off_policy),
        section("How to read this", bullets(list(_HOW_TO_READ))),
        section("Settings", _table((), [(name, plain(value)) for name, value in simulation.settings.items()])),
    ]
    return page(_TITLE, parts)


def _what(simulation: Simulation) -> str:
    settings, runs = simulation.settings, len(simulation.runs)
    world = ", ".join(f"{plain(settings[name])} {name}" for name in ("users", "items", "days") if name in settings)
    return (
        f"{runs} {'run' if runs == 1 else 'runs'} of a world whose truth is known"
        f"{f' ({world})' if world else ''}; arms {', '.join(simulation.arms)}; the control is {simulation.control}. "
        f"It took {simulation.seconds:.0f} s."
    )


def _forest_section(simulation: Simulation) -> list[str]:
    if not any(isfinite(effect.relative) for effect in simulation.pooled):
        return []
    return [section("Effects and the truth", picture(forest_plot(simulation), _forest_text(simulation)))]


def _forest_text(simulation: Simulation) -> str:
    clicks = [effect for effect in simulation.pooled if effect.metric == "clicks"]
    if any(run.sample_ratio_p < ALARM for run in simulation.runs):
        return "Lift of every arm over the control. The split was broken: these figures are no effects."
    return (
        "Lift of every arm over the control with its 95 % interval over the users of all runs; a hollow diamond is the "
        f"true effect. {' '.join(effect_sentence(effect) for effect in clicks)}"
    )


def _effects(effects: Sequence[ArmEffect]) -> str:
    head = ("arm", "metric", "arm's value", "control's", "difference", "lift", "p (Holm)", "", "true difference",
            "true lift", "interval holds it", "trained alone")  # fmt: skip
    return _table(head, [_effect_row(effect) for effect in effects])


def _effect_row(effect: ArmEffect) -> tuple[str, ...]:
    held = covers(effect)
    return (
        effect.arm,
        METRIC_WORDS.get(effect.metric, effect.metric),
        _number(effect.value),
        _number(effect.control_value),
        _interval(_number(effect.estimate), _number(effect.low), _number(effect.high)),
        _interval(_lift(effect.relative), _lift(effect.relative_low), _lift(effect.relative_high)),
        _number(effect.p_adjusted, ".2g"),
        _OUTCOMES[outcome(effect)] if isfinite(effect.p_adjusted) else "–",
        _number(effect.true_effect),
        _lift(effect.true_relative),
        "–" if held is None else "yes" if held else "no",
        _number(effect.alone_effect),
    )


def _truth_section(simulation: Simulation) -> list[str]:
    held = [one for run in simulation.runs for effect in run.effects if (one := covers(effect)) is not None]
    if not held:
        return []
    text = (
        "Each mark is one arm in one run; on the diagonal an estimate is right. "
        f"{sum(held)} of {len(held)} intervals of single runs hold the true effect."
    )
    return [section("Estimates against the truth", picture(truth_plot(simulation), text))]


def _dose_section(simulation: Simulation) -> list[str]:
    if not simulation.dose:
        return []
    rows = [
        (
            point.arm,
            f"{point.alpha:g}",
            _interval(*(_points(one) for one in (point.estimate, point.low, point.high))),
            "–" if point.true_effect is None else _points(point.true_effect),
        )
        for point in sorted(simulation.dose, key=lambda point: (point.arm, point.alpha))
    ]
    text = (
        "Retention over the control, in points, at each dose α, with 95 % intervals and the truth. At α = 0 nothing "
        "that is shown can bring users back: the interval should hold zero."
    )
    head = ("arm", "α", "retention, points over the control", "truth")
    return [section("Retention over the dose", picture(dose_plot(simulation), text) + _table(head, rows))]


def _runs(simulation: Simulation) -> str:
    users = [f"users of {arm}" for arm in simulation.arms]
    head = ("run", "seed", *users, "sample ratio p", "intervals that hold the truth", "releases", "seconds")
    note = f"<p>The split is called broken where the sample ratio's p is below {ALARM}.</p>"
    return _table(head, [_run_row(run, simulation.arms) for run in simulation.runs]) + note


def _run_row(run: RunResult, arms: Sequence[str]) -> tuple[str, ...]:
    users = {arm.arm: arm.users for arm in run.arms}
    held = [one for effect in run.effects if (one := covers(effect)) is not None]
    alarm = " (broken)" if run.sample_ratio_p < ALARM else ""
    return (
        str(run.run),
        str(run.seed),
        *(str(users.get(arm, 0)) for arm in arms),
        f"{run.sample_ratio_p:.2g}{alarm}",
        f"{sum(held)} of {len(held)}" if held else "–",
        str(len(run.releases)),
        f"{run.seconds:.0f}",
    )


def _off_policy_section(estimates: Sequence[OffPolicy]) -> list[str]:
    if not estimates:
        return []
    text = (
        "Clicks a randomised place under policies that were not served, with 95 % intervals over users, and the truth."
    )
    refused = list(dict.fromkeys(f"{one.arm} was refused. {one.refused}" for one in estimates if one.refused))
    known = [one for one in estimates if one.estimate is not None]
    rows = [
        (
            one.arm,
            one.estimator.upper(),
            _interval(_number(one.estimate), _number(one.low), _number(one.high)),
            _number(one.truth),
        )
        for one in known
    ]
    table = _table(("policy", "estimator", "estimate", "truth"), rows)
    shown = picture(off_policy_plot(known), text) + table if known else ""
    return [section("Policies that were not served", shown + (bullets(refused) if refused else ""))]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first cell of a row is its heading; a cell may hold a second line in `<small>` made by `_interval`."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{_cell(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    shown = f"<thead><tr>{top}</tr></thead>" if top else ""
    return f'<div class="scroll"><table>{shown}<tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    """A value, and its interval small under it."""
    value, _, interval = text.partition("\n")
    return f"{escape(value)}<br><small>{escape(interval)}</small>" if interval else escape(value)


def _interval(value: str, low: str, high: str) -> str:
    return value if "–" in (low, high) else f"{value}\n{low} to {high}"


def _number(number: float | None, form: str = ".4g") -> str:
    return "–" if number is None or not isfinite(number) else format(number, form).replace("-", "−")


def _lift(number: float | None) -> str:
    return "–" if number is None or not isfinite(number) else f"{signed(100 * number)} %"


def _points(number: float) -> str:
    return signed(100 * number, 2) if isfinite(number) else "–"
