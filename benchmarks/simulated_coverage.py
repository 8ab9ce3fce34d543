"""How often the 95 % interval holds the true effect, in worlds whose truth is known, and what it says at alpha 0.

A thousand small worlds of one nature and two fixed policies: each is a draw of users, split by chance, seven days under
the control's policy and 36 of experiment, judged by `experiments.analysis.effects` from what was observed alone. Every
user also lives in the other arm (a twin with the same luck), so the true effect of the population is known from
hundreds of thousands of pairs, far closer than any interval asks, and that of the world's own users exactly. The last
is expected to be covered more often than 95 %: an interval for the population also holds the luck of who was drawn.

A band fails only where an exact binomial test rejects 95 % at p < .001.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import binomtest

from experiments.analysis.effects import Effect, Metric, effects
from local_mode.simulation.chance import Purpose, uniform
from local_mode.simulation.fixed_policies import Policy, best_of_all, personal
from local_mode.simulation.nature import make_nature
from local_mode.simulation.settings import SimulationSettings
from local_mode.simulation.world import World

WORLDS: Final = 1_000
USERS: Final = 600
"""Of a world; about 580 of them come during the experiment, 220 on its first two days."""
WORLDS_AT_ONCE: Final = 50
"""Of one population: what 30,000 users remember takes 10 MB for each line."""
SETTINGS: Final = SimulationSettings(users=USERS, items=300, warm_days=7, days=36, new_items_per_day=3)
CONTROL: Final = best_of_all
ARM: Final = personal
NOMINAL: Final = 0.95
REJECTED: Final = 0.001
METRICS: Final = (
    Metric("clicks", "mean", "clicks", before="clicks_before"),
    Metric("sessions", "mean", "sessions", before="sessions_before"),
    Metric("retention", "share", "retained"),
)
RETAINED: Final = (28, 34)
"""First and last day after the first exposure, which is day 0."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lines:
    """What the users of some worlds did, in both arms. n users; NaN: not known of this user."""

    assigned: NDArray[np.bool_]
    """[n] whether the user is in the arm."""
    before: Mapping[str, Floats]
    """name -> [n] of the days before the experiment, common to both lines."""
    control: Mapping[str, Floats]
    arm: Mapping[str, Floats]
    """name -> [n]"""

    def observed(self, users: slice) -> pl.DataFrame:
        """One row a user of those who came, each in the one line they are assigned to."""
        took = self.assigned[users]
        columns = {name: np.where(took, self.arm[name][users], self.control[name][users]) for name in self.control}
        columns |= {f"{name}_before": column[users] for name, column in self.before.items()}
        label = pl.Series("variation_id", np.where(took, "arm", "control"))
        frame = pl.DataFrame([label, *(pl.Series(name, column) for name, column in columns.items())])
        return frame.filter(pl.col("sessions") > 0).with_columns(pl.col("retained").fill_nan(None))

    def gain(self, name: str, users: slice = slice(None)) -> Floats:
        """[m] arm - control of the users of a metric: who came, and is old enough for it."""
        difference = self.arm[name][users] - self.control[name][users]
        return difference[(self.control["sessions"][users] > 0) & ~np.isnan(difference)]


def live(settings: SimulationSettings, worlds: int, first_world: int, arm: Policy = ARM) -> Lines:
    """The users of `worlds` worlds of the same nature; `first_world` numbers the first of them."""
    crowd = replace(settings, users=settings.users * worlds)
    nature = make_nature(crowd, first_world * settings.users)
    control, warm = World(nature), range(crowd.warm_days)
    before = tally([(day, *_visit(control, CONTROL, day)) for day in warm], crowd.users)
    other = control.copy()
    numbers = nature.numbers(np.arange(crowd.users))
    assigned = uniform(crowd.seed, Purpose.ARM, numbers) < 0.5
    return Lines(assigned, before, experiment(control, CONTROL), experiment(other, arm))


def experiment(world: World, policy: Policy) -> dict[str, Floats]:
    """name -> [n] clicks, sessions, and whether the user was retained, of the days of the experiment."""
    crowd = world.nature.settings
    days = range(crowd.warm_days, crowd.total_days)
    visits = [(day, *_visit(world, policy, day)) for day in days]
    return {**tally(visits, crowd.users), "retained": retained(visits, crowd)}


def _visit(world: World, policy: Policy, day: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    users = world.arrivals(day)
    return users, world.respond(day, users, policy(world.nature, day, users)).sum(axis=1)


Visits = list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]
"""(day, users, clicks of each)"""


def tally(visits: Visits, n: int) -> dict[str, Floats]:
    """name -> [n] clicks and sessions."""
    clicks, sessions = np.zeros(n), np.zeros(n)
    for _, users, clicked in visits:
        clicks[users] += clicked
        sessions[users] += 1
    return {"clicks": clicks, "sessions": sessions}


def retained(visits: Visits, settings: SimulationSettings) -> Floats:
    """[n] 1 where somebody came back in the window after the first visit, 0 where not, NaN where it is not over."""
    came = np.zeros((settings.users, settings.total_days), np.bool_)
    for day, users, _ in visits:
        came[users, day] = True
    first = np.where(came.any(axis=1), came.argmax(axis=1), settings.total_days)
    window = first[:, None] + np.arange(RETAINED[0], RETAINED[1] + 1)
    back = np.take_along_axis(came, np.minimum(window, settings.total_days - 1), axis=1).any(axis=1)
    return np.where(window[:, -1] < settings.total_days, back.astype(np.float64), np.nan)


@dataclass(frozen=True)
class Judged:
    """Effects of every world, what is true of its own users, and pairs of all users, by metric."""

    found: dict[str, list[Effect]]
    own: dict[str, list[float]]
    gains: dict[str, list[Floats]]


def judge(settings: SimulationSettings, worlds: int) -> Judged:
    """Let `worlds` worlds happen and judge each by its observations alone."""
    names = [metric.name for metric in METRICS]
    judged = Judged({n: [] for n in names}, {n: [] for n in names}, {n: [] for n in names})
    for lines in _crowds(settings, worlds):
        for metric in METRICS:
            judged.gains[metric.name].append(lines.gain(metric.of))
        for start in range(0, len(lines.assigned), settings.users):
            users = slice(start, start + settings.users)
            for metric, effect in zip(METRICS, effects(lines.observed(users), METRICS, "control"), strict=True):
                judged.found[metric.name].append(effect)
                judged.own[metric.name].append(float(lines.gain(metric.of, users).mean()))
    return judged


def _crowds(settings: SimulationSettings, worlds: int) -> Iterator[Lines]:
    for first in range(0, worlds, WORLDS_AT_ONCE):
        yield live(settings, min(WORLDS_AT_ONCE, worlds - first), first)


def coverage(judged: Judged, name: str) -> dict[str, Any]:
    """How often the interval of a metric holds the effect of the population, and that of the world's own users."""
    gains = np.concatenate(judged.gains[name])
    truth, error = float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains)))
    found = judged.found[name]
    half = float(np.mean([effect.high - effect.low for effect in found])) / 2
    return {
        "truth": round(truth, 5),
        "truth_standard_error": round(error, 5),
        "users_with_twins": len(gains),
        "half_interval": round(half, 5),
        "mean_estimate": round(float(np.mean([effect.estimate for effect in found])), 5),
        **_rate([effect.low <= truth <= effect.high for effect in found]),
        "own_users": _rate([e.low <= own <= e.high for e, own in zip(found, judged.own[name], strict=True)])["rate"],
    }


def lift_covers_zero(judged: Judged) -> dict[str, Any]:
    """How often the interval of the lift of retention holds 0; the true effect of every user is exactly 0."""
    largest = max(float(np.abs(gains).max()) for gains in judged.gains["retention"])
    found = judged.found["retention"]
    return {"largest_true_effect": largest, **_rate([e.relative_low <= 0 <= e.relative_high for e in found])}


def _rate(held: list[bool]) -> dict[str, Any]:
    p = float(binomtest(sum(held), len(held), NOMINAL).pvalue)
    return {"held": sum(held), "of": len(held), "rate": round(sum(held) / len(held), 4), "p": p, "ok": p >= REJECTED}


def measure(worlds: int = WORLDS, settings: SimulationSettings = SETTINGS) -> dict[str, Any]:
    """All figures."""
    started = time.perf_counter()
    dosed = judge(settings, worlds)
    zero = judge(replace(settings, alpha=0.0), worlds)
    return {
        "worlds": worlds,
        "users": settings.users,
        "family": settings.family,
        "alpha": settings.alpha,
        "coverage": {metric.name: coverage(dosed, metric.name) for metric in METRICS},
        "alpha 0, lift of retention": lift_covers_zero(zero),
        "seconds": round(time.perf_counter() - started, 1),
    }


def table(figures: Mapping[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{figures['worlds']} worlds of {figures['users']} users, family {figures['family']}"]
    lines.append(
        f"{'metric':<22}{'true effect':>12}{'± s.e.':>9}{'interval ±':>12}{'covered':>9}{'own users':>11}{'p':>8}"
    )
    for name, row in figures["coverage"].items():
        lines.append(
            f"{name:<22}{row['truth']:>12.4f}{row['truth_standard_error']:>9.4f}{row['half_interval']:>12.4f}"
            f"{row['rate']:>9.1%}{row['own_users']:>11.1%}{row['p']:>8.3f}"
        )
    zero = figures["alpha 0, lift of retention"]
    lines.append(
        f"{'alpha 0: retention':<22}{zero['largest_true_effect']:>12.4f}{zero['rate']:>30.1%}{zero['p']:>19.3f}"
    )
    return "\n".join(lines)


def main() -> int:
    """Print the figures; 1 where a band fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worlds", type=int, default=WORLDS)
    options = parser.parse_args()
    figures = measure(options.worlds)
    print(json.dumps(figures, indent=2) if options.json else table(figures))
    rows = [*figures["coverage"].values(), figures["alpha 0, lift of retention"]]
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
