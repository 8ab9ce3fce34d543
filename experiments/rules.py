"""One rule of one feature: an experiment, or a value for everybody whom it is about. Checked, and reduced.

A rule is kept with the fields that decide about somebody's arm and none else, each written out where GrowthBook leaves
a default to its SDKs. What would change assignment and is not known here is refused by its name. `payload.py` calls it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from contracts.treatment import Treatment
from experiments.conditions import check_condition
from experiments.refusal import cut, refuse, shown

HASH_ATTRIBUTE: Final = "id"
HASH_VERSION: Final = 2
"""Version 1 has a thousand buckets, and arms of two experiments with like seeds depend on each other."""
WEIGHTS_TOLERANCE: Final = 1e-6
"""Of the sum of weights: room for thirds that somebody wrote with seven digits. The SDK would take 1 % and then leave
the last arm short of users, or give it none where it is over."""
MAX_TEXT: Final = 128
"""Characters of a key or seed: they are in every line of the logs."""

_DESCRIBING: Final = frozenset({"name", "metadata", "bucketVersion", "minBucketVersion", "disableStickyBucketing"})
"""Fields that do not decide: the last three of sticky buckets, which are not kept here."""
_SHARED: Final = frozenset({"id", "condition", "coverage", "hashAttribute", "hashVersion", "seed", "filters"})
_OF_EXPERIMENT: Final = _SHARED | {"key", "variations", "weights", "meta", "phase", "namespace"}
_OF_FORCE: Final = _SHARED | {"force"}
_UNSUPPORTED: Final = {
    "parentConditions": "prerequisites are not evaluated here: target by attributes",
    "contextualBanditRef": "contextual bandits are not served: use an experiment with weights",
    "contextualVariations": "contextual bandits are not served: use an experiment with weights",
    "tracks": "it is of remote evaluation: take the payload of /api/features",
    "fallbackAttribute": "everybody has an id here: remove the fallback",
    "ranges": "give weights and coverage instead",
    "range": "give coverage instead",
    "urlPatterns": "a request for a slate has no page: target by attributes",
    "url": "a request for a slate has no page: target by attributes",
}


@dataclass(frozen=True)
class Arm:
    """One variation."""

    key: str
    """As logs name it."""
    weight: float
    treatment: Treatment


@dataclass(frozen=True)
class Experiment:
    """What one rule of a payload makes of its users."""

    key: str
    feature: str
    seed: str
    """What the hash of a user's id is salted with: another seed deals everybody anew."""
    phase: str
    coverage: float
    """Share of the users it is about who take part."""
    arms: tuple[Arm, ...]


def check_rule(rule: Any, feature: str, where: str) -> dict[str, Any]:
    """A rule as it is kept. Raises PayloadInvalid, naming the place after `where`, and the field."""
    if not isinstance(rule, dict):
        refuse(where, f"is {shown(rule)}", "Give an object.")
    given = {name: value for name, value in rule.items() if value is not None}  # to the SDK null is nothing
    is_experiment = "variations" in given
    if is_experiment == ("force" in given):
        refuse(where, "has none of variations and force, or both", "Give the one or the other.")
    _check_fields(given, _OF_EXPERIMENT if is_experiment else _OF_FORCE, where)
    kept = {**_shared(given, where), **(_experiment if is_experiment else _force)(given, feature, where)}
    return dict(sorted(kept.items()))


def experiment_of(rule: dict[str, Any], feature: str) -> Experiment | None:
    """What a rule that was checked makes of its users; None of one that has the same value for all."""
    if "variations" not in rule:
        return None
    arms = zip(rule["meta"], rule["weights"], rule["variations"], strict=True)
    return Experiment(
        key=rule["key"],
        feature=feature,
        seed=rule["seed"],
        phase=rule.get("phase", ""),
        coverage=rule["coverage"],
        arms=tuple(Arm(meta["key"], weight, Treatment(**value)) for meta, weight, value in arms),
    )


def check_treatment(value: Any, where: str) -> dict[str, Any]:
    """A value of a feature as it is kept: the fields that it changes. Raises PayloadInvalid."""
    try:
        treatment = msgspec.convert(value, Treatment)
    except msgspec.ValidationError as error:
        known = ", ".join(Treatment.__struct_fields__)
        refuse(where, f"is no treatment: {cut(str(error))}", f"A variant may change {known}, within their bounds.")
    kept: dict[str, Any] = msgspec.to_builtins(treatment)
    return kept


def check_key(value: Any, where: str) -> str:
    """A key or seed. Raises PayloadInvalid where logs could not carry it."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT or not value.isprintable():
        refuse(where, f"is {shown(value)}", f"Give 1 to {MAX_TEXT} printable characters.")
    return value


def check_share(value: Any, where: str) -> float:
    """A number from 0 to 1. Raises PayloadInvalid."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:  # NaN is in no interval
        refuse(where, f"is {shown(value)}", "Give a number from 0 to 1.")
    return float(value)


def _check_fields(given: dict[str, Any], known: frozenset[str], where: str) -> None:
    for name, value in given.items():
        if name in known or name in _DESCRIBING or (name in _UNSUPPORTED and value in ([], "")):
            continue
        reason = _UNSUPPORTED.get(name, "it may change who is in which arm, and is not known here: remove it")
        refuse(where, f"has the field {shown(name)}", f"{reason[0].upper()}{reason[1:]}.")


def _shared(given: dict[str, Any], where: str) -> dict[str, Any]:
    kept: dict[str, Any] = {"hashAttribute": HASH_ATTRIBUTE}
    if (attribute := given.get("hashAttribute", HASH_ATTRIBUTE)) != HASH_ATTRIBUTE:
        refuse(where, f"has hashAttribute {shown(attribute)}", f"Assign by {HASH_ATTRIBUTE!r}, which everybody has.")
    if "id" in given:
        kept["id"] = check_key(given["id"], f"{where}, id")
    if given.get("condition"):
        check_condition(given["condition"], f"{where}, condition")
        kept["condition"] = given["condition"]
    if given.get("filters"):
        kept["filters"] = _filters(given["filters"], f"{where}, filters")
    return kept


def _experiment(given: dict[str, Any], feature: str, where: str) -> dict[str, Any]:
    version = given.get("hashVersion")
    if isinstance(version, bool) or version != HASH_VERSION:
        refuse(where, f"has hashVersion {shown(version)}", f"Choose hash version {HASH_VERSION} in the experiment.")
    key = check_key(given.get("key") or feature, f"{where}, key")
    variations = given["variations"]
    if not isinstance(variations, list) or len(variations) < 2:
        refuse(f"{where}, variations", f"is {shown(variations)}", "Give a list of two or more.")
    meta = _meta(given.get("meta"), len(variations), f"{where}, meta")
    kept: dict[str, Any] = {
        "key": key,
        "hashVersion": HASH_VERSION,
        "seed": check_key(given.get("seed") or key, f"{where}, seed"),
        "coverage": check_share(given.get("coverage", 1), f"{where}, coverage"),
        "weights": _weights(given.get("weights"), len(variations), f"{where}, weights"),
        "meta": meta,
        "variations": [
            check_treatment(value, f"{where}, variation {number} ({one['key']})")
            for number, (value, one) in enumerate(zip(variations, meta, strict=True), 1)
        ],
    }
    if "phase" in given:
        kept["phase"] = check_key(given["phase"], f"{where}, phase")
    if given.get("namespace"):
        kept["namespace"] = _namespace(given["namespace"], f"{where}, namespace")
    return kept


def _force(given: dict[str, Any], feature: str, where: str) -> dict[str, Any]:
    """GrowthBook's own rollouts hash by version 1: who has the value is compared with nobody, so they may."""
    version = given.get("hashVersion", 1)
    if isinstance(version, bool) or version not in (1, HASH_VERSION):
        refuse(where, f"has hashVersion {shown(version)}", f"Give 1 or {HASH_VERSION}.")
    kept: dict[str, Any] = {"force": check_treatment(given["force"], f"{where}, force")}
    if "coverage" in given:
        kept["coverage"] = check_share(given["coverage"], f"{where}, coverage")
        kept["hashVersion"] = int(version)
        kept["seed"] = check_key(given.get("seed") or feature, f"{where}, seed")
    return kept


def _weights(weights: Any, arms: int, where: str) -> list[float]:
    if weights is None:
        return [1 / arms] * arms
    if not isinstance(weights, list) or len(weights) != arms:
        refuse(where, f"is {shown(weights)}", f"Give one for each of the {arms} variations.")
    checked = [check_share(weight, f"{where}[{number}]") for number, weight in enumerate(weights, 1)]
    if abs((total := math.fsum(checked)) - 1) > WEIGHTS_TOLERANCE:
        refuse(where, f"sum to {total:.6g}", "Let them sum to 1; to let fewer users take part, lower coverage.")
    return checked


def _meta(meta: Any, arms: int, where: str) -> list[dict[str, str]]:
    """Keys of the variations: those given, else their numbers from 0, as GrowthBook has it."""
    meta = [{}] * arms if meta is None else meta
    if not isinstance(meta, list) or len(meta) != arms or not all(isinstance(one, dict) for one in meta):
        refuse(where, f"is {shown(meta)}", f"Give an object for each of the {arms} variations.")
    if any(one.get("passthrough") for one in meta):
        refuse(where, "lets a variation pass through (a holdout)", "Use an experiment whose arms are served.")
    keys = [check_key(one.get("key", str(n)), f"{where}[{n + 1}], key") for n, one in enumerate(meta)]
    if len(set(keys)) < arms:
        refuse(where, "names two variations alike", "Give every variation a key of its own.")
    return [{"key": key} for key in keys]


def _namespace(namespace: Any, where: str) -> list[Any]:
    if not isinstance(namespace, list) or len(namespace) != 3:
        refuse(where, f"is {shown(namespace)}", "Give [name, from, to].")
    return [check_key(namespace[0], f"{where}[1]"), *_span(namespace[1:], where)]


def _filters(filters: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(filters, list):
        refuse(where, f"is {shown(filters)}", "Give a list.")
    return [_filter(one, f"{where}[{number}]") for number, one in enumerate(filters, 1)]


def _filter(one: Any, where: str) -> dict[str, Any]:
    if not isinstance(one, dict) or not one.keys() <= {"seed", "ranges", "hashVersion", "attribute"}:
        refuse(where, f"is {shown(one)}", "Give seed, ranges, hashVersion and attribute.")
    version, attribute = one.get("hashVersion", HASH_VERSION), one.get("attribute", HASH_ATTRIBUTE)
    if isinstance(version, bool) or version != HASH_VERSION or attribute != HASH_ATTRIBUTE:
        refuse(where, "has another hashVersion or attribute", f"Give {HASH_VERSION} and {HASH_ATTRIBUTE!r}.")
    ranges = one.get("ranges")
    if not isinstance(ranges, list) or not ranges:
        refuse(where, f"has ranges {shown(ranges)}", "Give a list of [from, to].")
    return {
        "attribute": HASH_ATTRIBUTE,
        "hashVersion": HASH_VERSION,
        "seed": check_key(one.get("seed"), f"{where}, seed"),
        "ranges": [_span(span, f"{where}, ranges[{number}]") for number, span in enumerate(ranges, 1)],
    }


def _span(span: Any, where: str) -> list[float]:
    if not isinstance(span, list) or len(span) != 2:
        refuse(where, f"is {shown(span)}", "Give [from, to].")
    low, high = (check_share(end, where) for end in span)
    if low > high:
        refuse(where, f"goes from {low} to {high}", "Give the smaller one first.")
    return [low, high]
