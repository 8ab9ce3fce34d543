"""Windows of what is popular now: how long each is, and how fast an event in it fades.

Training writes a table per window (decayed weights at the watermark), live counts go on from there; `retrieval` puts
the two together and the Lambda edge serves them.
"""

from __future__ import annotations

from typing import Final

_HOUR: Final = 3_600

WINDOWS: Final[dict[str, int]] = {"1h": _HOUR, "6h": 6 * _HOUR, "1d": 24 * _HOUR, "7d": 7 * 24 * _HOUR}
"""Name → seconds."""

HALF_LIVES_PER_WINDOW: Final = 4
"""An event at the far end of a window counts a sixteenth of one now, so that nothing falls out with a jump."""


def half_life_seconds(window: str) -> float:
    """After so long an event counts half."""
    return WINDOWS[window] / HALF_LIVES_PER_WINDOW


def trending_key(window: str) -> str:
    """The key of a window's table among the popularity tables; its scores are weights, not shares."""
    return f"trending:{window}"
