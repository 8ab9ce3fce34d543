"""A sample of `benchmarks.profile_soak`, and that it would see what it is there to see."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.profile_soak import WRITERS, Plan, Soak, Told, inspect, send, write
from contracts.profile import HistoryEvent
from stores.profiles import SqliteProfiles


def test_killed_writers_lose_nothing_and_count_nothing_twice():
    words = ["--sqlite-events", "60", "--dynamodb-events", "0", "--kills", "6", "--between-kills", "0.05", "--json"]
    done = subprocess.run([sys.executable, "-m", "benchmarks.profile_soak", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)["sqlite"]
    assert figures["events"] == WRITERS * 60
    assert not any(figures[what] for what in ("lost", "counted_twice", "wrong_history", "failed"))


@pytest.fixture
def plan(tmp_path):
    plan = Plan(str(tmp_path / "profiles.sqlite"), events=5)
    for writer in range(WRITERS):
        write(plan, writer, tmp_path / f"notes-{writer}")
    return plan


def inspected(plan, folder):
    result = Soak(0)
    inspect(plan, folder, result)
    return result


def test_it_finds_a_whole_store_right(plan, tmp_path):
    assert not inspected(plan, tmp_path).broken


def test_it_sees_an_event_that_counts_twice(plan, tmp_path):
    told = plan.own(0)[0]
    with SqliteProfiles(tmp_path / "profiles.sqlite") as profiles:
        send(profiles, [Told("another id", told.user_id, told.event)])
    found = inspected(plan, tmp_path)
    assert found.counted_twice
    assert found.wrong_history
    assert not found.lost


def test_it_sees_an_event_that_is_lost_and_one_that_is_another(plan, tmp_path):
    (tmp_path / "profiles.sqlite").unlink()
    with SqliteProfiles(tmp_path / "profiles.sqlite") as profiles:
        for writer in range(WRITERS):
            send(profiles, plan.own(writer)[1:])
        send(profiles, [Told("strange", plan.own(0)[0].user_id, HistoryEvent("strange", 1))])
    found = inspected(plan, tmp_path)
    assert "e0-0" in found.lost
    assert found.wrong_history
    assert not found.counted_twice
