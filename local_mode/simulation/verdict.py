"""What a simulation says, in plain sentences: who wins, who loses, who cannot be told apart, and what the truth says.

It goes by the experiment's own estimates, as somebody would who has nothing else; the truth stands beside them and
never decides. An experiment whose split was broken gets no verdict. `simulate.py` keeps the sentences, `report.py` and
the command line show them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from math import isfinite
from typing import Final

from experiments.analysis.sample_ratio import ALARM
from local_mode.simulation.results import ArmEffect, DosePoint, RunResult, Simulation

PRIMARY: Final = ("clicks", "retention")
"""In the order in which they are judged."""

METRIC_WORDS: Final = {
    "clicks": "clicks a user",
    "sessions": "sessions a user",
    "retention": "retention",
    "coverage": "share of the catalogue shown",
    "diversity": "categories a slate",
}

SIGNIFICANT: Final = 0.05
"""Of p-values after Holm's correction over the arms."""

CLAIMED_LIFT: Final = 0.12
"""Of retention, which the system that this one follows claims: a dose-response curve says what it would take."""


def verdict(simulation: Simulation) -> str:
    """The sentences, a line each."""
    return "\n".join(sentences(simulation))


def sentences(simulation: Simulation) -> list[str]:
    """What is said of the split, or else of the primary metrics, of intervals and truth, and of the dose."""
    broken = [run for run in simulation.runs if run.sample_ratio_p < ALARM]
    if broken:
        return [_broken(run) for run in broken]
    judged = [
        effect for metric in PRIMARY for effect in simulation.pooled if effect.metric == metric and _measured(effect)
    ]
    return [
        *(effect_sentence(effect) for effect in judged),
        *_unmeasured(simulation.pooled),
        *(_missed(effect) for effect in simulation.pooled if covers(effect) is False),
        *_covered(simulation.runs),
        *_dose_held(simulation),
        *dose_sentences(simulation),
    ]


def effect_sentence(effect: ArmEffect) -> str:
    """`als loses: −3.1 % clicks a user [−4.0, −2.2] (truth −2.9 %)`."""
    said = {1: "wins", -1: "loses", 0: "cannot be told from the control"}[outcome(effect)]
    value, low, high = shown(effect)
    truth = effect.true_relative if isfinite(effect.relative) else effect.true_effect
    of_truth = "" if truth is None else f" (truth {_amount(effect, truth)})"
    interval = f"[{_bare(effect, low)}, {_bare(effect, high)}]"
    return f"{effect.arm} {said}: {_amount(effect, value)} {METRIC_WORDS[effect.metric]} {interval}{of_truth}."


def outcome(effect: ArmEffect) -> int:
    """1: wins, -1: loses, 0: cannot be told apart. NaN is no win."""
    if not effect.p_adjusted < SIGNIFICANT:
        return 0
    return 1 if effect.estimate > 0 else -1


def covers(effect: ArmEffect) -> bool | None:
    """Whether the interval holds the true effect; None where either is unknown."""
    if effect.true_effect is None or not (isfinite(effect.low) and isfinite(effect.true_effect)):
        return None
    return effect.low <= effect.true_effect <= effect.high


def shown(effect: ArmEffect) -> tuple[float, float, float]:
    """Lift with its interval, or the difference where the control is zero and no lift exists."""
    if isfinite(effect.relative):
        return effect.relative, effect.relative_low, effect.relative_high
    return effect.estimate, effect.low, effect.high


def signed(number: float, digits: int = 1) -> str:
    """With the minus of typography: −3.1, +0.4, 0.0."""
    text = f"{number:+.{digits}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def lift_of(point: DosePoint, simulation: Simulation) -> float | None:
    """Retention gained at a dose as a share of the control's: by the true effect where it is known."""
    control = point.control_value
    if control is None:
        control = next((effect.control_value for effect in simulation.pooled if effect.metric == "retention"), None)
    effect = point.estimate if point.true_effect is None else point.true_effect
    return effect / control if control and isfinite(control) and isfinite(effect) else None


def dose_sentences(simulation: Simulation) -> list[str]:
    """Of each arm: whether nothing is found at dose zero, and which dose the claimed lift would take."""
    ordered = sorted(simulation.dose, key=lambda point: (point.arm, point.alpha))
    said: list[str] = []
    for arm, points in groupby(ordered, key=lambda point: point.arm):
        of_arm = list(points)
        said += [_zero_control(point) for point in of_arm if point.alpha == 0]
        lifts = [(point.alpha, lift) for point in of_arm if (lift := lift_of(point, simulation)) is not None]
        said += [_needed(arm, lifts)] if len(lifts) > 1 else []
    return said


def needed_dose(lifts: Sequence[tuple[float, float]]) -> float | None:
    """The dose from which on the lift stays at CLAIMED_LIFT or above, interpolated between doses; None: none does.

    `lifts` are (alpha, lift) in the order of alpha.
    """
    if lifts[-1][1] < CLAIMED_LIFT:
        return None
    for (below, lift_below), (above, lift_above) in reversed(list(pairwise(lifts))):
        if lift_below < CLAIMED_LIFT:
            return below + (above - below) * (CLAIMED_LIFT - lift_below) / (lift_above - lift_below)
    return lifts[0][0]


def _broken(run: RunResult) -> str:
    arms = ", ".join(f"{arm.arm} {arm.users}" for arm in run.arms)
    return (
        f"No verdict: in run {run.run} users are not split as they should be ({arms}; p = {run.sample_ratio_p:.1g}, "
        f"an alarm below {ALARM}). Whoever is missing is not missing by chance, so no effect can be trusted."
    )


def _measured(effect: ArmEffect) -> bool:
    return isfinite(effect.estimate) and isfinite(effect.low) and isfinite(effect.high)


def _unmeasured(effects: Sequence[ArmEffect]) -> list[str]:
    """Primary metrics that the experiment is too short or too small for."""
    return [
        f"{effect.arm} cannot be judged by {METRIC_WORDS[effect.metric]}: too few users have a value."
        for effect in effects
        if effect.metric in PRIMARY and not _measured(effect)
    ]


def _missed(effect: ArmEffect) -> str:
    words, truth = METRIC_WORDS.get(effect.metric, effect.metric), effect.true_effect or 0.0
    return (
        f"Warning: the interval of {effect.arm} in {words}, {effect.low:.4g} to {effect.high:.4g}, "
        f"misses the true effect of {truth:.4g}; one interval in twenty does."
    )


def _covered(runs: Sequence[RunResult]) -> list[str]:
    """How often the intervals of single runs hold the truth."""
    held = [one for run in runs for effect in run.effects if (one := covers(effect)) is not None]
    if not held:
        return []
    return [f"Of {len(held)} intervals of single runs, {sum(held)} hold the true effect (95 % of many should)."]


def _dose_held(simulation: Simulation) -> list[str]:
    alpha = simulation.settings.get("alpha")
    if alpha is None or not any(effect.metric == "retention" for effect in simulation.pooled):
        return []
    return [
        f"What is said of retention holds at a dose of α = {alpha:g} only: how much satisfaction brings users back is "
        "an assumption of the world, not a finding."
    ]


def _zero_control(point: DosePoint) -> str:
    fine = point.low <= 0 <= point.high
    interval = f"[{signed(100 * point.low)}, {signed(100 * point.high)}]"
    return (
        f"At α = 0, where nothing that is shown can bring users back, retention of {point.arm} differs by "
        f"{signed(100 * point.estimate)} points {interval}: "
        + ("the interval holds zero, as it should." if fine else "the interval misses zero, as one in twenty does.")
    )


def _needed(arm: str, lifts: Sequence[tuple[float, float]]) -> str:
    dose, claim = needed_dose(lifts), f"{signed(100 * CLAIMED_LIFT, 0)} % retention"
    if dose is not None:
        return f"{arm} would have {claim} from a dose of about α = {dose:.1f} on (interpolated)."
    alpha, most = max(lifts, key=lambda pair: pair[1])
    return (
        f"No dose up to α = {lifts[-1][0]:g} gives {arm} {claim} that lasts: "
        f"the most is {signed(100 * most)} % at α = {alpha:g}."
    )


def _amount(effect: ArmEffect, number: float) -> str:
    """With the unit."""
    return f"{_bare(effect, number)} %" if isfinite(effect.relative) else _bare(effect, number)


def _bare(effect: ArmEffect, number: float) -> str:
    return signed(100 * number) if isfinite(effect.relative) else signed(number, 3)
