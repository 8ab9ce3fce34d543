"""Ids that this side gives out: of slates, and of events that came without one. `recommend.py`, `intake.py` call it."""

from __future__ import annotations

import os
import time


def fresh_id() -> str:
    """32 hexadecimal digits of its own: milliseconds first, so that ids sort by time, then 80 random bits."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"
