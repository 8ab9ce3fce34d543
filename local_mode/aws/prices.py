"""AWS's prices as a dated file says them: `prices.toml` beside this module, or a file of one's own in the same form.

Knows no deployment and asks nobody. Prices of a file older than a year are refused: a figure that nobody has looked at
for so long reassures more than it is worth. `cost.py` multiplies, `tandem aws cost` prints.
"""

from __future__ import annotations

import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import msgspec

from contracts.errors import PricesOutdated, RequestInvalid

SHIPPED: Final = Path(__file__).with_name("prices.toml")
MAX_AGE_DAYS: Final = 365
"""AWS moves a price of this list about once a year."""


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one unit costs."""

    usd: float
    unit: str
    source: str
    """AWS's page that has it."""
    seen: str = ""
    """Where and of which day it was read."""
    sku: str = ""
    estimate: bool = False
    """Not read in AWS's own list; `why` says what stands behind it."""
    why: str = ""
    memory_gb: float = 0.0
    """Of an instance, where it matters."""


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of prices."""

    date: date
    region: str
    prices: dict[str, Price]

    def of(self, name: str) -> Price:
        """A price. Raises RequestInvalid, naming it, where the file has none."""
        if name not in self.prices:
            raise RequestInvalid(
                f"prices: there is none of {name!r} in the file of {self.region}.",
                field="prices",
                fix=f"Copy {SHIPPED}, add [prices.{name!r}] with usd, unit and source, and give the copy by --prices.",
            )
        return self.prices[name]


def read_prices(path: Path | None = None, today: date | None = None) -> Prices:
    """The prices of a file, by default of the one that ships.

    Raises PricesOutdated where it is older than MAX_AGE_DAYS, RequestInvalid where it is not of this form.
    """
    found = _read(path or SHIPPED)
    age = ((today or datetime.now(UTC).date()) - found.date).days
    if age > MAX_AGE_DAYS:
        raise PricesOutdated(
            f"{path or SHIPPED}: its prices are of {found.date}, {age} days old.",
            fix="Look up each `source` in it again and move `date`, or give a newer file by --prices.",
        )
    return found


def _read(path: Path) -> Prices:
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Prices)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise RequestInvalid(
            f"{path}: not a file of prices: {error}.", field="prices", fix=f"It has the form of {SHIPPED}."
        ) from error
