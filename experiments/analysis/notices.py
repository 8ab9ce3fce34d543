"""What a reader must be told beside the figures: each with a stable code, so that a script can look for it.

Everything that reads or counts here appends to a list of these where it is given one; the report shows them.
"""

from __future__ import annotations

import msgspec


class Notice(msgspec.Struct, frozen=True):
    """Something that was left out, assumed or converted, or that makes the test doubtful."""

    code: str
    message: str
    loud: bool = False
    """Whether it may change what the test says."""


def notice(notices: list[Notice] | None, code: str, message: str, *, loud: bool = False) -> None:
    """Note something where somebody listens."""
    if notices is not None:
        notices.append(Notice(code, message, loud))
