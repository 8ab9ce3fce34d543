"""How a payload is refused: where in it, what is wrong there, and what to do about it.

The modules that check payloads call it.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from contracts.errors import PayloadInvalid

_SHOWN: Final = 60
"""Characters of a value in a message: enough to find it, too few to fill a log."""


def refuse(where: str, what: str, fix: str) -> NoReturn:
    """Raise PayloadInvalid."""
    raise PayloadInvalid(f"{where} {what}.".lstrip(), fix=fix)


def shown(value: Any) -> str:
    """A value as a message names it: escaped, and cut."""
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        return "an integer beyond 2^53"  # Python refuses to print very long ones
    return cut(ascii(value), _SHOWN)


def cut(text: str, most: int = 200) -> str:
    """At most so many characters of a text that holds what others wrote."""
    return text if len(text) <= most else f"{text[:most]}…"
