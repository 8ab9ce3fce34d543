"""Effects are what a textbook says, over users whose value is known, and nothing where nothing can be said."""

from __future__ import annotations

from math import isnan, sqrt

import numpy as np
import polars as pl
import pytest
from scipy.stats import chisquare, ttest_ind

from contracts.errors import ExposuresInvalid
from experiments.analysis.effects import Metric, effects, holm
from experiments.analysis.power import power
from experiments.analysis.sample_ratio import ALARM, equal_weights, sample_ratio
from experiments.analysis.sequential import sequential_half_width, sequential_p_value

CLICKS = Metric("clicks", "mean", "clicks")
RATIO = Metric("rate", "ratio", "clicks", "sessions")


@pytest.fixture(scope="module")
def users() -> pl.DataFrame:
    """[1500] in three arms; `two` clicks more."""
    rng = np.random.default_rng(3)
    arms = rng.choice(["control", "one", "two"], 1_500)
    taste = rng.lognormal(0, 0.8, len(arms))
    return pl.DataFrame(
        {
            "variation_id": arms,
            "clicks": taste * rng.lognormal(0, 0.4, len(arms)) + 0.5 * (arms == "two"),
            "sessions": 1 + rng.poisson(2, len(arms)),
            "clicks_before": taste,
            "retained": pl.Series(rng.random(len(arms)) < 0.4),
        }
    )


def of_arm(users: pl.DataFrame, arm: str, column: str) -> np.ndarray:
    return users.filter(pl.col("variation_id") == arm)[column].to_numpy().astype(float)


def test_a_mean_is_welch_and_all_arms_are_there(users: pl.DataFrame) -> None:
    found = effects(users, [CLICKS], "control")
    assert [one.arm for one in found] == ["one", "two"]
    for one in found:
        expected = ttest_ind(of_arm(users, one.arm, "clicks"), of_arm(users, "control", "clicks"), equal_var=False)
        interval = expected.confidence_interval(0.95)
        assert (one.p_value, one.low, one.high) == pytest.approx((expected.pvalue, interval.low, interval.high))
        assert one.estimate == pytest.approx(one.value - one.control_value)
        assert one.relative == pytest.approx(one.value / one.control_value - 1)
    assert found[1].low > 0


def test_a_ratio_is_of_sums_with_users_as_the_unit(users: pl.DataFrame) -> None:
    (one, _) = effects(users, [RATIO], "control")
    error = 0.0
    for arm in ("one", "control"):
        clicks, sessions = of_arm(users, arm, "clicks"), of_arm(users, arm, "sessions")
        rate = clicks.sum() / sessions.sum()
        error += np.var(clicks - rate * sessions, ddof=1) / sessions.mean() ** 2 / len(clicks)
    assert one.value == pytest.approx(of_arm(users, "one", "clicks").sum() / of_arm(users, "one", "sessions").sum())
    assert (one.high - one.low) / 2 == pytest.approx(1.962 * sqrt(error), rel=1e-3)


def test_cuped_narrows_and_says_so(users: pl.DataFrame) -> None:
    plain = effects(users, [CLICKS], "control")[1]
    adjusted = effects(users, [Metric("clicks", "mean", "clicks", before="clicks_before")], "control")[1]
    assert adjusted.cuped
    assert not plain.cuped
    assert adjusted.high - adjusted.low < 0.7 * (plain.high - plain.low)
    assert (adjusted.value, adjusted.control_value) == pytest.approx((plain.value, plain.control_value))
    assert adjusted.low < 0.5 < adjusted.high


@pytest.mark.parametrize("before", [pl.lit(None), pl.lit(0.0), None])
def test_a_covariate_that_says_nothing_is_left_out(users: pl.DataFrame, before: pl.Expr | None) -> None:
    known = users.drop("clicks_before")
    known = known if before is None else known.with_columns(before.alias("clicks_before"))
    (one, _) = effects(known, [Metric("clicks", "mean", "clicks", before="clicks_before")], "control")
    (plain, _) = effects(users, [CLICKS], "control")
    assert not one.cuped
    assert (one.estimate, one.p_value) == pytest.approx((plain.estimate, plain.p_value))


def test_a_share_counts_only_users_whose_value_is_known(users: pl.DataFrame) -> None:
    known = pl.int_range(pl.len()) % 3 > 0
    some = users.with_columns(pl.when(known).then("retained").alias("retained"))
    (one, _) = effects(some, [Metric("retention", "share", "retained")], "control")
    values = some.filter(pl.col("variation_id") == "one")["retained"].drop_nulls()
    assert (one.users, one.value) == (len(values), pytest.approx(values.mean()))
    (whole, _) = effects(some.drop_nulls("retained"), [Metric("retention", "share", "retained")], "control")
    assert (one.users, one.estimate, one.low) == (whole.users, pytest.approx(whole.estimate), pytest.approx(whole.low))


def test_what_cannot_be_said_is_nan(users: pl.DataFrame) -> None:
    odd = users.with_columns(none=pl.lit(None), same=pl.lit(2.0), below=-pl.col("clicks"))
    none, _, same, _, below, _ = effects(
        odd, [Metric(name, "mean", name) for name in ("none", "same", "below")], "control", looks=True
    )
    assert (none.users, none.control_users) == (0, 0)
    assert all(isnan(value) for value in (none.value, none.p_value, none.p_adjusted, none.sequential_p or 0))
    assert (same.value, same.estimate) == (2.0, 0.0)
    assert isnan(same.low)
    assert isnan(below.relative)
    assert below.low < below.estimate < below.high


def test_arms_that_are_not_there_are_named(users: pl.DataFrame) -> None:
    with pytest.raises(ExposuresInvalid, match=r"control 'none'; the arms are 'control', 'one', 'two'"):
        effects(users, [CLICKS], "none")
    with pytest.raises(ExposuresInvalid, match="nothing to compare with"):
        effects(users.filter(pl.col("variation_id") == "one"), [CLICKS], "one")


def test_holm_is_holms() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    with_unknown = holm({"a": 0.02, "b": float("nan")})
    assert with_unknown["a"] == pytest.approx(0.02)
    assert isnan(with_unknown["b"])


@pytest.mark.parametrize(
    ("planned", "low", "high", "p_value"),
    [
        (5_000, 0.019420578200979255, 0.5805794217990208, 0.029235555965776743),
        (800, 0.020918156199840943, 0.5790818438001591, 0.02460337947936721),
    ],
)
def test_the_sequential_interval_is_gbstats(planned: int, low: float, high: float, p_value: float) -> None:
    """Figures of SequentialTwoSidedTTest in gbstats 0.8.0, absolute, of (1000, mean 1, variance 4), (1200, 1.3, 5)."""
    error = sqrt(4 / 1_000 + 5 / 1_200)
    half = sequential_half_width(error, 2_200, planned)
    assert (0.3 - half, 0.3 + half) == pytest.approx((low, high), rel=1e-12)
    assert sequential_p_value(0.3, error, 2_200, planned) == pytest.approx(p_value, rel=1e-12)


def test_the_sequential_p_value_and_interval_agree(users: pl.DataFrame) -> None:
    half = sequential_half_width(0.1, 700)
    assert sequential_p_value(half, 0.1, 700) == pytest.approx(0.05)
    for one in effects(users, [CLICKS, RATIO], "control", looks=True):
        assert one.sequential_low is not None
        assert one.sequential_high is not None
        assert one.sequential_low < one.low < one.high < one.sequential_high
    assert all(one.sequential_p is None for one in effects(users, [CLICKS], "control"))


def test_sample_ratio_is_chi_square_and_knows_its_arms() -> None:
    assert sample_ratio({"a": 5_100, "b": 4_900}, {"a": 1, "b": 1}) == pytest.approx(chisquare([5_100, 4_900]).pvalue)
    assert sample_ratio({"a": 700, "b": 300}, {"a": 0.7, "b": 0.3}) == pytest.approx(1.0)
    assert sample_ratio({"a": 51_000, "b": 49_000}, equal_weights({"a": 1, "b": 1})) < ALARM
    assert sample_ratio({"a": 100}, {"a": 0.5, "b": 0.5}) < ALARM  # nobody came to b
    assert sample_ratio({"a": 0, "b": 0}, {"a": 0.5, "b": 0.5}) == 1.0
    with pytest.raises(ExposuresInvalid, match="without a weight: 'c'"):
        sample_ratio({"a": 1, "c": 1}, {"a": 0.5, "b": 0.5})
    with pytest.raises(ExposuresInvalid, match="one arm"):
        sample_ratio({"a": 1}, {"a": 1.0})


def test_power_is_that_of_the_normal_test(users: pl.DataFrame) -> None:
    found = power(users, CLICKS, ("one", "control"), days=10)
    control = of_arm(users, "control", "clicks")
    n_one = len(of_arm(users, "one", "clicks"))
    error = sqrt(control.var(ddof=1) * (1 / len(control) + 1 / n_one))
    assert found.detectable == pytest.approx(2.8016 * error, rel=1e-3)  # 1.96 + 0.8416
    assert found.detectable_lift == pytest.approx(found.detectable / control.mean())
    assert found.users_needed["1%"] > 90 * found.users_needed["10%"]
    assert found.days_needed["5%"] == pytest.approx(found.users_needed["5%"] / found.users * 10, abs=0.1)
    assert power(users, CLICKS, ("one", "control"), comparisons=3).detectable > found.detectable
    assert isnan(power(users.with_columns(clicks=1.0), CLICKS, ("one", "control")).detectable)
