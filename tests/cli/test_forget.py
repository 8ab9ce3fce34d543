"""`tandem forget`: from everything on this machine, with a certificate, and a status that says whether it is done."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from batch_job.forget_places import one_at_a_time
from batch_job.recommend_folder import BatchFolder
from cli.main import app
from contracts.batch import BATCH_SUCCESS, BatchDone, BatchManifest, PartCounts
from contracts.errors import BatchMismatch, DatasetError, IdInvalid, StateBusy
from contracts.event import Event, encode_event
from contracts.profile import HistoryEvent
from stores.identities import SqliteIdentities
from stores.live_file import LIVE_FILE
from stores.profiles import SqliteProfiles
from stores.served_log import LocalServedLog
from tests.stores.served_rows import exposure, exposures_in, slate, slates_in

AT = 1_795_132_800


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With a user in log, profiles, a dataset and a batch."""
    log = tmp_path / "home" / "events" / "2026-11-20" / "00-1-x.jsonl"
    log.parent.mkdir(parents=True)
    events = [
        Event(event_id=f"e{n}", user_id=u, item_id="i", event_type="v", timestamp=AT, received_at=AT)
        for n, u in enumerate("aba")
    ]
    log.write_bytes(b"".join(encode_event(one) + b"\n" for one in events))
    for kind, rows in (("exposures", [exposure(u, AT) for u in "ab"]), ("slates", [slate("s", AT, user_id="a")])):
        with closing(LocalServedLog(tmp_path / "home" / kind)) as served:
            served.append(rows)
    with SqliteProfiles(tmp_path / "home" / "profiles.sqlite") as profiles:
        profiles.append("a", [HistoryEvent("i", AT)])
    data = tmp_path / "data"
    data.mkdir()
    (data / "schema.toml").write_text("version = 1\n")
    (data / "events.csv").write_text(f"user_id,item_id,timestamp\na,i,{AT}\nb,i,{AT}\n")
    a_batch(tmp_path / "batch")
    return tmp_path / "home"


def a_batch(out: Path) -> None:
    folder = BatchFolder(out)
    manifest = BatchManifest(
        publication="p",
        release="r",
        served_model="als",
        users="all",
        num_items=2,
        settings={},
        moment=AT,
        listed=2,
        anonymous=0,
        parts=1,
    )
    rows = [(user, rank, f"i{rank}", 1.0, "model", "als", False) for user in "ab" for rank in (1, 2)]
    names = ["user_id", "rank", "item_id", "score", "route", "model", "explored"]
    counts = PartCounts(users=2, rows=4, routes={"model": 2})
    with folder.held():
        folder.begin(manifest)
        folder.write_part(0, pl.DataFrame(rows, schema=names, orient="row"), counts)
        folder.finish(BatchDone(manifest=manifest, counts=counts, parts_made=1))


def tandem(home: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["forget", "--home", str(home), *words])


def removed(certificate: dict[str, Any]) -> dict[str, int]:
    return {one["kind"]: one["rows"] for one in certificate["removed"]}


def test_a_user_is_forgotten_with_a_certificate(home: Path, tmp_path: Path) -> None:
    places = ("--dataset", str(tmp_path / "data"), "--batch", str(tmp_path / "batch"))
    done = tandem(home, "a", "--certificate", str(tmp_path / "a.json"), *places)
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "a.json").read_text())
    assert removed(told) == {"event log": 2, "exposures": 1, "slates": 1, "dataset": 1, "batch": 2}
    assert [one.user_id for one in exposures_in(home / "exposures")] == ["b"]
    assert not slates_in(home / "slates")
    assert (told["user_id"], told["profile"], told["pending"]) == ("a", True, [])
    assert {"Removed", "What is left, and until when"} <= {line.strip() for line in done.stdout.splitlines()}
    assert (tmp_path / "data" / "events.csv").read_text() == f"user_id,item_id,timestamp\nb,i,{AT}\n"
    finished = json.loads((tmp_path / "batch" / BATCH_SUCCESS).read_text())["counts"]
    assert (finished["users"], finished["rows"], finished["left"]) == (1, 2, 1)
    with SqliteIdentities(home / LIVE_FILE) as identities:
        assert identities.tombstone("a") is not None


def test_the_certificate_goes_to_stdout_where_that_is_asked_for(home: Path) -> None:
    for words in (("--certificate", "-"), ("--certificate", "-", "--json")):
        done = tandem(home, "b", *words)
        assert (done.exit_code, removed(json.loads(done.stdout))) == (0, {"event log": 1, "exposures": 1, "slates": 0})


def test_what_is_pending_ends_with_one_and_is_told(home: Path, tmp_path: Path) -> None:
    (home / "events" / "2026-11-20" / "cut").write_bytes(b"PAR1 and no more")
    done = tandem(home, "a", "--certificate", str(tmp_path / "a.json"))
    assert done.exit_code == 1
    assert "Pending: " in done.stderr
    assert "is damaged" in json.loads((tmp_path / "a.json").read_text())["pending"][0]


def test_what_is_refused(home: Path, tmp_path: Path) -> None:
    certificate = ("--certificate", str(tmp_path / "a.json"))
    assert isinstance(tandem(home, "a", *certificate, "--dataset", str(tmp_path / "none")).exception, DatasetError)
    assert isinstance(tandem(home, "x" * 200, *certificate).exception, IdInvalid)
    (tmp_path / "batch" / BATCH_SUCCESS).unlink()
    unfinished = tandem(home, "a", *certificate, "--batch", str(tmp_path / "batch"))
    assert isinstance(unfinished.exception, BatchMismatch)
    with one_at_a_time(home):
        assert isinstance(tandem(home, "a", *certificate).exception, StateBusy)
