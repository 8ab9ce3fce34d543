"""The envelope that decides: what takes over, what is refused and leaves the last good one, and what is asked last."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import ExperimentsUnavailable
from contracts.experiment import ENVELOPE_MAX_AGE_SECONDS, NOBODY
from experiments.envelope import seal
from lambda_user_tower.experimenting import Experiments
from lambda_user_tower.logs import Log
from lambda_user_tower.looks import Rhythm
from lambda_user_tower.settings import LambdaSettings
from lambda_user_tower.storage import Storage
from stores.experiments import LocalExperiments
from stores.experiments_key import local_key
from tests.lambda_user_tower.conftest import post
from tests.lambda_user_tower.experiment_worlds import everybody, payload_of, push, put, sealed

WAIT_SECONDS = 10.0


def following(home: Path, **changes: Any) -> Experiments:
    settings = LambdaSettings(home=home, **({"experiments_check_seconds": 0.0} | changes))
    return Experiments(Storage(settings), settings, Log("INFO"))


def places(experiments: Experiments) -> int | None:
    """What the variant of somebody says of the places, after a look that began now."""
    experiments.follow()
    for _ in range(2):  # the first may be one that was under way, and has read already
        experiments.look_now(WAIT_SECONDS)
    return experiments.assigned(lambda: {"id": "u", "events": 0}, time.time()).treatment.num_items


def sized(number: int) -> dict[str, Any]:
    return everybody({"num_items": number})


def test_where_nobody_ever_pushed_there_are_none(tmp_path: Path) -> None:
    assert not following(tmp_path).on


def test_who_begins_to_experiment_while_the_process_runs_is_noticed(tmp_path: Path) -> None:
    experiments = following(tmp_path)
    assert not experiments.on
    push(tmp_path, one=sized(3))
    assert experiments.on
    assert places(experiments) == 3


def test_the_next_envelope_takes_over(tmp_path: Path) -> None:
    push(tmp_path, 1, one=sized(3))
    experiments = following(tmp_path)
    assert places(experiments) == 3
    push(tmp_path, 2, one=sized(4))
    assert places(experiments) == 4
    push(tmp_path, 3)
    assert places(experiments) is None, "all experiments ended"


def older(home: Path) -> bytes:
    return sealed(home, payload_of(one=sized(9)), sequence=4)


def of_another_key(home: Path) -> bytes:
    return seal(payload_of(one=sized(9)), 6, int(time.time()), b"k" * 32)


def altered(home: Path) -> bytes:
    return sealed(home, payload_of(one=sized(9)), sequence=6).replace(b'\\"num_items\\":9', b'\\"num_items\\":8')


def too_old(home: Path) -> bytes:
    return sealed(home, payload_of(one=sized(9)), 6, age_seconds=ENVELOPE_MAX_AGE_SECONDS + 60)


REFUSED: dict[str, Callable[[Path], bytes]] = {
    "older": older,
    "another key": of_another_key,
    "altered": altered,
    "too old": too_old,
    "nothing": lambda _: b"",
    "no JSON": lambda _: b"{" * 100_000,
    "no envelope": lambda _: b'{"features": {}}',
    "no UTF-8": lambda _: b"\xff" * 100,
    "10 MB": lambda _: b'{"payload": "' + b"x" * 10_000_000 + b'"}',
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_leaves_the_last_good_one_deciding_and_is_logged_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    push(tmp_path, 5, one=sized(3))
    experiments = following(tmp_path)
    assert places(experiments) == 3
    put(tmp_path, REFUSED[what](tmp_path))
    for _ in range(3):
        assert places(experiments) == 3
    assert capsys.readouterr().err.count("experiments-refused") == 1
    put(tmp_path, sealed(tmp_path, payload_of(one=sized(4)), 7))
    assert places(experiments) == 4, "and the next good one takes over"


def test_a_store_that_fails_leaves_the_last_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(tmp_path, one=sized(3))
    experiments = following(tmp_path)
    assert places(experiments) == 3

    def away(_: LocalExperiments) -> None:
        raise ExperimentsUnavailable("the store is away.")

    monkeypatch.setattr(LocalExperiments, "read", away)
    assert places(experiments) == 3
    assert experiments.degraded(time.time()) == ()


def test_a_key_that_was_exchanged_is_read_anew(tmp_path: Path) -> None:
    push(tmp_path, 1, one=sized(3))
    experiments = following(tmp_path)
    assert places(experiments) == 3
    (tmp_path / "experiments" / "key").write_bytes(b"n" * 32)
    assert local_key(tmp_path) == b"n" * 32
    push(tmp_path, 2, one=sized(4))
    places(experiments)
    assert places(experiments) == 4


def test_the_packaged_envelope_is_asked_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = tmp_path / "packaged.json"
    packaged.write_bytes(sealed(tmp_path, payload_of(one=sized(7)), 3))
    told = {"experiments_packaged": packaged}
    assert places(following(tmp_path, **told)) == 7, "nothing is in the store"
    experiments = following(tmp_path, **told)
    put(tmp_path, b"damaged")
    assert places(experiments) == 7
    push(tmp_path, 2, one=sized(3))
    assert places(experiments) == 7, "older than the packaged one"
    push(tmp_path, 4, one=sized(4))
    assert places(experiments) == 4
    assert places(following(tmp_path, **told)) == 4, "the store goes before the package"

    def away(_: LocalExperiments) -> None:
        raise ExperimentsUnavailable("the store is away.")

    monkeypatch.setattr(LocalExperiments, "read", away)
    assert places(following(tmp_path, **told)) == 7


def test_with_nothing_at_all_everybody_is_control(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    experiments = following(tmp_path)
    assert experiments.on
    assert places(experiments) is None
    assert experiments.assigned(lambda: {"id": "u"}, time.time()) is NOBODY
    assert experiments.degraded(time.time()) == ()


def test_a_process_that_begins_with_what_is_too_old_says_so(tmp_path: Path) -> None:
    put(tmp_path, sealed(tmp_path, payload_of(one=sized(3)), 1, age_seconds=ENVELOPE_MAX_AGE_SECONDS + 60))
    experiments = following(tmp_path)
    assert places(experiments) is None
    assert experiments.degraded(time.time()) == ("experiments_old",)
    push(tmp_path, 2, one=sized(4))
    assert places(experiments) == 4
    assert experiments.degraded(time.time()) == ()


def test_only_the_first_request_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(tmp_path, one=sized(3))
    experiments = following(tmp_path)
    assert places(experiments) == 3
    read, hanging = LocalExperiments.read, threading.Event()

    def hangs(store: LocalExperiments) -> Any:
        hanging.wait(WAIT_SECONDS)
        return read(store)

    monkeypatch.setattr(LocalExperiments, "read", hangs)
    experiments.looks.forget()
    began = time.monotonic()
    experiments.follow()
    assert experiments.assigned(lambda: {"id": "u", "events": 0}, time.time()).treatment.num_items == 3
    assert time.monotonic() - began < WAIT_SECONDS / 2
    hanging.set()
    experiments.looks.close()


def test_looks_of_many_processes_come_apart() -> None:
    spans = [Rhythm(60.0, 600.0, 0.2).next_seconds() for _ in range(300)]
    assert min(spans) >= 48
    assert max(spans) <= 72
    assert len(set(spans)) > 290
    assert max(spans) - min(spans) > 15
    assert Rhythm(60.0, 600.0).next_seconds() == 60.0


PROGRAM = """
import json, sys
from lambda_user_tower import handler
response = handler.handler(json.loads(sys.argv[1]))
names = ("growthbook", "experiments.running", "experiments.payload", "stores.experiments", "asyncio", "hmac")
print(json.dumps([json.loads(response["body"])["why"]["variant"], [name for name in names if name in sys.modules]]))
"""


def test_a_process_without_experiments_never_imports_growthbook(home: Path, tmp_path: Path) -> None:
    def variant_and_modules() -> Any:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(post({"user_id": "warm"}))],
            env=os.environ | {"TANDEM_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    assert variant_and_modules() == [None, []]
    push(tmp_path, one=everybody({"num_items": 3}))
    variant, modules = variant_and_modules()
    assert variant.startswith("models:")
    assert "growthbook" in modules
