"""Exposures and slates of one process: once, in time, and what becomes of them where the log does not take them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from contracts.deadline import Deadline
from contracts.errors import LogUnavailable
from contracts.served import Exposure, ServedSlate
from lambda_user_tower import serving_log
from lambda_user_tower.logs import Log
from lambda_user_tower.serving_log import ServingLog, is_in_share
from tests.toy_world import NOW

DAY = 86_400
WAIT_SECONDS = 10.0


class Kept:
    """A log in memory that can be slow, away, or take only some rows."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.calls = 0
        self.away = False
        self.refused: set[str] = set()
        self.open = threading.Event()
        self.open.set()

    def append(self, rows: Sequence[Any]) -> list[str]:
        self.calls += 1
        self.open.wait(WAIT_SECONDS)
        if self.away:
            raise LogUnavailable("the log is away.")
        reasons = ["full" if row.user_id in self.refused else "" for row in rows]
        self.rows += [row for row, reason in zip(rows, reasons, strict=True) if not reason]
        return reasons

    def close(self) -> None: ...


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def logs(kept: Kept) -> ServingLog:
    return ServingLog(lambda: kept, lambda: kept, 1.0, Log("ERROR"))


def exposure(user: str = "u", timestamp: int = NOW, experiment: str = "e", variation: str = "v") -> Exposure:
    return Exposure(
        user_id=user,
        timestamp=timestamp,
        experiment_id=experiment,
        variation_id=variation,
        route="model",
        release="r",
    )


def slate(number: int) -> ServedSlate:
    return ServedSlate(
        recommendation_id=f"{number:032x}",
        user_id=f"u{number}",
        timestamp=NOW,
        route="model",
        model="als",
        release="r",
        publication="p",
        items=["a"],
        scores=[1.0],
        propensities=[1.0],
    )


def ids(kept: Kept) -> list[int]:
    return [int(row.recommendation_id, 16) for row in kept.rows]


def enough() -> Deadline:
    return Deadline(60_000)


def until(condition: Any) -> None:
    ends = time.monotonic() + WAIT_SECONDS
    while not condition() and time.monotonic() < ends:
        time.sleep(0.005)
    assert condition()


# exposures


def test_one_is_written_once_a_day_for_each_user_experiment_and_variation(kept: Kept, logs: ServingLog) -> None:
    day = NOW - NOW % DAY
    several = [
        exposure(timestamp=day),
        exposure("another", day),
        exposure(timestamp=day, experiment="f"),
        exposure(timestamp=day, variation="w"),
        exposure(timestamp=day + DAY),
    ]
    for one in several:
        assert logs.exposed([one], enough())
        assert logs.exposed([one], enough())
    assert logs.exposed([exposure(timestamp=day + DAY - 1)], enough())
    assert kept.rows == several


def test_only_what_is_new_is_written(kept: Kept, logs: ServingLog) -> None:
    assert logs.exposed([exposure()], enough())
    assert logs.exposed([exposure(), exposure(experiment="f")], enough())
    assert [row.experiment_id for row in kept.rows] == ["e", "f"]
    assert kept.calls == 2


def test_what_was_not_taken_is_tried_again(kept: Kept, logs: ServingLog) -> None:
    kept.away = True
    assert not logs.exposed([exposure()], enough())
    kept.away = False
    assert logs.exposed([exposure()], enough())
    kept.refused = {"b"}
    assert not logs.exposed([exposure("a"), exposure("b")], enough())
    kept.refused = set()
    assert logs.exposed([exposure("a"), exposure("b")], enough())
    assert [row.user_id for row in kept.rows] == ["u", "a", "b"]


def test_an_answer_waits_for_its_share_and_a_late_write_counts_all_the_same(kept: Kept, logs: ServingLog) -> None:
    kept.open.clear()
    began = time.monotonic()
    assert not logs.exposed([exposure()], Deadline(0))
    assert serving_log.LEAST_PATIENCE_MS / 1_000 <= time.monotonic() - began < WAIT_SECONDS / 2
    kept.open.set()
    until(lambda: kept.rows)
    assert logs.exposed([exposure()], Deadline(0))
    assert len(kept.rows) == 1


def test_what_is_remembered_is_bounded(kept: Kept, logs: ServingLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_log, "REMEMBERED", 3)
    for user in ("a", "b", "c", "a", "d"):
        logs.exposed([exposure(user)], enough())
    assert [row.user_id for row in kept.rows] == ["a", "b", "c", "d"]
    logs.exposed([exposure("a")], enough())
    logs.exposed([exposure("b")], enough())
    assert [row.user_id for row in kept.rows] == ["a", "b", "c", "d", "b"], "b was asked for least lately"


# slates


def test_slates_are_written_together_and_beside_the_requests(
    kept: Kept, logs: ServingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_log, "WRITE_SECONDS", 0.05)
    for number in range(5):
        logs.served(slate(number))
    assert kept.rows == []
    until(lambda: len(kept.rows) == 5)
    assert kept.calls == 1
    logs.served(slate(5))
    until(lambda: len(kept.rows) == 6)
    assert ids(kept) == list(range(6))


def test_many_are_not_waited_with_and_the_end_writes_the_rest(kept: Kept, logs: ServingLog) -> None:
    for number in range(serving_log.WRITE_ROWS):
        logs.served(slate(number))
    until(lambda: len(kept.rows) == serving_log.WRITE_ROWS)
    logs.served(slate(999))
    logs.close()
    assert ids(kept)[-1] == 999


def test_what_outlived_its_timer_is_written_before_the_answer_leaves(
    kept: Kept, logs: ServingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process was frozen after one answer, and the next request thaws it."""
    moment = time.time()
    monkeypatch.setattr("time.time", lambda: moment)
    logs.served(slate(1))
    moment += serving_log.FROZEN_SECONDS + 1
    logs.served(slate(2))
    assert ids(kept) == [1, 2]


def test_a_log_that_is_away_gets_them_later_in_their_order(
    kept: Kept, logs: ServingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_log, "WRITE_SECONDS", 0.02)
    kept.away = True
    logs.served(slate(1))
    until(lambda: kept.calls >= 2)
    logs.served(slate(2))
    kept.away = False
    until(lambda: len(kept.rows) == 2)
    assert ids(kept) == [1, 2]


def test_too_many_drop_the_oldest_and_it_is_said(
    kept: Kept, logs: ServingLog, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serving_log, "WAITING_ROWS", 10)
    for number in range(25):
        logs.served(slate(number))
    logs.close()
    assert ids(kept) == list(range(15, 25))
    assert '"slates-dropped","number":15' in capsys.readouterr().err


def test_the_share_is_drawn_by_the_recommendation_id() -> None:
    names = [f"{number:032x}" for number in range(4_000)]
    for share in (0.0, 0.1, 0.5, 1.0):
        taken = [is_in_share(name, share) for name in names]
        assert sum(taken) / len(taken) == pytest.approx(share, abs=0.03)
        assert taken == [is_in_share(name, share) for name in names]
    assert all(is_in_share(name, 0.5) for name in names if is_in_share(name, 0.1))


def test_threads_share_one(kept: Kept, logs: ServingLog) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 300):
            logs.served(slate(number))
            if number % 10 == 0:
                assert logs.exposed([exposure(f"u{number % 50}")], enough())

    threads = [threading.Thread(target=work, args=(start,)) for start in (1_000, 2_000, 3_000, 4_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logs.close()
    until(lambda: len({row.recommendation_id for row in list(kept.rows) if isinstance(row, ServedSlate)}) == 1_200)
    assert {row.user_id for row in kept.rows if isinstance(row, Exposure)} == {f"u{n}" for n in range(0, 50, 10)}
