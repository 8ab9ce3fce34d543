"""The public cases of GrowthBook's SDK, through the functions that `Running` calls, and through our whole path.

Its file is tests/cases.json of growthbook/growthbook-python, which is not in this repository. First its suites against
the SDK's functions, where the SDK itself fails three. Then those that are conditions, features or experiments through
`read_payload` and `Running`, as far as our rules for payloads let them, against the SDK's class: values become
treatments, attributes become features of the user, hash version 1 becomes 2. What is refused is counted by its reason.
`assignment.py` calls it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from growthbook import Experiment, GrowthBook, InMemoryStickyBucketService, core, decrypt
from growthbook.common_types import EvaluationContext, Feature, GlobalContext, Options, StackContext, UserContext

from contracts.errors import PayloadInvalid
from contracts.experiment import Assigned
from experiments.payload import read_payload
from experiments.running import Running

Cases = dict[str, list[Any]]


def public_cases(cases: Cases) -> dict[str, Any]:
    """Of each suite how many there are, and what fails; then what becomes of them here."""
    return {
        "of_the_sdk": {name: suite(name, cases[name]) for name in SUITES},
        "through_ours": {name: through_ours(cases[name], take) for name, take in OURS.items()},
    }


# The SDK's functions against its own cases: what Running stands on.


def suite(name: str, cases: list[Any]) -> dict[str, Any]:
    """How many cases there are, and the names of those that the SDK itself does not pass."""
    failed = [str(case[0]) for case in cases if not _passes(SUITES[name], case)]
    return {"cases": len(cases), "sdk_fails": failed}


def _passes(check: Callable[..., bool], case: list[Any]) -> bool:
    try:
        return check(*json.loads(json.dumps(case)))
    except Exception:  # noqa: BLE001  # a case that raises is one that is not passed
        return False


def _hash(seed: str, value: str, version: int, expected: float | None) -> bool:
    return core.gbhash(seed, value, version) == expected


def _bucket_ranges(_: str, given: list[Any], expected: list[list[float]]) -> bool:
    return _rounded(core.getBucketRanges(*given)) == _rounded(expected)


def _equal_weights(number: int, expected: list[float]) -> bool:
    return _rounded([core.getEqualWeights(number)]) == _rounded([expected])


def _rounded(rows: Any) -> list[list[float]]:
    return [[round(value, 6) for value in row] for row in rows]


def _choose(_: str, n: float, ranges: Any, expected: int) -> bool:
    return core.chooseVariation(n, ranges) == expected


def _query(_: str, key: str, url: str, number: int, expected: int | None) -> bool:
    return core.getQueryStringOverride(key, url, number) == expected


def _namespace(_: str, user: str, namespace: Any, expected: bool) -> bool:
    return core.inNamespace(user, namespace) == expected


def _condition(_: str, condition: Any, attributes: Any, expected: bool, groups: Any = None) -> bool:
    return core.evalCondition(attributes, condition, groups) == expected


def _decrypt(_: str, text: str, key: str, expected: str | None) -> bool:
    try:
        return decrypt(text, key) == expected
    except Exception:  # noqa: BLE001  # so it says that a text is none
        return expected is None


def _contexts(given: dict[str, Any]) -> Any:
    """The SDK's contexts as `Running` makes them, with whatever else a case sets."""
    options = Options(enabled=given.get("enabled", True), qa_mode=given.get("qaMode", False), url=given.get("url"))
    features = {key: Feature(**definition) for key, definition in given.get("features", {}).items()}
    user = UserContext(
        url=given.get("url", ""),
        attributes=given.get("attributes", {}),
        groups=given.get("groups", {}),
        forced_variations=given.get("forcedVariations", {}),
        overrides=given.get("overrides", {}),
    )
    known = GlobalContext(options=options, features=features, saved_groups=given.get("savedGroups", {}))
    return EvaluationContext(user, known, StackContext())


def _feature(_: str, given: dict[str, Any], key: str, expected: dict[str, Any]) -> bool:
    found = core.eval_feature(key, _contexts(given)).to_dict()
    if "experiment" in expected:
        expected["experiment"] = Experiment(**expected["experiment"]).to_dict()
    return found == expected


def _run(_: str, given: dict[str, Any], experiment: Any, value: Any, inside: bool, hashed: bool) -> bool:
    found = core.run_experiment(Experiment(**experiment), None, _contexts(given))
    return (found.value, found.inExperiment, found.hashUsed) == (value, inside, hashed)


def _sticky(_: str, given: dict[str, Any], docs: Any, key: str, result: Any, kept: dict[str, Any]) -> bool:
    """By the SDK's class: sticky buckets are a service of its clients, which we have no use for."""
    service = InMemoryStickyBucketService()
    for doc in docs:
        service.save_assignments(doc)
    if "stickyBucketAssignmentDocs" in given:
        service.docs = given.pop("stickyBucketAssignmentDocs")
    names = given.pop("stickyBucketIdentifierAttributes", None)
    client = GrowthBook(sticky_bucket_service=service, sticky_bucket_identifier_attributes=names, **given)
    found = client.eval_feature(key).experimentResult
    client.destroy()
    same = found is None if result is None else found is not None and found.to_dict() == result
    return same and all(service.docs[name] == doc for name, doc in kept.items())


SUITES: dict[str, Callable[..., bool]] = {
    "evalCondition": _condition,
    "hash": _hash,
    "getBucketRange": _bucket_ranges,
    "feature": _feature,
    "run": _run,
    "chooseVariation": _choose,
    "getQueryStringOverride": _query,
    "inNamespace": _namespace,
    "getEqualWeights": _equal_weights,
    "decrypt": _decrypt,
    "stickyBucket": _sticky,
}


# The cases through our whole path: read_payload, Running, and the SDK's class on the same payload.


class Case(NamedTuple):
    """A case in our words."""

    features: dict[str, Any]
    """As GrowthBook hands them out."""
    attributes: dict[str, Any]
    expected: dict[str, Any] | None = None
    """What changes, where the case says it of exactly this."""


def through_ours(cases: list[Any], take: Callable[[list[Any]], Case]) -> dict[str, Any]:
    """Cases that our rules accept, how many of them come out otherwise than by the SDK, and why others are refused."""
    accepted = differ = 0
    refused: Counter[str] = Counter()
    for case in cases:
        features, attributes, expected = take(json.loads(json.dumps(case)))
        try:
            running = Running(read_payload(json.dumps({"features": features})))
        except PayloadInvalid as error:
            refused[_reason(error)] += 1
            continue
        accepted += 1
        found = arms(running.assign(attributes))
        right = expected is None or found[0] == expected
        differ += not right or found != by_the_class(client_of(features), features, attributes)
    return {"cases": len(cases), "accepted": accepted, "differences": differ, "refused": dict(refused.most_common())}


def _reason(error: PayloadInvalid) -> str:
    """What is wrong, without the place."""
    text = re.sub(r"^.*?(?=(has|have|is|are|speaks|compares|sum|share|both|lets|holds) )", "", error.message)
    return re.sub(r"a list of \d+|-?\d+(\.\d+)?", "N", text)[:90]


class _Treatments:
    """Values of a case as treatments: each another number of items, equal ones the same."""

    def __init__(self) -> None:
        self._seen: list[str] = []

    def __call__(self, value: Any) -> dict[str, int]:
        text = json.dumps(value)
        if text not in self._seen:
            self._seen.append(text)
        return {"num_items": 1 + self._seen.index(text)}


def _of_feature(case: list[Any]) -> Case:
    given, key = case[1], case[2]
    definition = given.get("features", {}).get(key, {})
    treatment = _Treatments()
    rules = definition.get("rules", [])
    for rule in rules:
        for name in ("variations", "force"):
            if name in rule:
                rule[name] = [treatment(one) for one in rule[name]] if name == "variations" else treatment(rule[name])
    features = {f"tandem.{key}": _in_our_words(rules, treatment(definition.get("defaultValue")))}
    return Case(features, _told(given))


def _of_run(case: list[Any]) -> Case:
    given, experiment = case[1], case[2]
    treatment = _Treatments()
    experiment["variations"] = [treatment(one) for one in experiment["variations"]]
    return Case({"tandem.run": _in_our_words([experiment], {})}, _told(given))


def _of_condition(case: list[Any]) -> Case:
    rules = [{"force": {"num_items": 2}, "condition": case[1]}]
    features = {"tandem.condition": _in_our_words(rules, {})}
    return Case(features, _told({"attributes": case[2]}), {"num_items": 2} if case[3] else {})


OURS: dict[str, Callable[[list[Any]], Case]] = {
    "feature": _of_feature,
    "run": _of_run,
    "evalCondition": _of_condition,
}


def _in_our_words(rules: list[Any], default: dict[str, Any]) -> dict[str, Any]:
    for rule in rules:
        if "variations" in rule and rule.get("hashVersion", 1) == 1:
            rule["hashVersion"] = 2
        if "condition" in rule:
            rule["condition"] = _renamed(rule["condition"])
    return {"defaultValue": default, "rules": rules}


def _renamed(condition: Any) -> Any:
    """Attributes of the cases are none of ours: they become features of the user."""
    if not isinstance(condition, dict):
        return condition
    renamed: dict[str, Any] = {}
    for name, wanted in condition.items():
        if name in ("$and", "$or", "$nor") and isinstance(wanted, list):
            renamed[name] = [_renamed(one) for one in wanted]
        elif name == "$not":
            renamed[name] = _renamed(wanted)
        else:
            renamed[name if name.startswith("$") or name == "id" else f"features.{name}"] = wanted
    return renamed


def _told(given: dict[str, Any]) -> dict[str, Any]:
    attributes = given.get("attributes", {})
    return {"id": attributes.get("id", ""), "events": 0, "features": attributes}


# Both sides in the same words.


def arms(assigned: Assigned) -> tuple[dict[str, Any], dict[str, str]]:
    """What changes, and the variation of each experiment."""
    changes = {name: getattr(assigned.treatment, name) for name in assigned.treatment.__struct_fields__}
    changed = {name: value for name, value in changes.items() if value is not None}
    return changed, {one.experiment: one.variation for one in assigned.assignments}


def client_of(features: dict[str, Any]) -> Any:
    """The SDK's class."""
    return GrowthBook(features=features)


def by_the_class(client: Any, features: dict[str, Any], attributes: dict[str, Any]) -> Any:
    """The same by the SDK's class."""
    client.set_attributes(attributes)
    changes: dict[str, Any] = {}
    found_in: dict[str, str] = {}
    for key in features:
        found = client.eval_feature(key)
        changes |= found.value or {}
        if found.source == "experiment":
            found_in[found.experiment.key] = found.experimentResult.key
    return changes, found_in
