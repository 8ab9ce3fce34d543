"""A file of experiments, `experiments.toml`, compiled to the payload that GrowthBook would hand out for them.

So a test runs without GrowthBook, by the same hash, checks and envelope, and may move there later with nobody changing
arms. A file whose name ends in `.json` is taken for a payload of the GrowthBook API. `docs/experiments.md` describes
the keys. `tandem experiments` and the simulator call it.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from contracts.errors import PayloadInvalid
from contracts.experiment import FEATURE_PREFIX
from contracts.treatment import Treatment
from experiments.attributes import FEATURES, is_text
from experiments.payload import MAX_SOURCE_BYTES, Payload, read_payload
from experiments.refusal import refuse, shown

_TOP: Final = frozenset({"experiments"})
_EXPERIMENT: Final = frozenset({"hypothesis", "phase", "seed", "coverage", "where", "arms"})
_ARM: Final = frozenset({"key", "weight", *Treatment.__struct_fields__})
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def compile_file(path: Path) -> Payload:
    """The payload of a file. Raises PayloadInvalid, naming file, experiment, arm, key and, where it is known, line."""
    data = _read(path)
    try:
        return read_payload(data if path.suffix == ".json" else _compiled(data))
    except PayloadInvalid as error:
        raise PayloadInvalid(f"{path}: {error.message}", fix=error.fix) from error


def _read(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > MAX_SOURCE_BYTES:
            refuse(f"{path}:", f"has {size} bytes", f"{MAX_SOURCE_BYTES} are the most that is read.")
        return path.read_bytes()
    except OSError as error:
        raise PayloadInvalid(f"{path}: cannot be read: {error.strerror}.", fix="Name a file of experiments.") from error


def _compiled(data: bytes) -> str:
    """The text of the payload that a TOML text says."""
    try:
        text = data.decode()
        document = tomllib.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # of UTF-8 and of long integers, too
        refuse("", f"is no TOML: {error}", "Correct the line that the message names.")
    lines = text.splitlines()
    _known(document, _TOP, "the file", lines)
    experiments = document.get("experiments", {})
    if not isinstance(experiments, dict):
        refuse("experiments", f"is {shown(experiments)}", "Write a table [experiments.NAME] for each.")
    features = {f"{FEATURE_PREFIX}{name}": _feature(name, table, lines) for name, table in experiments.items()}
    return json.dumps({"features": features}, default=str)  # a date is nothing that a payload takes: it says so


def _feature(name: str, table: Any, lines: list[str]) -> dict[str, Any]:
    where = f"experiments.{name}"
    if not _NAME.fullmatch(name):
        refuse(f"The name {shown(name)}", "is no name", "Write 1 to 64 letters, digits, - and _.")
    if not isinstance(table, dict):
        refuse(where, f"is {shown(table)}", f"Write a table [experiments.{name}].")
    after = _line_of(rf"\[experiments\.\"?{re.escape(name)}\"?\]", lines, 0)
    _known(table, _EXPERIMENT, where, lines, after)
    phase = str(table.get("phase", 0))
    arms = _arms(table.get("arms"), name, lines, after)
    rule = {
        "key": name,
        "phase": phase,
        "seed": table.get("seed", name if phase == "0" else f"{name}:{phase}"),
        "coverage": table.get("coverage", 1),
        "hashVersion": 2,
        "meta": [{"key": arm.pop("key")} for arm in arms],
        "weights": _weights([arm.pop("weight", None) for arm in arms], where),
        "condition": _condition(table.get("where", {}), where),
        "variations": arms,
    }
    return {"defaultValue": {}, "rules": [rule]}


def _arms(arms: Any, name: str, lines: list[str], after: int) -> list[dict[str, Any]]:
    where = f"experiments.{name}"
    if not isinstance(arms, list) or not all(isinstance(arm, dict) for arm in arms) or len(arms) < 2:
        refuse(where, "has fewer than two arms", f"Write a table [[experiments.{name}.arms]] for each.")
    for number, arm in enumerate(arms, 1):
        after = _line_of(rf"\[\[experiments\.\"?{re.escape(name)}\"?\.arms\]\]", lines, after)
        _known(arm, _ARM, f"{where}, arm {number}", lines, after)
        if "key" not in arm:
            refuse(f"{where}, arm {number}", "has no key", 'Give it one, such as key = "control".')
    return [dict(arm) for arm in arms]


def _weights(weights: list[Any], where: str) -> list[Any] | None:
    """None, which is alike for all, where no arm has a weight."""
    if all(weight is None for weight in weights):
        return None
    if None in weights:
        refuse(where, "has arms with a weight and arms without", "Give one to all of them or to none.")
    return weights


def _condition(where: Any, place: str) -> dict[str, Any]:
    """Lists of values: whoever has one of them, in each of the attributes."""
    if not isinstance(where, dict):
        refuse(f"{place}, where", f"is {shown(where)}", 'Write where = { country = ["DE", "AT"] }.')
    features = where.get(FEATURES, {})  # `features.plan = […]` is a table in TOML
    named = {name: values for name, values in where.items() if name != FEATURES}
    if isinstance(features, dict):
        named |= {f"{FEATURES}.{name}": values for name, values in features.items()}
    for name in named:
        if not is_text(name):
            refuse(f"{place}, where", f"has {shown(name)}", f"Name country, segment or {FEATURES}.<name>.")
    return {name: {"$in": values if isinstance(values, list) else [values]} for name, values in named.items()}


def _known(table: dict[str, Any], names: frozenset[str], where: str, lines: list[str], after: int = 0) -> None:
    for key in table:
        if key not in names:
            line = _line_of(rf"[\[{{,\s]*\"?{re.escape(key)}\"?\s*[=.\]]", lines, after)
            place = f" (line {line})" if line > after else ""
            refuse(where, f"has the unknown key {shown(key)}{place}", f"Known are {', '.join(sorted(names))}.")


def _line_of(pattern: str, lines: list[str], after: int) -> int:
    """Number of the first line after line `after` that begins with a pattern; `after` where none does.

    TOML's parser says no lines; where a table is written within one line, neither do we.
    """
    found = (n for n, line in enumerate(lines, 1) if n > after and re.match(pattern, line.lstrip()))
    return next(found, after)
