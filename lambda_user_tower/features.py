"""Whether told features are of the kinds that the schema says. `recommend.py`, `users.py` and `items.py` call it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from contracts.schema import FeatureKind
from lambda_user_tower.payload import invalid

_FITTING: Final[dict[FeatureKind, tuple[type, ...]]] = {
    FeatureKind.CATEGORICAL: (str, int, float, bool),
    FeatureKind.MULTI_CATEGORICAL: (str, list),
    FeatureKind.NUMERIC: (int, float),
    FeatureKind.TEXT: (str,),
    FeatureKind.TIMESTAMP: (int, float),
}
"""What a feature of each kind may be told as."""


def check_features(features: Mapping[str, Any], kinds: Mapping[str, FeatureKind]) -> None:
    """Raise RequestInvalid, naming the feature, where a value does not fit its kind; unknown features pass."""
    for name, value in features.items():
        kind = kinds.get(name)
        if kind is None or value is None:
            continue
        fitting = _FITTING[kind]
        if not isinstance(value, fitting) or (isinstance(value, bool) and bool not in fitting):
            raise invalid(f"features.{name}", f"it is {kind}, a value of another type was given")
