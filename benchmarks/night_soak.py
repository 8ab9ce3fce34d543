"""kill -9 of whatever runs in a night, at random moments: is what serves always whole, and does a re-run end it right?

Whole nights of the synthesised state machine (`local_mode/rehearsal`) on a small world. In each, some moments are drawn
from the time that a night takes, and what runs then is killed: an instance of a function, or every process of a job.
What AWS would try again is tried again; where the night fails for it, it is run again and must publish. After each kill
the pointer must be absent or name a publication whose release opens whole, passes its golden cases and has its index;
after each night the lease must be given back, and in the end a sweep leaves no index but those that publications name.
`make soak` runs it, `tests/rehearsal` a sample. Example: python -m benchmarks.night_soak --kills 50
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.errors import TandemError
from contracts.night import NightOutcome, Step
from index_loader.indexes import own_indexes
from index_loader.sweep import sweep
from local_mode.rehearsal.stand_ins import StandIns, stand_ins
from local_mode.rehearsal.synthesis import Assembly, context_of, synthesise
from retrieval.golden import replay_golden
from stores.search_engine import connect
from tests.rehearsal.nights import World, world_of

KILLS_OF_A_NIGHT = 3
"""A task that dies is tried three times: now and then all of them are hit, and the night itself must be run again."""
TRIES = 6
"""Runs until a night must have published; the last one is left alone."""
ALONE_AFTER = 3
"""Runs of a night that are killed."""
GONE_ON_WITH = 0.5
"""Share of failed nights that are gone on with where they stopped; of the others the next night begins anew."""


@dataclass
class Soak:
    """What the kills did."""

    kills: Counter[str] = field(default_factory=Counter)
    """By step."""
    nights: int = 0
    """That have published in the end."""
    failed: Counter[str] = field(default_factory=Counter)
    """Runs that failed for a kill, by the code that people were told."""
    torn: list[str] = field(default_factory=list)
    """States that should not exist; empty, or the promise is broken."""
    swept: int = 0
    """Indexes that no publication named, in the end."""
    orphans: list[str] = field(default_factory=list)
    """Indexes that no publication names, after the sweep."""
    seconds_of_a_night: float = 0.0


def soak(world: World, search_url: str, kills: int, seed: int = 0, seconds_of_a_night: float = 0.0) -> Soak:
    """Kill `kills` times in as many nights as it takes; each must publish in the end.

    `seconds_of_a_night`: over which the moments are drawn; 0: as long as a first night takes, which is left alone.
    """
    draw, result = random.Random(seed), Soak(seconds_of_a_night=seconds_of_a_night)
    if not seconds_of_a_night:
        world.day()
        begun = time.monotonic()
        world.published()
        result.seconds_of_a_night = round(time.monotonic() - begun, 1)
    while result.kills.total() < kills:
        world.day(60 + result.nights)
        _night(world, search_url, result, draw, kills)
        result.nights += 1
    _look_for_orphans(world, search_url, result)
    return result


def _night(world: World, search_url: str, result: Soak, draw: random.Random, kills: int) -> None:
    """One night, killed and run again until it has published and ended well."""
    before, told = _serving(world), {}
    for run in range(TRIES):
        left = kills - result.kills.total() if run < ALONE_AFTER else 0
        with _killer(world, search_url, result, draw, min(KILLS_OF_A_NIGHT, left)):
            ended = world.run(**told)
        inspect(world, search_url, result, f"run {run} of a night")
        if ended.status == "SUCCEEDED":
            break
        result.failed[ended.error] += 1
        told = _gone_on_with(world, draw, before)
    else:
        result.torn.append(f"a night did not end well in {TRIES} runs")
    if _serving(world) == before:
        result.torn.append(f"a night ended well, and {before} still serves")
    lease = world.store.lease()
    if lease is None or not lease.released:
        result.torn.append(f"the lease is held after a night: {lease}")


def _serving(world: World) -> str:
    current = world.releases.current()
    return current.publication.id if current else ""


def _gone_on_with(world: World, draw: random.Random, before: str) -> dict[str, str]:
    """How it goes on: where it stopped, as an operator does, or as a new night; behind its publication, there."""
    night = world.store.ids()[-1]
    outcome = world.store.find(night, NightOutcome)
    if _serving(world) != before:
        return {"begin": Step.BACKFILL, "night": night}
    if outcome is not None and outcome.step in set(Step) and draw.random() < GONE_ON_WITH:
        return {"begin": outcome.step, "night": night}
    return {}


@contextmanager
def _killer(world: World, search_url: str, result: Soak, draw: random.Random, kills: int) -> Iterator[None]:
    """While this runs, what runs is killed at so many moments."""
    over = threading.Event()
    moments = sorted(draw.uniform(0.0, result.seconds_of_a_night) for _ in range(kills))

    def kill() -> None:
        begun = time.monotonic()
        for moment in moments:
            if over.wait(max(0.0, begun + moment - time.monotonic())):
                return
            while not (step := world.faults.kill_any(draw)):  # between two states nothing runs
                if over.wait(0.05):
                    return
            result.kills[step] += 1
            inspect(world, search_url, result, f"{moment:.2f} s, {step}")

    thread = threading.Thread(target=kill, name="killer")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def inspect(world: World, search_url: str, result: Soak, point: str) -> None:
    """What serves opens whole and answers, and its index is final, complete and of its release."""
    if (current := world.releases.current()) is None:
        return
    publication = current.publication
    try:
        replay_golden(world.releases.open(publication.release))
        manifest = world.releases.manifest(publication.release)
    except TandemError as error:
        result.torn.append(f"after {point}: {error}")
        return
    with closing(connect(search_url, timeout_seconds=60)) as client:
        named = [index for index in own_indexes(client) if index.name == publication.index]
        if not named or not named[0].final or named[0].digest != manifest.digest:
            result.torn.append(f"after {point}: {publication.id} names {publication.index}: {named}")
        elif (count := client.count(index=publication.index)["count"]) != manifest.n_items:
            result.torn.append(f"after {point}: {publication.index} holds {count} of {manifest.n_items}")


def _look_for_orphans(world: World, search_url: str, result: Soak) -> None:
    """Sweep what is not published, and look whether anything else is left of this world's releases."""
    with closing(connect(search_url, timeout_seconds=60)) as client:
        result.swept = len(sweep(world.releases, client, delete=True, young_seconds=0).doomed)
        named, known = {publication.index for publication in world.releases.kept()}, world.releases.ids()
        left = [index.name for index in own_indexes(client) if index.release in known]
    result.orphans = [name for name in left if name not in named]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tandem-night-soak-") as name:
        folder = Path(name)
        bundle, assembly = _built(folder)
        with stand_ins(folder) as standing:
            result = _soak(assembly, standing, bundle, folder, options)
    figures: dict[str, Any] = vars(result)
    print(json.dumps(figures, indent=None if options.json else 2))
    return 1 if result.torn or result.orphans else 0


def _built(folder: Path) -> tuple[Path, Assembly]:
    from cli.nightly_rehearsal import built

    serving, night, jobs = built()
    return night, synthesise(folder / "cdk", context_of(serving, night, jobs, effort="quick"))


def _soak(assembly: Assembly, standing: StandIns, bundle: Path, folder: Path, options: argparse.Namespace) -> Soak:
    with world_of(assembly, standing, bundle, folder / "world") as world:
        return soak(world, standing.search_url, options.kills, options.seed)


if __name__ == "__main__":
    sys.exit(main())
