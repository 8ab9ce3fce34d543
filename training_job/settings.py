"""Settings of a training: the one dial, the seed, and where it runs. Typed once, for the CLI and for SageMaker.

`effort` changes the budget and nothing else; what a model needs beyond that is derived from the data (`recipe.py`).
SageMaker hands hyperparameters over as strings, so `from_env` reads strings. It reads no files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

import msgspec

from contracts.errors import SettingsInvalid
from contracts.fitted import HEAD_ITEMS

HYPERPARAMETERS: Final = "SM_HPS"
"""All hyperparameters as one JSON object, as the SageMaker training toolkit sets it."""
HYPERPARAMETER_PREFIX: Final = "SM_HP_"
"""One hyperparameter each, upper case; wins over the object."""


class Effort(StrEnum):
    """How long to train."""

    QUICK = "quick"
    """A look: a third of the passes."""
    STANDARD = "standard"
    """Where another pass buys little."""
    BEST = "best"
    """Three times the passes, for the last percent."""


@dataclass(frozen=True)
class TrainingSettings:
    """What a person chooses. Raises SettingsInvalid from `from_env` only; types are checked there."""

    effort: Effort = Effort.STANDARD
    seed: int = 0
    deterministic: bool = False
    """One thread and no algorithm that may sum in another order: the same bytes twice on the same machine."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    threads: int = 0
    """CPU threads, 0 for one a core."""
    checkpoint_seconds: float = 30.0
    """Least time between checkpoints: a minute of work is worth a second of writing."""
    head_items: int = HEAD_ITEMS
    """A larger catalogue carries the vectors of so many of its items apart, for processes that search an engine."""

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> TrainingSettings:
        """Read SageMaker's hyperparameters; those that are not settings of a training are left alone."""
        try:
            given = msgspec.json.decode(environment.get(HYPERPARAMETERS, "{}"), type=dict[str, object])
            given |= {
                name.removeprefix(HYPERPARAMETER_PREFIX).lower(): value
                for name, value in environment.items()
                if name.startswith(HYPERPARAMETER_PREFIX)
            }
            known = {name: value for name, value in given.items() if name in cls.__dataclass_fields__}
            return msgspec.convert(known, cls, strict=False)
        except msgspec.MsgspecError as error:
            raise SettingsInvalid(
                f"hyperparameters: {error}.", fix="See docs/training.md for every setting and its values."
            ) from error

    def to_env(self) -> dict[str, str]:
        """The environment that `from_env` reads back equal."""
        return {
            HYPERPARAMETER_PREFIX + name.upper(): str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in asdict(self).items()
        }
