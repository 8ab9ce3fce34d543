"""What differs between the schemas of two datasets, for people.

Weights of events may change from night to night; everything else that a schema says changes what a model means, or
what callers may ask of it. It knows no dataset. `check.py` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from contracts.schema import DatasetSchema

_FEATURES: Final = ("users", "items")
_FREE: Final = ("version", "event_weights")
"""The format in which it is written, and what may change."""


def schema_changes(before: DatasetSchema, now: DatasetSchema) -> list[str]:
    """Features that are new, gone or of another kind, then whatever else differs; empty where nothing does."""
    return [change for side in _FEATURES for change in _feature_changes(side, before, now)] + [
        f"{name} was {_shown(old)}, is {_shown(new)}"
        for name in msgspec.structs.asdict(before)
        if name not in (*_FEATURES, *_FREE) and (old := getattr(before, name)) != (new := getattr(now, name))
    ]


def _feature_changes(side: str, before: DatasetSchema, now: DatasetSchema) -> Iterator[str]:
    old, new = getattr(before, side), getattr(now, side)
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield f"{side}.{name} ({new[name]}) is new"
        elif name not in new:
            yield f"{side}.{name} ({old[name]}) is gone"
        elif old[name] != new[name]:
            yield f"{side}.{name} was {old[name]}, is {new[name]}"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
