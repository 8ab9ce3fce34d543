"""Settings of a training: the one dial, the seed, and where it runs. Typed once, for the CLI and for SageMaker.

`effort` changes the budget and nothing else; what a model needs beyond that is derived from the data (`recipe.py`).
SageMaker hands hyperparameters over as strings, so they are read from strings and written as such: the stack and the
CLI fill a job's with `to_hyperparameters`, the job reads them with `from_env`. It reads no files.
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
from training_job.tuned import RecipeChanges

HYPERPARAMETERS: Final = "SM_HPS"
"""All hyperparameters as one JSON object, as the SageMaker training toolkit sets it."""
HYPERPARAMETER_PREFIX: Final = "SM_HP_"
"""One hyperparameter each, upper case; wins over the object."""
TOOLKIT_PREFIX: Final = "sagemaker_"
"""Hyperparameters of the toolkit itself (which script, from where, how many processes)."""
DEVICES: Final = ("auto", "cpu", "cuda")


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
    """What a person chooses. Raises SettingsInvalid for a value that makes no sense."""

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
    tuned: str = ""
    """What `tandem tune` found better than the derived recipe, as `RecipeChanges.text`."""

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise SettingsInvalid(f"device is {self.device!r}.", fix=f"Use one of {', '.join(DEVICES)}.")
        for name, least in (("seed", 0), ("threads", 0), ("checkpoint_seconds", 0), ("head_items", 1)):
            if not getattr(self, name) >= least:  # a NaN is not
                raise SettingsInvalid(f"{name} is {getattr(self, name)}.", fix=f"Give {least} or more.")
        try:
            _ = self.changes
        except SettingsInvalid as error:
            raise SettingsInvalid(f"tuned: {error.message}", fix=error.fix) from error

    @property
    def changes(self) -> RecipeChanges:
        """What `tuned` says."""
        return RecipeChanges.of_text(self.tuned)

    @classmethod
    def from_hyperparameters(cls, given: Mapping[str, object]) -> TrainingSettings:
        """Read what `to_hyperparameters` writes, as strings or as the JSON values that the toolkit makes of them.

        The toolkit's own are left alone. Raises SettingsInvalid for a value of another kind, and for a name that is
        none, with those that are.
        """
        ours = {name: value for name, value in given.items() if not name.startswith(TOOLKIT_PREFIX)}
        if unknown := sorted(ours.keys() - cls.__dataclass_fields__.keys()):
            known = ", ".join(cls.__dataclass_fields__)
            raise SettingsInvalid(f"hyperparameters: there is no {', '.join(unknown)}.", fix=f"There are {known}.")
        try:
            return msgspec.convert(ours, cls, strict=False)
        except msgspec.ValidationError as error:
            raise SettingsInvalid(
                f"hyperparameters: {error}.", fix="See docs/training.md for every setting and its values."
            ) from error

    def to_hyperparameters(self) -> dict[str, str]:
        """Every setting as CreateTrainingJob wants it; one that is empty is left out."""
        return {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in asdict(self).items()
            if value != ""
        }

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> TrainingSettings:
        """Read the hyperparameters that SageMaker's toolkit sets. Raises SettingsInvalid."""
        try:
            given = msgspec.json.decode(environment.get(HYPERPARAMETERS, "{}"), type=dict[str, object])
        except msgspec.MsgspecError as error:
            raise SettingsInvalid(f"{HYPERPARAMETERS}: {error}.", fix="Give a JSON object.") from error
        given |= {
            name.removeprefix(HYPERPARAMETER_PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(HYPERPARAMETER_PREFIX)
        }
        return cls.from_hyperparameters(given)

    def to_env(self) -> dict[str, str]:
        """The environment that `from_env` reads back equal."""
        return {HYPERPARAMETER_PREFIX + name.upper(): value for name, value in self.to_hyperparameters().items()}
