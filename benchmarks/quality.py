"""The quality table: towers beside tuned ALS, popularity and content, full ranking, from the raw files.

Parts are measured one after the other and kept in .bench/quality.json; what is printed, and written into
docs/quality.md, is everything that is there, each part with its date. Nothing is chosen on what is judged, except where
a rival's name says so. Each training runs in a process of its own, whose CPU seconds and peak memory are reported. The
headline parts run with three seeds. A figure that is not reached is said, and is no failure to measure. Example:
python -m benchmarks.quality --data ../shared/data --only ml-100k --seeds 0 --effort quick
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import live_cold_users, live_new_items, quality_days, quality_ranking, quality_speed
from benchmarks.quality_rows import WORLD, Options, Row
from benchmarks.quality_sets import SETS
from benchmarks.quality_store import merged, read_rows, write_between_marks, write_rows
from benchmarks.quality_table import document
from training_job.settings import Effort, TrainingSettings

THREE_SEEDS: Final = (0, 1, 2)
RESULTS: Final = Path(".bench") / "quality.json"


@dataclass(frozen=True)
class Part:
    """Some of the table."""

    title: str
    measure: Callable[[str, Options], list[Row]]
    source: str | None = None
    """Its data set; None: none of ours."""
    seeds: tuple[int, ...] = (0,)


PARTS: Final = {
    "gowalla": Part("Gowalla", quality_ranking.measure, "gowalla", THREE_SEEDS),
    "ml-1m-last": Part("ML-1M, last item", quality_ranking.measure, "ml-1m-sequences", THREE_SEEDS),
    "ml-1m": Part("ML-1M, time cut", quality_ranking.measure, "ml-1m-half", THREE_SEEDS),
    "ml-100k": Part("ML-100K, time cut", quality_ranking.measure, "ml-100k", THREE_SEEDS),
    "world": Part("Generated world, time cut", quality_ranking.measure, "world", THREE_SEEDS),
    "ml-1m-days": Part("ML-1M, the week after training", quality_days.measure, "ml-1m-half"),
    "world-days": Part("Generated world, the week after training", quality_days.measure, "world"),
    "cold-users": Part("New users", live_cold_users.measure, "ml-1m-whole"),
    "new-items": Part("New items", live_new_items.measure, "ml-1m-whole"),
    "throughput": Part("Throughput of training", quality_speed.measure_throughput),
    "forward": Part("Forward pass", quality_speed.measure_forward),
    "memory": Part("Memory of training", quality_speed.measure_memory),
}


def main() -> int:
    """Measure the chosen parts, keep them, and print the table of all that is kept."""
    parser = _parser()
    asked = parser.parse_args()
    names = [name for name in asked.only.split(",") if name]
    if unknown := set(names) - set(PARTS):
        parser.error(f"--only: {', '.join(sorted(unknown))} not among {', '.join(PARTS)}")
    if missing := _missing(names, asked.data):
        parser.error(f"--data: {asked.data} has no {', '.join(missing)}")
    settings = TrainingSettings(effort=Effort(asked.effort), threads=asked.threads)
    world = replace(WORLD, users=asked.world_users, items=max(100, asked.world_users // 4))
    for name in names:
        for seed in asked.seeds or PARTS[name].seeds:
            options = Options(asked.data, replace(settings, seed=seed), asked.folds, world)
            print(f"{name}, seed {seed} …", file=sys.stderr, flush=True)
            rows = PARTS[name].measure(name, options)
            write_rows(asked.results, merged(read_rows(asked.results), stamped(rows, asked.effort)))
    kept = read_rows(asked.results)
    table = document(kept, {name: part.title for name, part in PARTS.items()})
    if asked.markdown:
        write_between_marks(asked.markdown, table)
    print(msgspec.json.encode(kept).decode() if asked.json else table)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the raw sets")
    parser.add_argument(
        "--only", default=",".join(PARTS), help=f"comma-separated, empty: print what is kept; {', '.join(PARTS)}"
    )
    parser.add_argument("--seeds", type=_numbers, help="comma-separated; three for the headline parts, else one")
    parser.add_argument("--effort", choices=list(Effort), default=Effort.STANDARD)
    parser.add_argument("--folds", type=int, help="of ten, of users and items held out (10 of users, 3 of items)")
    parser.add_argument("--threads", type=int, default=1, help="of training; more than one only on an idle machine")
    parser.add_argument("--world-users", type=int, default=WORLD.users, help="of the generated world; items a quarter")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are kept")
    parser.add_argument("--markdown", type=Path, help="write the table between the marks of this file, too")
    parser.add_argument("--json", action="store_true", help="the rows on stdout in place of the table")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _missing(names: Sequence[str], data: Path) -> list[str]:
    """Sources of the parts that are not below the folder of the data."""
    sets = {source for name in names if (source := PARTS[name].source)}
    return sorted(source for name in sets if (source := SETS[name].source) and not (data / source).exists())


def stamped(rows: Sequence[Row], effort: str) -> list[Row]:
    """With the date and the machine of this run."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {gigabytes:.0f} GB"
    stamp = partial(replace, effort=str(effort), date=datetime.now(UTC).date().isoformat(), machine=machine)
    return [stamp(row) for row in rows]


if __name__ == "__main__":
    sys.exit(main())
