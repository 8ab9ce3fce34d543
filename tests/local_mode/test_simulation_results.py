"""What `--json` gives has the estimate, its interval and the truth of each arm and metric, and reads back."""

from __future__ import annotations

import json
from math import nan

import msgspec

from local_mode.simulation.results import Simulation, encode_simulation
from tests.local_mode.simulated_results import simulation


def test_json_has_estimate_interval_and_truth_of_each_arm_and_metric() -> None:
    given = json.loads(encode_simulation(simulation()))
    assert {(one["arm"], one["metric"]) for one in given["pooled"]} == {
        (arm, metric) for arm in ("als", "two_tower") for metric in ("clicks", "retention")
    }
    for one in given["pooled"] + given["runs"][0]["effects"]:
        assert one["low"] <= one["estimate"] <= one["high"]
        assert isinstance(one["true_effect"], float)


def test_it_reads_back_and_what_is_unknown_is_null() -> None:
    given = simulation()
    assert msgspec.json.decode(encode_simulation(given), type=Simulation) == given
    unknown = msgspec.structs.replace(given.pooled[0], estimate=nan, true_effect=None)
    said = json.loads(encode_simulation(msgspec.structs.replace(given, pooled=[unknown])))["pooled"][0]
    assert said["estimate"] is None
    assert said["true_effect"] is None
