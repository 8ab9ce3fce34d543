"""What of a recipe may be tuned and within which range, and changes of a recipe that keep to it.

One table serves `tandem tune`, which draws from it, and whoever brings changes: tuned.json, a hyperparameter of a job,
a context value of the stacks. They travel as `name=value,name=value`, which SageMaker's toolkit takes for no JSON and
leaves as it is. A range is as wide as what some data could want, not as what cannot break. It knows no Optuna and no
rows; `settings.py`, `fit.py` and `tuning/` call it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from contracts.errors import SettingsInvalid
from contracts.schema import DatasetSchema

if TYPE_CHECKING:
    from training_job.recipe import Recipe

Number = int | float


class Kind(StrEnum):
    """What the recipe is derived from first."""

    SETS = "without order, or whose order says nothing"
    ORDERED = "with an order but no times"
    TIMED = "with times"

    @staticmethod
    def of(recipe: Recipe, schema: DatasetSchema) -> Kind:
        if not recipe.ordered:
            return Kind.SETS
        return Kind.TIMED if schema.timed else Kind.ORDERED


EVERY: Final = frozenset(Kind)
MOMENTS: Final = frozenset({Kind.ORDERED, Kind.TIMED})


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    """Drawn by ratios: halving is as large a step as doubling."""
    whole: bool = False

    def holds(self, value: object) -> bool:
        kinds = int if self.whole else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"a {'whole ' if self.whole else ''}number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Choice:
    """One of a few whole numbers."""

    values: tuple[int, ...]

    def holds(self, value: object) -> bool:
        return type(value) is int and value in self.values

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.values))}"


@dataclass(frozen=True)
class Tunable:
    """One entry of the table."""

    field: str
    """Of Recipe, or with a dot of a part of it."""
    domain: Range | Choice
    kinds: frozenset[Kind] = EVERY
    """Data for which it means anything."""
    factor: bool = False
    """The value multiplies what was derived from the data, in place of replacing it."""

    def default(self, recipe: Recipe) -> Number:
        """The value that changes nothing."""
        derived: Number = attrgetter(self.field)(recipe)
        return 1.0 if self.factor else derived

    def applied(self, recipe: Recipe, value: Number) -> Recipe:
        """The recipe with this value."""
        if self.factor:
            value = max(1, round(attrgetter(self.field)(recipe) * value))
        part, _, name = self.field.rpartition(".")
        changed: dict[str, Any] = {name: value}
        return replace(recipe, **({part: replace(getattr(recipe, part), **changed)} if part else changed))


TUNABLES: Final[Mapping[str, Tunable]] = {
    "temperature": Tunable("temperature", Range(0.05, 0.4, log=True)),
    "norm_power": Tunable("norm_power", Range(0.0, 0.4)),
    "table_rate": Tunable("table_rate", Range(0.003, 0.2, log=True)),
    "dense_rate": Tunable("dense_rate", Range(0.0005, 0.02, log=True)),
    "users_per_batch": Tunable("users_per_batch", Range(32, 512, log=True, whole=True)),
    "id_dropout": Tunable("id_dropout", Range(0.0, 0.5)),
    # the budget is `effort`'s; within it, twice the passes is as far as a comparison at unequal cost is worth having,
    # and a tenth is a short run, which sparse data may be better off with
    "passes": Tunable("epochs", Range(0.1, 2.0, log=True), factor=True),
    "kept": Tunable("kept", Range(0.2, 0.8), frozenset({Kind.SETS})),
    "hidden": Tunable("hidden", Choice((0, 128, 256, 512)), MOMENTS),
    "dropped": Tunable("dropped", Range(0.0, 0.4), MOMENTS),
    "horizon.window": Tunable("horizon.window", Range(1, 50, log=True, whole=True), MOMENTS),
    "horizon.fading": Tunable("horizon.fading", Range(0.3, 1.0), MOMENTS),
    "horizon.asked": Tunable("horizon.asked", Range(1, 100, log=True, whole=True), MOMENTS),
    "horizon.gap_power": Tunable("horizon.gap_power", Range(0.0, 1.0), frozenset({Kind.TIMED})),
    "newcomers.share": Tunable("newcomers.share", Range(0.05, 1.0), MOMENTS),
    "newcomers.weight": Tunable("newcomers.weight", Range(0.1, 4.0, log=True), MOMENTS),
}
"""Not in it: dimensions, positions and negatives, which decide what an index and a profile hold and what a step
costs."""


def tunables(kind: Kind) -> dict[str, Tunable]:
    """The part of the table that is for some data."""
    return {name: tunable for name, tunable in TUNABLES.items() if kind in tunable.kinds}


class RecipeChanges(msgspec.Struct, frozen=True):
    """Values of entries of TUNABLES by name; none: the derived recipe. Raises SettingsInvalid."""

    values: dict[str, Number] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            if name not in TUNABLES:
                raise SettingsInvalid(f"there is no {name!r} to tune.", fix=f"There are {', '.join(sorted(TUNABLES))}.")
            if not TUNABLES[name].domain.holds(value):
                raise SettingsInvalid(f"{name} is {value!r}.", fix=f"Give {TUNABLES[name].domain}, or leave it out.")

    @property
    def text(self) -> str:
        """As `of_text` reads it, at most a few hundred characters: a hyperparameter may have 2,500."""
        return ",".join(f"{name}={value!r}" for name, value in self.values.items())

    @staticmethod
    def of_text(text: str) -> RecipeChanges:
        """From `name=value,name=value`. Raises SettingsInvalid."""
        values: dict[str, Number] = {}
        for entry in filter(None, text.split(",")):
            name, _, number = entry.partition("=")
            try:
                values[name.strip()] = _number(number)
            except ValueError as error:
                raise SettingsInvalid(
                    f"{entry!r} is no name=number.", fix="Give such as temperature=0.1,passes=1.5."
                ) from error
        return RecipeChanges(values)


def order_of(changes: RecipeChanges) -> bool | None:
    """Whether changes are for events with an order (True) or without (False); None: for both."""
    for name in changes.values:
        if Kind.SETS not in (kinds := TUNABLES[name].kinds):
            return True
        if not kinds & MOMENTS:
            return False
    return None


class TunedFile(msgspec.Struct):
    """What a training reads of a tuned.json."""

    changes: dict[str, Number]
    effort: str = ""
    """That was tuned at."""

    @staticmethod
    def read(path: Path) -> TunedFile:
        """Raises SettingsInvalid that names the file."""
        try:
            file = msgspec.json.decode(path.read_bytes(), type=TunedFile)
            RecipeChanges(file.changes)
        except (OSError, msgspec.MsgspecError) as error:
            raise SettingsInvalid(f"{path}: {error}.", fix="Give the file that `tandem tune` wrote.") from error
        except SettingsInvalid as error:
            raise SettingsInvalid(f"{path}: {error.message}", fix=error.fix) from error
        return file


def _number(text: str) -> Number:
    try:
        return int(text)
    except ValueError:
        return float(text)


def apply_changes(recipe: Recipe, changes: RecipeChanges, kind: Kind) -> Recipe:
    """The recipe with changes. Raises SettingsInvalid for an entry that means nothing for this kind of data."""
    for name, value in changes.values.items():
        if kind not in (tunable := TUNABLES[name]).kinds:
            wanted = " or ".join(sorted(tunable.kinds))
            raise SettingsInvalid(
                f"tuned: {name} is for data {wanted}, and this is data {kind}.", fix="Leave it out, or tune anew."
            )
        recipe = tunable.applied(recipe, value)
    return recipe
