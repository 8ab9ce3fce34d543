"""Steps of a night in processes that are killed around a request: run again, it ends as if nothing had happened.

A kill comes before a request of S3 or of the engine is sent, or after its answer has come and before anybody sees it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from contracts.release import Verdict
from index_loader.indexes import own_indexes
from tests.index_loader.night_world import NightWorld

KILLED = -9

_STEP = """
import os, signal, sys
import msgspec, urllib3
from index_loader.night import handler
function, event, left, late, among = sys.argv[1], msgspec.json.decode(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]
send = urllib3.HTTPConnectionPool.urlopen

def killing(pool, method, url, *arguments, **more):
    global left
    left -= among in f"{method} {url}"
    if left == 0 and late == "late":
        send(pool, method, url, *arguments, **more)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return send(pool, method, url, *arguments, **more)

urllib3.HTTPConnectionPool.urlopen = killing
getattr(handler, function)(event)
"""


def run_and_kill(world: NightWorld, function: str, request: int, *, late: bool, among: str = "", **more: Any) -> int:
    """Run a step in a process of its own that is killed at its n-th request (`among` those); how it ended."""
    event = msgspec.json.encode({"night": world.told["night"], "token": world.told["token"], **more})
    step = subprocess.run(
        [sys.executable, "-c", _STEP, function, event, str(request), "late" if late else "early", among],
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
        capture_output=True,
    )
    assert step.returncode in (0, KILLED), step.stderr
    return step.returncode


STEPS: list[tuple[str, dict[str, Any], int]] = [
    ("seal", {}, 16),
    ("prepare", {}, 16),
    ("load", {"part": 0}, 12),
    ("verify", {}, 16),
    ("publish", {}, 14),
]
"""Function, event, and about how many requests it makes."""


def test_a_night_whose_steps_are_killed_publishes_one_whole_release(indexed_world: NightWorld, client: Any) -> None:
    draw, world, killed = random.Random(20261126), indexed_world, 0
    world.begin()
    world.leave_snapshot()
    world.leave_model()
    for function, more, requests in STEPS:
        if function == "prepare":
            world.leave_gate(Verdict.PASS)
        if function == "verify":
            for part in (1, 2):
                world.call("load", part=part)
            task = world.call("merge")["task"]
            while not world.call("merged", task=task)["done"]:
                pass
        ended = run_and_kill(world, function, draw.randint(requests // 2, requests), late=draw.random() < 0.5, **more)
        killed += ended == KILLED
        world.begin_process()
        world.call(function, **more)
    assert killed >= 3
    publication = world.releases.serving().publication
    assert (publication.night, publication.verification["count"]) == (world.night, 200)
    assert world.releases.ids() == [publication.release]
    assert [index.name for index in own_indexes(client) if index.release == publication.release] == [publication.index]
    world.call("finish", outcome="published")


def test_a_pointer_that_was_moved_by_a_killed_step_is_not_moved_again(world: NightWorld) -> None:
    world.begin()
    world.leave_snapshot()
    world.call("seal", model=world.leave_model())
    world.leave_gate(Verdict.PASS)
    world.call("verify")
    pointer: dict[str, Any] = {"request": 1, "among": f"PUT /{world.settings.releases_bucket}/current.json"}
    assert run_and_kill(world, "publish", late=False, **pointer) == KILLED
    assert world.releases.current() is None
    assert run_and_kill(world, "publish", late=True, **pointer) == KILLED
    serving = world.releases.serving()
    world.begin_process()
    world.call("publish")
    assert world.releases.serving() == serving
    assert serving.publication.night == world.night
