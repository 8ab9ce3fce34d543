"""How far estimates of policies that were not served are from the truth, and how often their intervals hold it.

A world is trained once, by the real nightly training on what its logging policy logged. Then other populations of the
same world, whom the release has never seen, are served with random places for two weeks each, and every estimator is
asked about three policies from each log alone. Intervals over users are for everybody who could have come: they should
hold the mean of all logs' truths in 95 of 100, and the truth of the log's own places more often.

Minutes: some 6 s a log on one core. A bias fails only where a z test, a coverage only where an exact binomial test of
95 % rejects at p < .001.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.stats import binomtest, norm

from local_mode.simulation.lines import Line
from local_mode.simulation.logbook import Logbook
from local_mode.simulation.nature import make_nature
from local_mode.simulation.nights import HOME, Kept, Nights
from local_mode.simulation.off_policy_panel import estimates_of, random_log
from local_mode.simulation.pool import Jobs
from local_mode.simulation.results import OffPolicy
from local_mode.simulation.settings import SimulationSettings

LOGS: Final = 200
SETTINGS: Final = SimulationSettings(users=600, items=300, warm_days=14, days=14, new_items_per_day=0)
"""A night's items are all there are, so that nothing is born which the release cannot show."""
NOMINAL: Final = 0.95
REJECTED: Final = 0.001


def trained(folder: Path) -> Kept:
    """The release of the first night of the world."""
    line = Line(make_nature(SETTINGS))
    with closing(Logbook(folder, line.nature)) as logbook:
        for day in line.warm_up():
            logbook.log(day)
        nights = Nights(SETTINGS, logbook, folder / HOME)
        nights.before(SETTINGS.warm_days)
    return Kept(folder / HOME, nights.past)


def asked(kept: Kept, number: int) -> list[OffPolicy]:
    """The estimates from the log of one more population."""
    return estimates_of(random_log(SETTINGS, kept, first_user=number * SETTINGS.users))


def measure(logs: int = LOGS, processes: int = 2) -> dict[str, Any]:
    """All figures."""
    started = time.perf_counter()
    found: dict[tuple[str, str], list[OffPolicy]] = defaultdict(list)

    def keep(estimates: Sequence[OffPolicy]) -> None:
        for one in estimates:
            found[one.arm, one.estimator].append(one)
        print(f"\r{max(map(len, found.values()))} of {logs} logs", end="", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as work:
        kept, jobs = trained(Path(work) / "world"), Jobs(processes, lambda _days: None)
        for number in range(1, logs + 1):
            jobs.add(keep, asked, kept, number)
        jobs.finish()
    print(file=sys.stderr)
    rows = {f"{arm}, {name}": judged(of) for (arm, name), of in sorted(found.items())}
    return {
        "logs": logs, "users": SETTINGS.users, "policies": rows, "seconds": round(time.perf_counter() - started, 1)
    }  # fmt: skip


def judged(estimates: Sequence[OffPolicy]) -> dict[str, Any]:
    """Bias, error and coverage of one estimator for one policy."""
    given = [(one.estimate, one.low, one.high, one.truth) for one in estimates if one.estimate is not None]
    refused = [one for one in estimates if one.estimate is None]
    if len(given) < 2:
        return {"refused": len(refused), "why": refused[0].refused if refused else "", "ok": True}
    estimate, low, high, truth = np.array(given, np.float64).T
    errors, everybody = estimate - truth, truth.mean()
    held, held_own = (int(((low <= of) & (of <= high)).sum()) for of in (everybody, truth))
    standard_error = float(errors.std(ddof=1) / np.sqrt(len(errors)))
    bias_p = float(2 * norm.sf(abs(errors.mean()) / standard_error))
    coverage_p = float(binomtest(held, len(errors), NOMINAL).pvalue)
    return {
        "refused": len(refused),
        "truth": round(float(truth.mean()), 5),
        "bias": round(float(errors.mean()), 5),
        "bias_standard_error": round(standard_error, 5),
        "error": round(float(np.sqrt(np.square(errors).mean())), 5),
        "half_interval": round(float((high - low).mean() / 2), 5),
        "held": held,
        "of": len(errors),
        "rate": round(held / len(errors), 4),
        "own_places": round(held_own / len(errors), 4),
        "ok": min(bias_p, coverage_p) >= REJECTED,
    }


def table(figures: Mapping[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{figures['logs']} logs of {figures['users']} users, {figures['seconds']} s"]
    lines.append(
        f"{'policy, estimator':<34}{'truth':>8}{'bias':>10}{'± s.e.':>9}{'rmse':>9}{'held':>8}{'own':>8}{'refused':>9}"
    )
    for name, row in figures["policies"].items():
        if "truth" not in row:
            lines.append(f"{name:<34}{'refused in all: ' + row['why'].split(': ', 1)[1]}")
            continue
        lines.append(
            f"{name:<34}{row['truth']:>8.4f}{row['bias']:>+10.5f}{row['bias_standard_error']:>9.5f}"
            f"{row['error']:>9.5f}{row['rate']:>8.1%}{row['own_places']:>8.1%}{row['refused']:>9}"
        )
    return "\n".join(lines)


def main() -> int:
    """Print the figures; 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--logs", type=int, default=LOGS)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    figures = measure(options.logs, options.processes)
    print(json.dumps(figures, indent=2) if options.json else table(figures))
    return 0 if all(row["ok"] for row in figures["policies"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
