"""What a simulation hands over: the effect of every arm by the experiment's own report, and the truth beside it.

Pure data, the content of `tandem simulate --json`. `simulate.py` fills it, `verdict.py` says it in sentences,
`report.py` makes the page of it.
"""

from __future__ import annotations

from typing import Any

import msgspec


class ArmEffect(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one arm beside the control's: absolute and relative difference, each with a 95 % interval."""

    arm: str
    metric: str
    value: float
    """Of the arm; `control_value` of the control, in the unit of the metric."""
    control_value: float
    estimate: float
    """Arm minus control, as the experiment's report says it from exposures and events alone."""
    low: float
    high: float
    relative: float
    """Lift over the control: 0.03 is 3 % more."""
    relative_low: float
    relative_high: float
    p_adjusted: float
    """Holm over the arms of one metric."""
    true_effect: float | None = None
    """Arm minus control between twins of the whole world, served by the releases of the mixed run; None: no twins."""
    true_relative: float | None = None
    alone_effect: float | None = None
    """The same between worlds in which each arm was trained on its own log alone; None: not simulated."""


class ArmUsers(msgspec.Struct, frozen=True, kw_only=True):
    """How many users an arm was exposed to."""

    arm: str
    users: int


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """One run: one seed of the world and of the assignment."""

    run: int
    """From 1."""
    seed: int
    arms: list[ArmUsers]
    sample_ratio_p: float
    """Of the chi-square test that users were split as the weights say; an alarm below .001."""
    effects: list[ArmEffect]
    releases: list[str]
    """Ids of the releases that were trained on the way, oldest first."""
    blocked: list[str] = []
    """Those among them that the gate did not let through: what served before served on."""
    seconds: float


class DosePoint(msgspec.Struct, frozen=True, kw_only=True):
    """Difference in retention (a share) of one arm to the control, in a world of one dose."""

    alpha: float
    """How far satisfaction moves the probability of coming back; 0: not at all."""
    arm: str
    estimate: float
    low: float
    high: float
    true_effect: float | None
    control_value: float | None = None
    """Retention of the control at this dose; None: as in the experiment."""


class OffPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the log of slates says about a policy that was not served, by one estimator, and the truth."""

    arm: str
    estimator: str
    """`ips`, `snips` or `dr`."""
    estimate: float | None
    """Clicks a randomised place, as `truth`; None where it was refused."""
    low: float | None
    high: float | None
    truth: float | None
    refused: str = ""
    """Why no estimate is given; empty: one is."""


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """All runs of one call of `tandem simulate`."""

    settings: dict[str, Any]
    control: str
    arms: list[str]
    """In the order in which they are shown, the control first."""
    runs: list[RunResult]
    pooled: list[ArmEffect]
    """Over the users of all runs."""
    dose: list[DosePoint]
    off_policy: list[OffPolicy]
    verdict: str
    seconds: float


encode_simulation = msgspec.json.Encoder().encode
