"""The experiments of one payload, at work: attributes in, arms and what they change out.

GrowthBook's own SDK evaluates, through the functions below its clients: those would ask the network when they think it
time, and remember every user they saw. A payload is turned into the SDK's objects once. Nothing here does any I/O, and
a user is in the same arm in every process, for the arm is a hash of seed and id. The Lambda edge, the simulator and
`tandem experiments assign` call it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.experiment import Assigned, Assignment
from contracts.treatment import Treatment
from experiments.payload import Payload


class Running:
    """What one process assigns by, until the next payload takes its place."""

    def __init__(self, payload: Payload, sequence: int = 0) -> None:
        """Imports the SDK, 0.3 s, where the payload has anything to evaluate."""
        self.payload, self.sequence = payload, sequence
        self._evaluation = _Evaluation(payload) if payload.features else None

    def assign(self, attributes: Mapping[str, Any]) -> Assigned:
        """The arms of one user (`attributes_of`), and all that they change together. Never raises."""
        if self._evaluation is None:
            return Assigned(sequence=self.sequence)
        changes, assignments = self._evaluation.of(attributes)
        return Assigned(Treatment(**changes), tuple(assignments), self.sequence)


class _Evaluation:
    """A payload in the SDK's own objects."""

    def __init__(self, payload: Payload) -> None:
        from growthbook import common_types as sdk
        from growthbook.core import eval_feature

        self._sdk, self._eval_feature = sdk, eval_feature
        features = {key: sdk.Feature(**definition) for key, definition in payload.features.items()}
        self._context = sdk.GlobalContext(options=sdk.Options(), features=features)
        self._keys = tuple(features)

    def of(self, attributes: Mapping[str, Any]) -> tuple[dict[str, Any], list[Assignment]]:
        """What changes for somebody, by field, and the experiments in which they take part."""
        changes: dict[str, Any] = {}
        assignments: list[Assignment] = []
        user = self._sdk.UserContext(attributes=dict(attributes))
        context = self._sdk.EvaluationContext(user, self._context, self._sdk.StackContext())
        for key in self._keys:
            # the SDK leaves a feature on the stack, and takes one that it finds there for one that depends on itself
            context.stack.evaluated_features = set()
            try:
                found = self._eval_feature(key, context)
                changes.update(found.value or {})
            except Exception:  # noqa: BLE001, S112  # whatever the SDK stumbles over costs its experiment, not the slate
                continue
            if found.experiment is not None and found.experimentResult is not None:
                assignments.append(Assignment(found.experiment.key, found.experimentResult.key))
        return changes, assignments
