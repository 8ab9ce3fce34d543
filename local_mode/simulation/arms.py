"""The experiment of a simulation: its arms as treatments, its payload as GrowthBook's SDK reads it, and who is where.

Users are put into arms by the assignment that serves (`experiments/running.py`), not by this. It knows no world;
`lines.py` serves by its treatments, `measuring.py` reads the arms' names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.treatment import Treatment
from experiments.attributes import attributes_of
from experiments.payload import Payload, read_payload
from experiments.running import Running

CONTROL: Final = "popularity"

ARMS: Final[Mapping[str, Treatment]] = {
    CONTROL: Treatment(model="popularity", diversity="none", recency_weight=0.0),
    "als": Treatment(model="als", diversity="none", recency_weight=0.0),
    "two_tower": Treatment(model="two_tower", diversity="none", recency_weight=0.0),
    "two_tower_reranked": Treatment(model="two_tower"),
}
"""Arm → treatment. Only the last one re-ranks, so that the others differ by their model alone. What a treatment does
not name is as by default, exploration of new items included."""

ORACLE: Final = "oracle"
"""Knows what users want, as no model can (`fixed_policies.personal`): how far retention could move at all."""

DOSE_ARMS: Final = (CONTROL, "two_tower_reranked", ORACLE)
"""Arms of the dose-response curve: more users in each than with all arms."""

EXPERIMENT: Final = "tandem.models"
"""Key of the feature and of its experiment."""

NOBODY: Final = -1
"""In the place of an arm."""


def payload_of(arms: Sequence[str], seed: str) -> Payload:
    """An experiment with equal shares of these arms; another seed is another split."""
    rule = {
        "key": EXPERIMENT,
        "variations": [msgspec.to_builtins(ARMS.get(arm, Treatment())) for arm in arms],
        "meta": [{"key": arm} for arm in arms],
        "weights": [1 / len(arms)] * len(arms),
        "coverage": 1.0,
        "hashAttribute": "id",
        "hashVersion": 2,
        "seed": f"{EXPERIMENT}-{seed}",
        "phase": "0",
    }
    return read_payload(msgspec.json.encode({"features": {EXPERIMENT: {"defaultValue": {}, "rules": [rule]}}}))


def assigned(user_ids: Sequence[str], payload: Payload, arms: Sequence[str]) -> NDArray[np.int8]:
    """[users] the arm of each, a place in `arms`; NOBODY who takes part in nothing.

    Asked once a user: an assignment depends on the user and the payload alone, so a visit later it is the same.
    """
    running = Running(payload)
    places = {arm: place for place, arm in enumerate(arms)}
    found = np.full(len(user_ids), NOBODY, np.int8)
    for user, user_id in enumerate(user_ids):
        for assignment in running.assign(attributes_of(user_id, user_id=user_id)).assignments:
            found[user] = places[assignment.variation]
    return found
