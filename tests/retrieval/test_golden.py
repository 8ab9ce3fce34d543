"""Golden cases: a release that this code computes differently is refused, by name."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from contracts.errors import ParityBroken
from contracts.golden import TOLERANCE
from retrieval.golden import replay_golden
from retrieval.opened import open_model
from tests.toy_world import toy_model


@pytest.mark.parametrize("options", [{}, {"featureless": True}, {"hidden": 0}])
def test_a_sound_model_replays(options):
    replay_golden(toy_model(**options))


@pytest.mark.parametrize("difference", [2 * TOLERANCE, np.nan])
@pytest.mark.parametrize("name", ["two_tower", "als"])
def test_a_vector_that_differs_is_named(name, difference):
    model = toy_model()
    case = model.golden[2]
    expected = list(getattr(case, name))
    expected[5] += difference
    model.golden[2] = msgspec.structs.replace(case, **{name: expected})
    with pytest.raises(ParityBroken, match=f"golden case 2: the {name} vector"):
        open_model(model)


def test_rounding_is_no_difference():
    model = toy_model()
    case = model.golden[3]
    model.golden[3] = msgspec.structs.replace(case, two_tower=[value + TOLERANCE / 4 for value in case.two_tower])
    replay_golden(model)


def test_a_vector_of_another_length_is_no_parity():
    model = toy_model()
    model.golden[1] = msgspec.structs.replace(model.golden[1], two_tower=[0.0] * 3)
    with pytest.raises(ParityBroken):
        replay_golden(model)


@pytest.mark.parametrize("array", ["slots", "positions", "hidden_weight", "output_bias"])
def test_every_array_of_the_tower_is_under_guard(array):
    model = toy_model()
    broken = getattr(model.tower, array).copy()
    broken[::2] *= 1.05
    with pytest.raises(ParityBroken):
        replay_golden(replace(model, tower=replace(model.tower, **{array: broken})))
