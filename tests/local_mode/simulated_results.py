"""A simulation made by hand, for the tests of the verdict and of the page."""

from __future__ import annotations

from local_mode.simulation.results import ArmEffect, ArmUsers, DosePoint, OffPolicy, RunResult, Simulation

ARMS = ["popularity", "als", "two_tower"]


def effect(arm: str, metric: str, lift: float, half: float, *, control: float = 10.0, truth: float = 0.0) -> ArmEffect:
    """`lift` and `half` its interval's half width; significant where the interval leaves out zero."""
    return ArmEffect(
        arm=arm,
        metric=metric,
        value=control * (1 + lift),
        control_value=control,
        estimate=control * lift,
        low=control * (lift - half),
        high=control * (lift + half),
        relative=lift,
        relative_low=lift - half,
        relative_high=lift + half,
        p_adjusted=0.01 if abs(lift) > half else 0.4,
        true_effect=control * truth,
        true_relative=truth,
    )


def run(number: int, effects: list[ArmEffect], sample_ratio_p: float = 0.5) -> RunResult:
    return RunResult(
        run=number,
        seed=6 + number,
        arms=[ArmUsers(arm=arm, users=300 + place) for place, arm in enumerate(ARMS)],
        sample_ratio_p=sample_ratio_p,
        effects=effects,
        releases=["first", "second"],
        seconds=60.0,
    )


def simulation() -> Simulation:
    """ALS loses clicks, the two-tower wins them and misses its truth in retention."""
    effects = [
        effect("als", "clicks", -0.031, 0.009, truth=-0.029),
        effect("two_tower", "clicks", 0.05, 0.02, truth=0.04),
        effect("als", "retention", 0.004, 0.02, control=0.4, truth=-0.01),
        effect("two_tower", "retention", 0.03, 0.02, control=0.4, truth=0.06),
    ]
    dose = [
        DosePoint(alpha=2.0, arm="two_tower", estimate=0.09, low=0.05, high=0.13, true_effect=0.08, control_value=0.4),
        DosePoint(alpha=0.0, arm="two_tower", estimate=-0.01, low=-0.03, high=0.01, true_effect=0.0, control_value=0.4),
        DosePoint(alpha=1.0, arm="two_tower", estimate=0.03, low=0.01, high=0.05, true_effect=0.024, control_value=0.4),
    ]
    off_policy = [
        OffPolicy(arm="als first", estimator="ips", estimate=0.05, low=0.04, high=0.06, truth=0.052),
        OffPolicy(arm="als only", estimator="ips", estimate=None, low=None, high=None, truth=0.06, refused="Too thin."),
    ]
    return Simulation(
        settings={"family": "taste", "users": 900, "items": 500, "days": 36, "alpha": 1.0},
        control="popularity",
        arms=ARMS,
        runs=[run(1, effects), run(2, effects)],
        pooled=effects,
        dose=dose,
        off_policy=off_policy,
        verdict="",
        seconds=120.0,
    )
