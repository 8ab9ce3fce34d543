"""What the snapshot of a night reads of the log, and what its report says of that: from when, up to when, what damage.

It does not know which of the events are new. `snapshot.py` reads with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any, Final

import polars as pl

from batch_job.event_log_reading import Damage, Reading, read_events
from batch_job.log_sources import LogSource
from batch_job.snapshot_people import ARRIVED
from stores.mirrored_folder import Progress

NAMED_DAMAGE: Final = 100
"""Objects of the log that a report names; of more it says how many."""

_DAY: Final = 86_400


class Told:
    """What is read of the log."""

    def __init__(self, since: date | None, before: str) -> None:
        """`since`: day of arrival of the first events, None: all; `before`: of the newest that was read earlier."""
        self._since, self._before = since, before
        self._reading = Reading()
        self._days: set[str] = set()

    def frames(self, log: LogSource, progress: Progress | None) -> Iterator[pl.DataFrame]:
        """The events that may be new. Raises LogUnavailable."""
        for frame in read_events(log, self._since, self._reading):
            self._days |= {_day(number * _DAY) for number in (frame[ARRIVED] // _DAY).unique().to_list()}
            if progress is not None:
                progress(self._reading.objects, 0, f"objects of the log, {self._reading.events} events")
            yield frame

    def figures(self, begun_at: int) -> dict[str, Any]:
        """What a report says of it; one event from the future does not hide all others from the next night."""
        first = self._since.isoformat() if self._since else min(self._days, default="")
        position = min(max(self._days | {self._before}), _day(begun_at))
        return {"read_from": first, "position": position, "damaged": _named(self._reading.damaged)}


def _named(damaged: list[Damage]) -> list[str]:
    """What could not be read, for people."""
    shown = [f"{one.object}: {one.reason}" + (f" ({one.lines} lines)" if one.lines else "") for one in damaged]
    more = len(shown) - NAMED_DAMAGE
    return shown[:NAMED_DAMAGE] + ([f"and {more} more"] if more > 0 else [])


def _day(unix_seconds: int) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d}"
