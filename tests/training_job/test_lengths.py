"""Item lengths: recent popularity where the tuning slice says that it pays, and nothing else changes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from contracts.interactions import Interactions
from training_job.lengths import LONGEST, SHORTEST, choose_lengths, recent_lengths
from training_job.popularity import Decay

DAY = 86_400
N_ITEMS = 6


def events() -> Interactions:
    """Items 0 to 3 were popular a year ago, item 4 is now; item 5 has one event."""
    old = np.repeat([0, 1, 2, 3], 20)
    new = np.repeat([4], 10)
    items = np.concatenate([old, new, [5]])
    times = np.concatenate([np.zeros(len(old)), np.full(len(new), 365 * DAY), [0]]).astype(np.int64)
    return Interactions.from_events(np.arange(len(items)) % 30, items, times, np.ones(len(items)), 30, N_ITEMS)


def towers() -> Any:
    """What choosing reads and sets of a stepper."""
    return SimpleNamespace(norms=torch.ones(N_ITEMS), cold_norm=1.0, recipe=SimpleNamespace(norm_power=0.15))


def liking(item: int, noise: float = 0.0) -> Any:
    """A slice on which every user is better off the longer one item is, relative to the others."""
    spread = np.random.default_rng(0).normal(0, noise, 40)

    def score(factors: torch.Tensor) -> np.ndarray:
        lengths = factors.numpy()
        return lengths[item] / lengths.sum() + spread * float(lengths.std() > 0)

    return score


def test_recent_events_make_an_item_long() -> None:
    recent, ever = (recent_lengths(Decay.of(events(), days).totals(events()), 1.0) for days in (7.0, None))
    assert recent.argmax() == 4
    assert ever.argmax() in (0, 1, 2, 3)
    assert ((recent >= SHORTEST) & (recent <= LONGEST)).all()


def test_the_grid_finds_what_the_slice_asks_for() -> None:
    stepper = towers()
    chosen = choose_lengths(events(), stepper, liking(4))
    assert chosen is not None
    assert chosen.half_life_days is not None
    assert chosen.score > chosen.trained_score
    assert int(stepper.norms.argmax()) == 4
    assert stepper.cold_norm == pytest.approx(float(stepper.norms[5]))


def test_a_gain_within_its_noise_changes_nothing() -> None:
    stepper = towers()
    chosen = choose_lengths(events(), stepper, liking(4, noise=50.0))
    assert chosen is not None
    assert (chosen.half_life_days, chosen.power) == (None, 0.15)
    assert stepper.norms.tolist() == [1.0] * N_ITEMS


@pytest.mark.parametrize("users", [0, 1])
def test_without_users_to_tune_on_lengths_stay(users: int) -> None:
    stepper = towers()
    assert choose_lengths(events(), stepper, lambda _: np.zeros(users)) is None
    assert stepper.norms.tolist() == [1.0] * N_ITEMS


def test_a_cold_item_is_raised_where_that_is_free_and_not_where_it_costs() -> None:
    def indifferent(factors: torch.Tensor) -> np.ndarray:
        return np.full(40, float(factors[4] / factors[:5].sum()))

    free, costly = towers(), towers()
    raised = choose_lengths(events(), free, indifferent)
    assert raised is not None
    assert raised.cold_floor == 0.5
    assert free.norms[5] == pytest.approx(float(torch.quantile(free.norms[:5], 0.5)))
    assert free.cold_norm == pytest.approx(float(free.norms[5]))
    refused = choose_lengths(events(), costly, lambda f: indifferent(f) - np.full(40, 10.0 * float(f[5])))
    assert refused is not None
    assert costly.norms[5] == costly.norms.min()


def test_an_item_without_events_is_as_long_as_the_floor_though_a_hot_one_is_shorter() -> None:
    stepper = towers()
    stepper.norms = torch.tensor([0.2, 0.5, 1.0, 2.0, 3.0, 0.1])
    choose_lengths(events(), stepper, lambda _: np.ones(40))
    assert stepper.norms.tolist() == pytest.approx([0.2, 0.5, 1.0, 2.0, 3.0, 1.0])
    assert stepper.cold_norm == 1.0
