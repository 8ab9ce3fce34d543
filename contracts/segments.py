"""Keys of the popularity tables: a user's segment, from the most specific one back to everybody.

Training names its tables with these keys and routing looks them up with the same function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from contracts.feature_encoder import category_text

GLOBAL_KEY: Final = "global"
_UNIT: Final = "\x1f"  # ASCII unit separator: no printable category contains it


def segment_key(names: Sequence[str], values: Sequence[Any]) -> str:
    """The key of a segment, e.g. `segment:gender=F<US>age=25`."""
    parts = (f"{name}={category_text(value)}" for name, value in zip(names, values, strict=True))
    return "segment:" + _UNIT.join(parts)


def segment_keys(segment: Sequence[str], features: Mapping[str, Any]) -> list[str]:
    """Keys to try for a user, most specific first, ending with GLOBAL_KEY.

    `segment` is the schema's list, broadest first; features missing from the end shorten it, and a gap ends it.
    """
    known = []
    for name in segment:
        if features.get(name) is None:
            break
        known.append(name)
    prefixes = (known[:length] for length in range(len(known), 0, -1))
    return [*(segment_key(names, [features[name] for name in names]) for names in prefixes), GLOBAL_KEY]


def category_key(category: str) -> str:
    """The key of a category's popularity table."""
    return f"category:{category}"


def segment_label(key: str) -> str:
    """A key as a person reads it."""
    return key.replace(_UNIT, ", ").removeprefix("segment:").removeprefix("category:")
