"""A payload of GrowthBook, reduced to the features that are ours, and checked before anything is swapped for it.

`read_payload` is the one way in, for what the GrowthBook API hands out, for a compiled `experiments.toml`, and for what
an envelope carries. It refuses whatever no slate can be made by, and whatever would be evaluated otherwise here than
elsewhere; no bad text makes it raise anything but PayloadInvalid. It knows no users: `running.py` puts them into arms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NoReturn

from contracts.experiment import FEATURE_PREFIX, MAX_PAYLOAD_BYTES
from contracts.treatment import Treatment, changed_fields
from experiments.refusal import refuse, shown
from experiments.rules import Experiment, check_key, check_rule, check_treatment, experiment_of

MAX_SOURCE_BYTES: Final = 10_000_000
"""Of a payload before it is reduced: thousands of features of other teams."""
MAX_RULES: Final = 100
"""Of all features together: each costs a request some 15 µs."""

_JSON: Final = "Give the JSON that GET /api/features/<client key> of the GrowthBook API answers with."


@dataclass(frozen=True)
class Payload:
    """Reduced and checked: what is not ours is gone, what GrowthBook leaves to defaults is written out."""

    features: Mapping[str, Any]
    """Feature key → GrowthBook's definition of it, whose values are treatments."""

    @property
    def experiments(self) -> tuple[str, ...]:
        """Keys of the experiments, sorted."""
        return tuple(sorted(one.key for one in self.rules))

    @cached_property
    def rules(self) -> tuple[Experiment, ...]:
        """The experiments, in the order in which they are looked at."""
        found = (experiment_of(rule, key) for key, definition in self.features.items() for rule in definition["rules"])
        return tuple(one for one in found if one is not None)

    def encode(self) -> str:
        """JSON text, ASCII, the same for the same payload; `read_payload` reads it back equal."""
        return json.dumps({"features": self.features}, sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_payload(text: str | bytes) -> Payload:
    """The payload of a JSON text. Raises PayloadInvalid, naming feature, rule, field and the fix."""
    features = _features(_parsed(text))
    payload = Payload({key: _checked(key, features[key]) for key in sorted(features) if key.startswith(FEATURE_PREFIX)})
    if (number := sum(len(one["rules"]) for one in payload.features.values())) > MAX_RULES:
        refuse("The payload", f"has {number} rules", f"End experiments: {MAX_RULES} rules are the most.")
    _check_apart(payload)
    if (size := len(payload.encode())) > MAX_PAYLOAD_BYTES:
        refuse("The payload", f"has {size} bytes", f"End experiments: {MAX_PAYLOAD_BYTES} bytes are the most.")
    return payload


def _parsed(text: str | bytes) -> Any:
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > MAX_SOURCE_BYTES:
        refuse("The payload", f"has {len(data)} bytes", f"{MAX_SOURCE_BYTES} are the most that is read.")
    try:
        return json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # of Unicode, too, and of integers beyond all printing
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        refuse("The payload", f"is no JSON: {reason}", _JSON)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; the standard library would take the last of two like keys, other readers the first."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {shown(next(name for name in names if names.count(name) > 1))} is there twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _features(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        refuse("The payload", f"is {shown(document)}", _JSON)
    if document.get("encryptedFeatures") and not document.get("features"):
        refuse(
            "The payload",
            "is encrypted",
            "Switch encryption off for this SDK connection: the envelope is signed, which encryption does not replace.",
        )
    features = document.get("features")
    if not isinstance(features, dict):
        refuse("The payload, features", f"is {shown(features)}", _JSON)
    return features


def _checked(key: str, definition: Any) -> dict[str, Any]:
    """A feature as it is kept."""
    where = f"Feature {shown(key)}"
    check_key(key, f"{where}: its key")
    if not isinstance(definition, dict):
        refuse(where, f"is {shown(definition)}", "Give an object with defaultValue and rules.")
    _check_unicode(definition, where)
    rules = definition.get("rules", [])
    if not isinstance(rules, list):
        refuse(f"{where}, rules", f"is {shown(rules)}", "Give a list.")
    return {
        "defaultValue": check_treatment(definition.get("defaultValue"), f"{where}, defaultValue"),
        "rules": [check_rule(rule, key, f"{where}, rule {number}") for number, rule in enumerate(rules, 1)],
    }


def _check_unicode(definition: dict[str, Any], where: str) -> None:
    """Half a surrogate pair can be written in JSON, and in no log, file or answer."""
    try:
        json.dumps(definition, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError) as error:
        refuse(where, f"holds what cannot be written ({type(error).__name__})", "Look for \\ud800 to \\udfff in it.")


def _check_apart(payload: Payload) -> None:
    """No two experiments may be told apart by nothing, draw the same lots, or change the same."""
    for what in ("key", "seed"):
        seen: dict[str, str] = {}
        for one in payload.rules:
            value = getattr(one, what)
            if value in seen:
                both = f"{seen[value]} and {one.feature}"
                refuse(f"Experiments of {both}", f"share the {what} {shown(value)}", f"Give each a {what} of its own.")
            seen[value] = one.feature
    owners: dict[str, str] = {}
    for key, definition in payload.features.items():
        for field in sorted(frozenset().union(*map(changed_fields, _values(definition)))):
            if (other := owners.setdefault(field, key)) != key:
                refuse(
                    f"Features {shown(other)} and {shown(key)}",
                    f"both change {field}",
                    "Make them rules of one feature, so that nobody is in both, or let one of them end first.",
                )


def _values(definition: Mapping[str, Any]) -> Iterator[Treatment]:
    """All that a feature may come to for somebody."""
    yield Treatment(**definition["defaultValue"])
    for rule in definition["rules"]:
        yield from (Treatment(**value) for value in rule.get("variations", [rule.get("force")]))
