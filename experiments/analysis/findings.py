"""What a test says of each arm and metric: better, worse, or not to be told apart, and what would have been seen.

Nothing is said where the split is broken. `report.py` calls it; the command line and the page print the sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Final, Literal

from experiments.analysis.effects import Effect
from experiments.analysis.power import POWER, Power
from experiments.analysis.sample_ratio import ALARM

SIGNIFICANT: Final = 0.05
"""Of the p-value that is adjusted for the number of arms."""

Word = Literal["better", "worse", "open", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """On one arm in one metric."""

    metric: str
    arm: str
    verdict: Word
    """"open": the data fits no effect and some effect; "unknown": there is nothing to compute with."""
    sentence: str


def verdicts(effects: Sequence[Effect], powers: Sequence[Power]) -> list[Verdict]:
    """One for each effect; by the sequential p-value where there is one."""
    of = {(power.metric, power.arm): power for power in powers}
    return [_verdict(effect, of.get((effect.metric, effect.arm))) for effect in effects]


def broken_split_sentence(p_value: float) -> str:
    """Why there is no verdict."""
    return (
        f"No verdict: the users of the arms are not split as they should be (p = {p_value:.1e} < {ALARM:g}). Something "
        "lost or added users of one arm, so no difference between arms can be trusted. Find out what, and start again."
    )


def figure(value: float | None, form: str) -> str:
    """A number as people read it; a dash for what is not known."""
    return "–" if value is None or not isfinite(value) else format(value, form)


def span(value: float, low: float | None, high: float | None, form: str) -> str:
    """A number with its interval."""
    if low is None or high is None:
        return "–"
    return f"{figure(value, form)} ({figure(low, form)} to {figure(high, form)})"


def _verdict(effect: Effect, power: Power | None) -> Verdict:
    word = _word(effect)
    about = f"{effect.metric}: {effect.arm}"
    if word == "unknown":
        return Verdict(effect.metric, effect.arm, word, f"{about} is not to be judged, {_why_unknown(effect)}.")
    if word == "open":
        sentence = (
            f"{about} and {effect.control} are not to be told apart ({_interval(effect)}){_would_have(effect, power)}."
        )
        return Verdict(effect.metric, effect.arm, word, sentence)
    sentence = f"{about} is {word} than {effect.control} ({_interval(effect)})."
    return Verdict(effect.metric, effect.arm, word, sentence)


def _word(effect: Effect) -> Word:
    p_value = effect.p_adjusted if effect.sequential_p is None else effect.sequential_p
    if isnan(p_value):
        return "unknown"
    if p_value >= SIGNIFICANT:
        return "open"
    return "better" if effect.estimate > 0 else "worse"


def _why_unknown(effect: Effect) -> str:
    fewest = min(effect.users, effect.control_users)
    if fewest < 2:  # one user has no variance
        return "too few users whose value is known" if fewest else "there is nobody whose value is known yet"
    return "all users are alike"


def _interval(effect: Effect) -> str:
    """Lift with its interval; the difference where there is no lift, or where only that may be looked at early."""
    if effect.sequential_low is not None and effect.sequential_high is not None:
        low, high = effect.sequential_low, effect.sequential_high
        return f"difference {effect.estimate:+.4g}, {low:+.4g} to {high:+.4g} at all looks"
    said = f"difference {effect.estimate:+.4g}, {effect.low:+.4g} to {effect.high:+.4g}"
    if isfinite(effect.relative_low):
        said = f"{effect.relative:+.1%}, {effect.relative_low:+.1%} to {effect.relative_high:+.1%}"
    one_in_many = effect.p_value < SIGNIFICANT <= effect.p_adjusted
    return f"{said}; p = {effect.p_adjusted:.2g} over all arms" if one_in_many else said


def _would_have(effect: Effect, power: Power | None) -> str:
    """What silence rules out; before the end it rules out nothing that the interval does not."""
    if power is None or effect.sequential_p is not None or not isfinite(power.detectable):
        return ""
    size = f"{power.detectable_lift:.1%}" if isfinite(power.detectable_lift) else f"{power.detectable:.4g}"
    return f"; an effect above {size} would most likely ({POWER:.0%}) have been seen"
