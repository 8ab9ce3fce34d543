"""The verdict can say "loses", says nothing over a broken split, and goes by the estimates and never by the truth."""

from __future__ import annotations

from math import nan

import msgspec
import pytest

from local_mode.simulation.results import ArmEffect, Simulation
from local_mode.simulation.verdict import needed_dose, sentences, signed, verdict
from tests.local_mode.simulated_results import effect, run, simulation

changed = msgspec.structs.replace


def test_each_arm_wins_loses_or_cannot_be_told_apart_in_each_primary_metric() -> None:
    assert verdict(simulation()).splitlines()[:4] == [
        "als loses: −3.1 % clicks a user [−4.0, −2.2] (truth −2.9 %).",
        "two_tower wins: +5.0 % clicks a user [+3.0, +7.0] (truth +4.0 %).",
        "als cannot be told from the control: +0.4 % retention [−1.6, +2.4] (truth −1.0 %).",
        "two_tower wins: +3.0 % retention [+1.0, +5.0] (truth +6.0 %).",
    ]


def test_it_warns_where_an_interval_misses_the_truth_and_counts_those_of_single_runs() -> None:
    said = sentences(simulation())
    assert [line for line in said if line.startswith("Warning")] == [
        "Warning: the interval of two_tower in retention, 0.004 to 0.02, misses the true effect of 0.024; "
        "one interval in twenty does."
    ]
    assert "Of 8 intervals of single runs, 6 hold the true effect (95 % of many should)." in said


def test_a_broken_split_gets_no_verdict() -> None:
    given = simulation()
    broken = changed(given, runs=[given.runs[0], run(2, given.pooled, sample_ratio_p=3e-7)])
    said = verdict(broken)
    assert said.startswith("No verdict: in run 2 users are not split as they should be (popularity 300, als 301, ")
    assert "p = 3e-07" in said
    assert "wins" not in said
    assert "loses" not in said


def test_retention_is_claimed_at_its_dose_only_and_the_curve_says_what_more_would_take() -> None:
    assert sentences(simulation())[-3:] == [
        "What is said of retention holds at a dose of α = 1 only: how much satisfaction brings users back is an "
        "assumption of the world, not a finding.",
        "At α = 0, where nothing that is shown can bring users back, retention of two_tower differs by −1.0 points "
        "[−3.0, +1.0]: the interval holds zero, as it should.",
        "two_tower would have +12 % retention from a dose of about α = 1.4 on (interpolated).",
    ]


def test_a_curve_that_never_reaches_the_claim_says_so_and_a_zero_control_that_fails_too() -> None:
    given = simulation()
    weak = [changed(point, true_effect=None, estimate=point.alpha * 0.01, low=0.001) for point in given.dose]
    said = sentences(changed(given, dose=weak))
    assert said[-1] == "No dose up to α = 2 gives two_tower +12 % retention that lasts: the most is +5.0 % at α = 2."
    assert "the interval misses zero, as one in twenty does." in said[-2]


@pytest.mark.parametrize(
    ("lifts", "dose"),
    [
        ([(0.0, 0.0), (1.0, 0.24)], 0.5),
        ([(0.0, 0.0), (1.0, 0.12), (2.0, 0.2)], 1.0),
        ([(0.5, 0.2), (1.0, 0.3)], 0.5),
        ([(0.0, 0.0), (1.0, 0.2), (2.0, 0.1)], None),
        ([(0.0, 0.2), (1.0, 0.0), (2.0, 0.24)], 1.5),
    ],
)
def test_the_dose_from_which_the_claim_holds_for_good(lifts: list[tuple[float, float]], dose: float | None) -> None:
    assert needed_dose(lifts) == pytest.approx(dose)


def test_the_dose_uses_the_controls_retention_of_the_experiment_where_it_has_none_of_its_own() -> None:
    given = simulation()
    bare = changed(given, dose=[changed(point, control_value=None) for point in given.dose])
    assert sentences(bare)[-1] == sentences(given)[-1]


def only(one: ArmEffect) -> Simulation:
    return changed(simulation(), pooled=[one], runs=[], dose=[])


def test_a_significant_interval_that_holm_does_not_confirm_is_no_win() -> None:
    said = sentences(only(changed(effect("als", "clicks", 0.03, 0.02), p_adjusted=0.07)))
    assert said[0].startswith("als cannot be told from the control: +3.0 % clicks a user [+1.0, +5.0]")


def test_what_has_no_interval_or_no_lift_or_no_truth_is_said_as_it_is() -> None:
    unknown = changed(effect("als", "retention", 0.03, 0.02), estimate=nan, low=nan, high=nan, p_adjusted=nan)
    assert sentences(only(unknown))[0] == "als cannot be judged by retention: too few users have a value."
    no_lift = changed(effect("als", "clicks", 0.03, 0.02), relative=nan, relative_low=nan, relative_high=nan)
    assert sentences(only(no_lift))[0] == "als wins: +0.300 clicks a user [+0.100, +0.500] (truth 0.000)."
    no_twins = changed(effect("als", "clicks", 0.03, 0.02), true_effect=None, true_relative=None)
    assert sentences(only(no_twins))[0] == "als wins: +3.0 % clicks a user [+1.0, +5.0]."


def test_numbers_are_signed_as_in_print() -> None:
    assert [signed(number) for number in (-3.14, 0.44, 0.0, -0.04)] == ["−3.1", "+0.4", "0.0", "0.0"]
