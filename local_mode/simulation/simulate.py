"""`tandem simulate`: runs of one experiment in worlds whose truth is known, put together.

    each run          the mixed line, then a twin for every arm (and, asked for, every arm trained alone)
    of the first run  its releases in worlds of other doses: the dose-response curve of retention; and its first release
                      with random places in its slates, for off-policy estimates
    in the end        estimates with the truth beside them, pooled over runs; the logs of the runs in the home folder

What is under way lies in a temporary folder elsewhere, so a run that is killed leaves the home as it was. The command
line and the benchmark call it.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.errors import DatasetError
from data_sources.folders import replace_folder
from local_mode.simulation.arms import ARMS, CONTROL, DOSE_ARMS
from local_mode.simulation.logbook import DATASET
from local_mode.simulation.off_policy_panel import off_policy_panel
from local_mode.simulation.pool import Jobs
from local_mode.simulation.pooling import pooled
from local_mode.simulation.results import ArmEffect, DosePoint, OffPolicy, RunResult, Simulation, encode_simulation
from local_mode.simulation.runs import NIGHTS, PAYLOAD, Mixed, alone, mixed, twin
from local_mode.simulation.settings import SimulationSettings
from local_mode.simulation.truth import Values, with_alone, with_truth
from local_mode.simulation.verdict import verdict
from stores.served_log import EXPOSURES_FOLDER

FOLDER: Final = "simulation"
"""In the home: the logs of every run, and what came of them."""
RESULT: Final = "simulation.json"

DOSES: Final = (0.0, 0.5, 1.0, 2.0)
"""Of the curve; at 0 nothing that is shown can bring anybody back."""

RETENTION: Final = "retention"

Progress = Callable[[int, int, str], None]
"""done, total, what is being done."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is simulated."""

    world: SimulationSettings
    """Of the first run; the others have the seeds that follow."""
    runs: int = 5
    doses: tuple[float, ...] = DOSES
    """Empty: no curve."""
    alone: bool = False
    """Whether every arm is also trained alone on its own log."""
    processes: int = 2

    @property
    def days(self) -> int:
        """Of experiment in all lines."""
        lines = self.runs * (1 + len(ARMS) * (2 if self.alone else 1))
        lines += sum(1 + len(self.dose_twins(dose)) for dose in self.doses)
        return lines * self.world.days

    def dose_twins(self, dose: float) -> tuple[str, ...]:
        """Arms of the curve that need a twin of their own: at the world's own dose the first run has some."""
        return tuple(arm for arm in DOSE_ARMS if dose != self.world.alpha or arm not in ARMS)

    def settings(self, run: int) -> SimulationSettings:
        """Of one run, from 0."""
        return replace(self.world, seed=self.world.seed + run)


def simulate(plan: Plan, home: Path, progress: Progress | None = None) -> Simulation:
    """Do it, and leave the logs and the result in `home`.

    Raises DatasetError where something else is in that place, JobFailed, and what a night raises.
    """
    begun, out = time.monotonic(), home / FOLDER
    _check_place(out)
    tell = progress or (lambda _done, _total, _text: None)
    said = f"Simulating {plan.runs} run{'s' if plan.runs > 1 else ''} with twins: days of all lines"
    tell(0, plan.days, said)
    with tempfile.TemporaryDirectory(prefix="tandem-simulation-", ignore_cleanup_errors=True) as work:
        lines = _Lines(plan, Path(work), Jobs(plan.processes, lambda days: tell(days, plan.days, said)))
        lines.live()
        simulation = _result(plan, lines, time.monotonic() - begun)
        _keep(simulation, Path(work), out)
    return simulation


class _Lines:
    """All lines of a simulation, each begun when what it needs is there."""

    def __init__(self, plan: Plan, work: Path, jobs: Jobs) -> None:
        self._plan, self._work, self._jobs = plan, work, jobs
        self.mixed: dict[int, Mixed] = {}
        self.twins: dict[int, dict[str, Values]] = defaultdict(dict)
        self.alone: dict[int, dict[str, Values]] = defaultdict(dict)
        self.dosed: dict[float, Mixed] = {}
        self.dosed_twins: dict[float, dict[str, Values]] = defaultdict(dict)
        self.off_policy: list[OffPolicy] = []

    def live(self) -> None:
        """From the first day of the first line to the last of the last."""
        for run in range(self._plan.runs):
            folder = run_folder(self._work, run + 1)
            self._jobs.add(partial(self._after, run), mixed, self._plan.settings(run), tuple(ARMS), folder)
        self._jobs.finish()

    def _after(self, run: int, done: Mixed) -> None:
        """What the mixed line of a run makes possible."""
        self.mixed[run] = done
        settings = self._plan.settings(run)
        for arm in ARMS:
            self._jobs.add(partial(self.twins[run].__setitem__, arm), twin, settings, arm, done.kept, done.sample)
            if self._plan.alone:
                folder = self._work / f"alone-{run + 1}-{arm}"
                self._jobs.add(partial(self.alone[run].__setitem__, arm), alone, settings, arm, folder, done.sample)
        if run == 0:
            self._jobs.add(self.off_policy.extend, off_policy_panel, settings, done.kept)
            for dose in self._plan.doses:
                self._dose(replace(settings, alpha=dose), done)

    def _dose(self, settings: SimulationSettings, first: Mixed) -> None:
        dose, folder = settings.alpha, self._work / f"dose-{settings.alpha:g}"
        self._jobs.add(partial(self.dosed.__setitem__, dose), mixed, settings, DOSE_ARMS, folder, first.kept)
        if dose == self._plan.world.alpha:
            self.dosed_twins[dose] = self.twins[0]  # the very same lines
        for arm in self._plan.dose_twins(dose):
            then = partial(self.dosed_twins[dose].__setitem__, arm)
            self._jobs.add(then, twin, settings, arm, first.kept, first.sample)

    def effects(self, run: int) -> list[ArmEffect]:
        """Of one run, with all that is known beside them."""
        found = with_truth(self.mixed[run].effects, self.twins[run], CONTROL)
        return with_alone(found, self.alone[run], CONTROL) if self._plan.alone else found

    def doses(self) -> list[DosePoint]:
        """The curve of every arm, from the smallest dose on."""
        return [
            DosePoint(
                alpha=dose,
                arm=one.arm,
                estimate=one.estimate,
                low=one.low,
                high=one.high,
                true_effect=one.true_effect,
                control_value=one.control_value,
            )
            for dose in sorted(self.dosed)
            for one in with_truth(self.dosed[dose].effects, self.dosed_twins[dose], CONTROL)
            if one.metric == RETENTION
        ]


def _result(plan: Plan, lines: _Lines, seconds: float) -> Simulation:
    runs = [
        RunResult(
            run=run + 1,
            seed=plan.settings(run).seed,
            arms=lines.mixed[run].split,
            sample_ratio_p=lines.mixed[run].sample_ratio_p,
            effects=lines.effects(run),
            releases=[night.trained for night in lines.mixed[run].kept.nights],
            blocked=[night.trained for night in lines.mixed[run].kept.nights if night.blocked],
            seconds=round(lines.mixed[run].seconds, 1),
        )
        for run in range(plan.runs)
    ]
    told: dict[str, Any] = asdict(plan.world) | {"runs": plan.runs, "doses": plan.doses, "alone": plan.alone}
    simulation = Simulation(
        settings=told,
        control=CONTROL,
        arms=list(ARMS),
        runs=runs,
        pooled=pooled([run.effects for run in runs]),
        dose=lines.doses(),
        off_policy=lines.off_policy,
        verdict="",
        seconds=round(seconds, 1),
    )
    return msgspec.structs.replace(simulation, verdict=verdict(simulation))


def run_folder(folder: Path, run: int) -> Path:
    """Where the logs of a run are; runs count from 1."""
    return folder / f"run-{run}"


def is_simulation(folder: Path) -> bool:
    """Whether a folder is what a simulation left."""
    return (folder / RESULT).is_file()


def _check_place(out: Path) -> None:
    """Say so before the work, not after it."""
    if out.exists() and not is_simulation(out):
        raise DatasetError(f"{out} exists and is no simulation: it is not overwritten.", fix="Name another --home.")


def _keep(simulation: Simulation, work: Path, out: Path) -> None:
    """The logs of the runs and the result, in the place of those of the simulation before."""
    with replace_folder(out, is_simulation) as folder:
        for run in simulation.runs:
            here, there = run_folder(work, run.run), run_folder(folder, run.run)
            for name in (EXPOSURES_FOLDER, DATASET):
                shutil.copytree(here / name, there / name)
            for name in (PAYLOAD, NIGHTS):
                shutil.copy(here / name, there / name)
        (folder / RESULT).write_bytes(encode_simulation(simulation))
