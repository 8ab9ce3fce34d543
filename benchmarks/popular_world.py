"""How often popularity is called beaten in a world where nothing beats it.

Runs of the whole experiment, each in a world of its own of the family "popularity" (everybody wants the same items, and
an order that never moves is best): a warm-up, one real night, a week of four arms assigned by GrowthBook's SDK, judged
from the files of exposures and events. Popularity is beaten where an arm's clicks a user are above its own at p < .05
after Holm's correction. In one world of TWINS_EVERY twins say how far the arms really
are from popularity.

Minutes: some 6 s a run on one core. What is done is kept in WORK (a line a run), and a benchmark that was stopped goes
on from there. It fails only where an exact binomial test rejects 5 % or less at p < .001.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from scipy.stats import binomtest

from local_mode.simulation.arms import ARMS, CONTROL
from local_mode.simulation.pool import Jobs
from local_mode.simulation.runs import mixed, twin
from local_mode.simulation.settings import SimulationSettings
from local_mode.simulation.verdict import outcome

RUNS: Final = 200
NOMINAL: Final = 0.05
REJECTED: Final = 0.001
WORK: Final = Path(".bench") / "popular_world.jsonl"
CLICKS: Final = "clicks"
TWINS_EVERY: Final = 5
"""Worlds: the four lines of twins cost as much as the experiment."""


def world(seed: int) -> SimulationSettings:
    """A small one: four weeks tell which items are popular, and one night trains for all seven days."""
    return SimulationSettings(
        family="popularity", users=300, items=150, warm_days=28, days=7, retrain_days=7, seed=seed
    )


def run(seed: int) -> dict[str, Any]:
    """One experiment: what is said of each arm (1 wins, -1 loses, 0 not told apart), and the truth of some."""
    settings, twins = world(seed), ARMS if seed % TWINS_EVERY == 1 else ()
    with tempfile.TemporaryDirectory() as work:
        done = mixed(settings, tuple(ARMS), Path(work) / "run")
        true = {arm: twin(settings, arm, done.kept, done.sample)[CLICKS] for arm in twins}
    of_clicks = [effect for effect in done.effects if effect.metric == CLICKS]
    return {
        "seed": seed,
        "world": asdict(settings),
        "users": sum(arm.users for arm in done.split),
        "said": {effect.arm: outcome(effect) for effect in of_clicks},
        "estimate": {effect.arm: round(effect.relative, 4) for effect in of_clicks},
        "truth": {arm: round(value / true[CONTROL] - 1, 4) for arm, value in true.items()},
    }


def measure(runs: int = RUNS, processes: int = 2, work: Path = WORK) -> dict[str, Any]:
    """All figures; goes on where an earlier call stopped."""
    started = time.perf_counter()
    work.parent.mkdir(parents=True, exist_ok=True)
    lines = work.read_text().splitlines() if work.exists() else []
    known = [one for one in map(json.loads, lines) if one["world"] == asdict(world(one["seed"]))]
    found = {one["seed"]: one for one in known if one["seed"] <= runs}

    def keep(one: dict[str, Any]) -> None:
        found[one["seed"]] = one
        with work.open("a") as file:
            file.write(json.dumps(one) + "\n")
        beaten = sum(map(is_beaten, found.values()))
        print(f"\r{len(found)} of {runs} runs, popularity beaten in {beaten}", end="", file=sys.stderr, flush=True)

    jobs = Jobs(processes, lambda _days: None)
    for seed in range(1, runs + 1):
        if seed not in found:
            jobs.add(keep, run, seed)
    jobs.finish()
    print(file=sys.stderr)
    return judged([found[seed] for seed in sorted(found)]) | {"seconds": round(time.perf_counter() - started, 1)}


def is_beaten(one: Mapping[str, Any]) -> bool:
    """Whether the experiment calls popularity beaten."""
    return any(said > 0 for said in one["said"].values())


def judged(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The rate, its band, and how the arms stand in truth."""
    beaten = sum(map(is_beaten, found))
    p = float(binomtest(beaten, len(found), NOMINAL, alternative="greater").pvalue)
    with_truth = [one["truth"] for one in found if one["truth"]]
    return {
        "runs": len(found),
        "runs_with_twins": len(with_truth),
        "beaten": beaten,
        "rate": round(beaten / len(found), 4),
        "p": round(p, 4),
        "arms": {
            arm: {
                "mean_true_lift": round(fmean(truth[arm] for truth in with_truth), 4),
                "mean_estimated_lift": round(fmean(one["estimate"][arm] for one in found), 4),
                "called_worse": sum(one["said"][arm] < 0 for one in found),
            }
            for arm in ARMS
            if arm != CONTROL
        },
        "ok": p >= REJECTED,
    }


def table(figures: Mapping[str, Any]) -> str:
    """The figures for people."""
    lines = [
        f"{figures['runs']} runs: popularity called beaten in {figures['beaten']} ({figures['rate']:.1%}), "
        f"{figures['seconds']} s",
        f"{'arm':<22}{'true lift':>10}{'estimated':>11}{'called worse':>14}",
    ]
    lines += [
        f"{arm:<22}{row['mean_true_lift']:>10.1%}{row['mean_estimated_lift']:>11.1%}{row['called_worse']:>14}"
        for arm, row in figures["arms"].items()
    ]
    return "\n".join(lines)


def main() -> int:
    """Print the figures; 1 where popularity is called beaten too often."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--work", type=Path, default=WORK)
    options = parser.parse_args()
    figures = measure(options.runs, options.processes, options.work)
    print(json.dumps(figures, indent=2) if options.json else table(figures))
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
