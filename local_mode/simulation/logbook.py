"""The two logs of a line in its folder: exposures as the edge writes them, events as a dataset that training reads.

    FOLDER/exposures/YYYY-MM-DD/HH-….jsonl      stores/served_log.py
    FOLDER/dataset/events/day-NNNNN.parquet     with schema.toml, users.parquet, items.parquet beside it

Everything that judges or trains reads these files and nothing else of the line. `runs.py` writes them day by day.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from contracts.errors import LogUnavailable
from data_sources.dataset import write_schema
from local_mode.simulation.exposing import Day, event_frame, exposures
from local_mode.simulation.nature import Nature
from stores.served_log import EXPOSURES_FOLDER, LocalServedLog

DATASET: Final = "dataset"
EVENTS: Final = "events"


class Logbook:
    """The logs of one line, open for writing."""

    def __init__(self, folder: Path, nature: Nature) -> None:
        """Creates `folder`."""
        self._nature = nature
        self.exposures = folder / EXPOSURES_FOLDER
        self.dataset = folder / DATASET
        self.events = self.dataset / EVENTS
        self.events.mkdir(parents=True)
        write_schema(self.dataset, nature.schema)
        nature.users_table().write_parquet(self.dataset / "users.parquet")
        self._served = LocalServedLog(self.exposures)

    def know_items(self, day: int) -> None:
        """Bring the catalogue up to a day."""
        self._nature.items_table(day).write_parquet(self.dataset / "items.parquet")

    def log(self, day: Day) -> None:
        """The clicks of a day."""
        frame = event_frame(self._nature, day)
        if len(frame):
            frame.write_parquet(self.events / f"day-{day.day:05}.parquet")

    def expose(self, day: Day, arms: Sequence[str]) -> None:
        """Who was served by which arm on a day. Raises LogUnavailable where a row isn't on disk."""
        refused = [reason for reason in self._served.append(exposures(self._nature, day, arms)) if reason]
        if refused:
            raise LogUnavailable(f"{self.exposures}: {len(refused)} exposures were not written: {refused[0]}.")

    def close(self) -> None:
        """Close the file of exposures."""
        self._served.close()
