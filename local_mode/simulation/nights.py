"""The nights of a simulated run: the real nightly training on what was logged so far, and which release serves a day.

    log so far ─▶ check → train → seal → gate → publish            `local_mode/retrain.py`

Training sees the log and the tables of items and users, and nothing of the world. A candidate that the gate blocks is
not published, and what served before serves on, as in life; only where nothing served before it serves all the same,
for an experiment needs a release. Releases are kept, so that twins can be served by them. `runs.py` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from index_loader.publish import publish
from local_mode.retrain import start_night, train_candidate
from local_mode.simulation.logbook import Logbook
from local_mode.simulation.settings import SimulationSettings
from stores.releases import LocalReleases
from training_job.settings import Effort, TrainingSettings

HOME: Final = "home"
"""Folder of the releases in that of their line."""


@dataclass(frozen=True)
class Night:
    """What serves from a day on."""

    day: int
    release: str
    trained: str
    """In the night before the day; another than `release` where the gate blocked it."""
    blocked: bool


class Nights:
    """Trains where it is time to."""

    def __init__(self, settings: SimulationSettings, logbook: Logbook, home: Path) -> None:
        self._settings, self._logbook = settings, logbook
        self.releases = LocalReleases(home)
        self.past: list[Night] = []
        # one thread sums in one order; torch's own deterministic mode would load its compiler, 4 s a process
        self._training = TrainingSettings(effort=Effort.QUICK, seed=settings.seed, device="cpu", threads=1)

    def before(self, day: int) -> str:
        """The release that serves a day; asked for day by day, it trains on the first and every `retrain_days`.

        Raises DatasetError, NotEnoughData, TrainingDiverged, and what sealing and publishing raise.
        """
        if (day - self._settings.warm_days) % self._settings.retrain_days == 0:
            self.past.append(self._train(day))
        return self.past[-1].release

    def _train(self, day: int) -> Night:
        self._logbook.know_items(day)
        night = start_night(self._logbook.dataset, self.releases.home, self._training)
        with night.alone():
            done = train_candidate(night)
        trained, current = done.manifest.id, self.releases.current()
        if not done.gate.blocked:
            publish(self.releases, trained, done.gate, done.etag)
            return Night(day, trained, trained, blocked=False)
        return Night(day, current.publication.release if current else trained, trained, blocked=True)


@dataclass(frozen=True)
class Kept:
    """The releases of a line that is over, on the days on which they served there."""

    home: Path
    nights: Sequence[Night]

    @property
    def releases(self) -> LocalReleases:
        return LocalReleases(self.home)

    def before(self, day: int) -> str:
        """The release that served a day."""
        return [night.release for night in self.nights if night.day <= day][-1]
