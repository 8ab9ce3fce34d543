"""Settings as environment variables: read into a frozen dataclass of plain values, and written back equal.

Every setting is a field with a default, whose type says how its variable is read. The settings of the units call it
with their own prefix; a deployment writes with `to_variables` what the unit reads with `from_variables`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from contracts.errors import SettingsInvalid

Settings = TypeVar("Settings")

_PLAIN: Final = (str, int, float, Path)
"""Types of values that one variable holds; fields of other types are settings of their own."""


def from_variables(kind: type[Settings], prefix: str, environment: Mapping[str, str], **given: Any) -> Settings:
    """Settings from the variables `<prefix><NAME>` that are set, `given` fields and defaults for the others.

    Raises SettingsInvalid, naming the variable, where one does not parse, and what `kind` itself raises.
    """
    for name, reader in _plain_fields(kind).items():
        variable = prefix + name.upper()
        if (text := environment.get(variable)) is not None:
            given[name] = _convert(variable, reader, text)
    return kind(**given)


def to_variables(settings: Any, prefix: str) -> dict[str, str]:
    """The variables that `from_variables` reads back equal."""
    return {prefix + name.upper(): str(getattr(settings, name)) for name in _plain_fields(type(settings))}


def _plain_fields(kind: type) -> dict[str, type]:
    found: tuple[Field[Any], ...] = fields(kind)
    defaults = {field.name: field.default for field in found if field.default is not MISSING}
    return {
        name: Path if isinstance(value, Path) else type(value)  # a path is of its platform's class
        for name, value in defaults.items()
        if isinstance(value, _PLAIN)
    }


def _convert(variable: str, reader: type, text: str) -> Any:
    try:
        return reader(text)
    except ValueError as error:
        raise SettingsInvalid(f"{variable} is {text!r}.", fix=f"Give a value of type {reader.__name__}.") from error
