"""What a new payload would do to people who are in the arms of the one that runs.

An arm is a hash of seed and id, cut by coverage and weights: other weights, other arms or less coverage move people who
have seen one arm into another one, and their later days then count for both. Another seed or phase says that this is
meant. `publishing.py` and `tandem experiments push` ask.
"""

from __future__ import annotations

from collections.abc import Iterator

from contracts.errors import PayloadInvalid
from experiments.payload import Payload
from experiments.rules import Experiment


def refuse_moves(before: Payload, after: Payload) -> None:
    """Raise PayloadInvalid, naming experiments, where somebody would be moved between arms."""
    if moves := list(moved(before, after)):
        raise PayloadInvalid(
            f"People would change arms in the middle of a test: {'; '.join(moves)}.",
            fix="Begin a new phase with a seed of its own, end the test, or say --force where nobody is to be judged.",
        )


def moved(before: Payload, after: Payload) -> Iterator[str]:
    """For each experiment that would move somebody: its key, and by what."""
    running = {one.key: one for one in before.rules}
    for new in after.rules:
        old = running.get(new.key)
        if old is not None and (old.seed, old.phase) == (new.seed, new.phase) and (reason := _reason(old, new)):
            yield f"{new.key} ({reason})"


def _reason(old: Experiment, new: Experiment) -> str:
    """Why people would move; empty where nobody would. All experiments hash by the same attribute and version."""
    if [arm.key for arm in old.arms] != [arm.key for arm in new.arms]:
        return f"its arms were {_keys(old)} and are {_keys(new)}"
    if [arm.weight for arm in old.arms] != [arm.weight for arm in new.arms]:
        return f"its weights were {_weights(old)} and are {_weights(new)}"
    if new.coverage < old.coverage:
        return f"its coverage falls from {old.coverage:g} to {new.coverage:g}"
    changed = [one.key for one, other in zip(old.arms, new.arms, strict=True) if one.treatment != other.treatment]
    return f"what is served changes in {', '.join(changed)}" if changed else ""


def _keys(experiment: Experiment) -> str:
    return ", ".join(arm.key for arm in experiment.arms)


def _weights(experiment: Experiment) -> str:
    return ", ".join(f"{arm.weight:.6g}" for arm in experiment.arms)
