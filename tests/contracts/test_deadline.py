"""A time budget on a clock that the test moves."""

from __future__ import annotations

import math

import pytest

from contracts.deadline import Deadline


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_time_runs_out_and_never_below_zero():
    clock = Clock()
    deadline = Deadline(150, clock)
    clock.now += 0.1
    assert deadline.remaining_ms() == pytest.approx(50)
    assert not deadline.expired
    clock.now += 0.1
    assert deadline.remaining_ms() == 0
    assert deadline.expired


def test_a_share_is_of_what_is_left_and_ends_before_the_whole():
    clock = Clock()
    deadline = Deadline(200, clock)
    clock.now += 0.1
    half, capped = deadline.share(0.5), deadline.share(0.5, at_most_ms=20)
    assert half.remaining_ms() == pytest.approx(50)
    assert capped.remaining_ms() == pytest.approx(20)
    clock.now += 0.06
    assert half.expired
    assert not deadline.expired
    assert deadline.share(1.0).remaining_ms() == pytest.approx(40)


def test_a_budget_of_nothing_is_over_at_once():
    assert Deadline(0, Clock()).expired


def test_never_never_ends():
    deadline = Deadline.never()
    assert not deadline.expired
    assert deadline.remaining_ms() == math.inf
    assert not deadline.share(0.1).expired


def test_the_real_clock_goes_forward():
    deadline = Deadline(1e6)
    assert deadline.remaining_ms() >= deadline.remaining_ms() > 0
