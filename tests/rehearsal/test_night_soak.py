"""A short sample of `benchmarks/night_soak.py`: a night whose steps are killed with SIGKILL ends right all the same."""

from __future__ import annotations

from pathlib import Path

from benchmarks.night_soak import soak
from local_mode.rehearsal.stand_ins import StandIns
from local_mode.rehearsal.synthesis import Assembly
from tests.rehearsal.nights import world_of

SECONDS = 12.0
"""From the beginning into the training; a kill that comes too late in one run comes in the next."""


def test_killed_steps_tear_nothing_and_the_night_is_published(
    assembly: Assembly, standing: StandIns, night_bundle: Path, tmp_path: Path
) -> None:
    with world_of(assembly, standing, night_bundle, tmp_path) as world:
        result = soak(world, standing.search_url, kills=2, seed=3, seconds_of_a_night=SECONDS)
        told = [message["Subject"] for message in world.nights.read_mail()]
    assert (result.torn, result.orphans) == ([], [])
    assert result.kills.total() >= 2
    assert result.nights >= 1
    assert len(told) == result.failed.total()  # people are told of every run that fails
