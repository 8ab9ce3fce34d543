"""Whether the statistics of tests keep their promises: splits of nothing, known lifts, broken splits, daily looks.

One log is split at random ten thousand times without any effect; what is found then is false. Known lifts must lie in
the intervals as often as these say. A promise is broken only where an exact binomial test rejects it at p < .001. Tests
over sessions and over impressions are measured, too, as what must not be done. Example:

    python -m benchmarks.experiment_statistics
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from scipy.stats import binomtest, kstest, norm

from benchmarks.experiment_log import (
    IMPRESSIONS,
    Floats,
    UserSums,
    draw_users,
    expected_clicks,
    moments_of_splits,
    splits,
)
from experiments.analysis.effects import Metric, compare, standard_error
from experiments.analysis.sample_ratio import ALARM, sample_ratio
from experiments.analysis.sequential import sequential_half_width

USERS: Final = 2_000
LOOKS: Final = 10
LIFT: Final = 0.1
SRM_USERS: Final = 100_000
SRM_DRAWS: Final = 100_000
BROKEN: Final = 0.51
"""Share of the arm where the split should be even."""
WRONG: Final = 0.05
REJECTED: Final = 0.001
UNIFORM: Final = 0.01
"""Kolmogorov and Smirnov's p-value must be above."""
FOUND: Final = 0.95
"""Of the broken splits, at least."""

METRICS: Final = (
    Metric("mean", "mean", "clicks"),
    Metric("mean, CUPED", "mean", "clicks", before="clicks_before"),
    Metric("ratio", "ratio", "clicks", "sessions"),
    Metric("ratio, CUPED", "ratio", "clicks", "sessions", "clicks_before", "sessions_before"),
    Metric("share", "share", "retained"),
)


def measure(number: int, looked: int, worlds: int, draws: int, seed: int = 0) -> dict[str, Any]:
    """All figures of `number` splits without an effect, `looked` with looks, `worlds` with a lift, `draws` of SRM."""
    log = draw_users(USERS, np.random.default_rng(seed))
    return {
        "users": USERS,
        "skewness_of_clicks": round(float(_skewness(log.clicks)), 2),
        "no effect": no_effect(log, number, seed),
        "not to be done": wrong_units(log, number, seed),
        "looks": looks(log, looked, seed),
        "coverage": coverage(worlds, seed),
        "sample ratio": broken_splits(draws, seed),
    }


def no_effect(log: UserSums, number: int, seed: int) -> dict[str, Any]:
    """False positives at 5 %, and whether the p-values are uniform, by metric."""
    p_values: dict[str, list[float]] = {metric.name: [] for metric in METRICS}
    for split in splits(number, USERS, np.random.default_rng(seed + 1)):
        for metric in METRICS:
            moments = moments_of_splits(log, _columns(metric), split)
            p_values[metric.name] += [compare(metric, control, arm).pvalue for control, arm in moments]
    return {name: _false_positives(np.array(values)) for name, values in p_values.items()}


def wrong_units(log: UserSums, number: int, seed: int) -> dict[str, Any]:
    """False positives of a t-test over sessions and of a z-test over impressions, on the same splits."""
    found: dict[str, list[Floats]] = {"sessions, t-test": [], "impressions, z-test": []}
    for split in splits(number, USERS, np.random.default_rng(seed + 1)):
        arms = [
            np.column_stack([side @ column for column in (log.sessions, log.clicks, log.squares)])
            for side in (1 - split, split)
        ]
        for name, variances in (("sessions, t-test", _of_sessions), ("impressions, z-test", _of_impressions)):
            means = [sums[:, 1] / sums[:, 0] for sums in arms]
            error = np.sqrt(sum(variances(sums) / sums[:, 0] for sums in arms))
            found[name].append(2 * norm.sf(np.abs(means[1] - means[0]) / error))
    return {name: round(float((np.concatenate(values) < WRONG).mean()), 4) for name, values in found.items()}


def _of_sessions(sums: Floats) -> Floats:
    """[splits] variance of a session's clicks, as if all sessions were independent."""
    return (sums[:, 2] - sums[:, 1] ** 2 / sums[:, 0]) / (sums[:, 0] - 1)


def _of_impressions(sums: Floats) -> Floats:
    """[splits] the same of a session's clicks where every impression is as if alone."""
    rate = sums[:, 1] / sums[:, 0] / IMPRESSIONS
    return IMPRESSIONS * rate * (1 - rate)


def looks(log: UserSums, number: int, seed: int) -> dict[str, Any]:
    """Splits without an effect that look significant at one of LOOKS looks, as users come in."""
    metric = METRICS[0]
    seen = np.linspace(USERS / LOOKS, USERS, LOOKS).astype(int)
    fixed, sequential = np.zeros(number, np.bool_), np.zeros(number, np.bool_)
    start = 0
    for split in splits(number, USERS, np.random.default_rng(seed + 2)):
        for users in seen:
            moments = moments_of_splits(log, _columns(metric), split[:, :users])
            for place, (control, arm) in enumerate(moments, start=start):
                result = compare(metric, control, arm)
                half = sequential_half_width(standard_error(metric, control, arm), int(users))
                fixed[place] |= result.pvalue < WRONG
                sequential[place] |= abs(result.effect_size) > half
        start += len(split)
    found = int(sequential.sum())
    return {
        "splits": number,
        "fixed horizon": round(float(fixed.mean()), 4),
        "sequential": round(found / number, 4),
        "kept": bool(binomtest(found, number, WRONG, "greater").pvalue >= REJECTED),
    }


def coverage(worlds: int, seed: int) -> dict[str, Any]:
    """How often the 95 % interval has the true lift of clicks in it, over new users each time."""
    rng = np.random.default_rng(seed + 3)
    truth = LIFT * expected_clicks()
    held: dict[str, list[bool]] = {}
    for _ in range(worlds):
        split = rng.integers(0, 2, USERS).astype(np.float64)
        log = draw_users(USERS, rng, lift=LIFT * split)
        for metric in METRICS[:2]:
            ((control, arm),) = moments_of_splits(log, _columns(metric), split[None])
            result = compare(metric, control, arm)
            within = {
                f"{metric.name}, difference": (result.effect_size_ci_lower, truth, result.effect_size_ci_upper),
                f"{metric.name}, lift": (result.rel_effect_size_ci_lower, LIFT, result.rel_effect_size_ci_upper),
            }
            for name, (low, true, high) in within.items():
                held.setdefault(name, []).append(bool(low <= true <= high))
    return {name: _rate(sum(values), worlds, 1 - WRONG) for name, values in held.items()}


def broken_splits(draws: int, seed: int) -> dict[str, Any]:
    """Alarms of even splits, and of those that became 51 : 49."""
    rng = np.random.default_rng(seed + 4)
    even = _alarms(rng.binomial(SRM_USERS, 0.5, draws))
    broken = _alarms(rng.binomial(SRM_USERS, BROKEN, draws))
    return {
        "false alarms": _rate(even, draws, ALARM, digits=6),
        "found at 51 : 49": {"rate": round(broken / draws, 4), "kept": bool(broken / draws > FOUND)},
    }


def _alarms(arms: np.ndarray) -> int:
    """Each number of users is tested once, however often it was drawn."""
    users, times = np.unique(arms, return_counts=True)
    weights = {"control": 0.5, "arm": 0.5}
    p_values = [sample_ratio({"control": SRM_USERS - int(one), "arm": int(one)}, weights) for one in users]
    return int(times[np.array(p_values) < ALARM].sum())


def _false_positives(p_values: Floats) -> dict[str, Any]:
    rate = _rate(int((p_values < WRONG).sum()), len(p_values), WRONG)
    uniform = float(kstest(p_values, "uniform").pvalue)
    return rate | {"uniform_p": round(uniform, 4), "kept": rate["kept"] and uniform > UNIFORM}


def _rate(times: int, of: int, promised: float, digits: int = 4) -> dict[str, Any]:
    kept = binomtest(times, of, promised).pvalue >= REJECTED
    return {"rate": round(times / of, digits), "times": times, "of": of, "kept": bool(kept)}


def _columns(metric: Metric) -> list[str]:
    return [name for name in (metric.of, metric.per, metric.before, metric.before_per) if name is not None]


def _skewness(values: Floats) -> float:
    return float(((values - values.mean()) ** 3).mean() / values.std() ** 3)


def all_kept(figures: Any) -> bool:
    """Whether no promise is broken anywhere in the figures."""
    if not isinstance(figures, dict):
        return True
    return figures.get("kept", True) and all(all_kept(inner) for inner in figures.values())


def _draw(figures: dict[str, Any], say: Callable[[str], None]) -> None:
    for group, rows in figures.items():
        if not isinstance(rows, dict):
            say(f"{group}: {rows}")
            continue
        said = {"": rows} if "kept" in rows else rows
        for name, row in said.items():
            cells = row if isinstance(row, dict) else {"rate": row}
            say(f"{group:<15} {name:<22} " + "  ".join(f"{key} {value}" for key, value in cells.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10_000)
    parser.add_argument("--looked", type=int, default=2_000, help="splits that are looked at ten times each")
    parser.add_argument("--worlds", type=int, default=4_000, help="tests with a known lift")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    began = time.perf_counter()
    figures = measure(options.splits, options.looked, options.worlds, SRM_DRAWS, options.seed)
    figures |= {"seconds": round(time.perf_counter() - began, 1)}
    if options.json:
        print(json.dumps(figures))
    else:
        _draw(figures, print)
    return int(not all_kept(figures))


if __name__ == "__main__":
    sys.exit(main())
