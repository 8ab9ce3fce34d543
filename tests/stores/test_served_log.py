"""Logs of what was served: read back as it was, on disk before anybody is told so, named where that cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import stores.delivery_stream
from benchmarks.exposure_soak import Soak, inspect
from contracts.errors import LogUnavailable
from contracts.served import encode_served, exposure_key
from stores.delivery_stream import firehose_client
from stores.served_log import FirehoseServedLog, LocalServedLog
from tests.stores.served_rows import NOON, exposure, exposures_in, slate, slates_in

EXPOSURES = [
    exposure("u1", country="de", model="als", degraded=True, sequence=7),
    exposure('é\n\u2028"\U0001f3b5', variation_id="b"),
    exposure("anonymous:s", NOON + 3_600),
]
SLATES = [
    slate("s1", teams=[0, 1], variants=["tandem.model:b", "tandem.rerank:control"], degraded=["index"], country="fr"),
    slate("s2", NOON + 86_400, items=[], scores=[], propensities=[]),
]


@pytest.mark.parametrize("kind", ["exposures", "slates"])
def test_rows_are_read_back_as_they_were_from_files(kind: str, tmp_path: Path) -> None:
    rows: Any = {"exposures": EXPOSURES, "slates": SLATES}[kind]
    with closing(LocalServedLog(tmp_path / kind)) as log:
        assert log.append(rows) == [""] * len(rows)
        assert log.append([]) == []
    read: Any = {"exposures": exposures_in, "slates": slates_in}[kind]
    assert read(tmp_path / kind) == rows


def test_a_file_is_of_the_hour_of_serving_and_of_a_process(tmp_path: Path) -> None:
    with closing(LocalServedLog(tmp_path / "exposures")) as log:
        log.append([*EXPOSURES, exposure("u9", NOON + 86_399)])
    names = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*.jsonl"))]
    assert [name.split(f"-{os.getpid()}-")[0] for name in names] == [
        "exposures/2026-11-20/12",
        "exposures/2026-11-20/13",
        "exposures/2026-11-21/11",
    ]


def test_the_disk_has_it_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    with closing(LocalServedLog(tmp_path / "exposures")) as log:
        log.append(EXPOSURES[:1])
        assert synced[-1] == len(encode_served(EXPOSURES[0])) + 1
        log.append(EXPOSURES[1:2])
    assert synced[-1] == sum(len(encode_served(one)) + 1 for one in EXPOSURES[:2])


def test_a_folder_that_cannot_be_is_named_with_its_rows(tmp_path: Path) -> None:
    (tmp_path / "slates").write_text("a file")
    with closing(LocalServedLog(tmp_path / "slates")) as log, pytest.raises(LogUnavailable, match="no file of slates"):
        log.append(SLATES)


# --- Firehose ----------------------------------------------------------------------------------------------------


@pytest.fixture
def stubbed(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[FirehoseServedLog, Any]]:
    """A log over a client that sends nothing and holds every call against what is expected next."""
    from botocore.stub import Stubber

    monkeypatch.setattr(stores.delivery_stream, "FIRST_WAIT_SECONDS", 0.001)
    with closing(firehose_client(endpoint_url=moto_endpoint)) as client, Stubber(client) as stubber:
        yield FirehoseServedLog("exposures", client), stubber
        stubber.assert_no_pending_responses()


def test_only_what_failed_is_sent_to_firehose_again(stubbed: tuple[FirehoseServedLog, Any]) -> None:
    log, stubber = stubbed
    for sent, codes in ((EXPOSURES, ["", "Busy", ""]), (EXPOSURES[1:2], [""])):
        stubber.add_response(
            "put_record_batch",
            {
                "FailedPutCount": sum(map(bool, codes)),
                "RequestResponses": [{"ErrorCode": code} if code else {"RecordId": "r"} for code in codes],
            },
            {
                "DeliveryStreamName": "exposures",
                "Records": [{"Data": encode_served(row) + b"\n"} for row in sent],
            },
        )
    assert log.append(EXPOSURES) == ["", "", ""]


def test_a_stream_that_refuses_is_named_with_its_settings(stubbed: tuple[FirehoseServedLog, Any]) -> None:
    log, stubber = stubbed
    stubber.add_client_error("put_record_batch", "ResourceNotFoundException", "no", 400)
    with pytest.raises(LogUnavailable, match="the stream 'exposures' took no row") as raised:
        log.append(EXPOSURES)
    assert "TANDEM_EXPOSURES_STREAM or TANDEM_SLATES_STREAM" in raised.value.fix


def test_slates_reach_the_bucket_as_lines(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from boto3.session import Session

    monkeypatch.setenv("AWS_ENDPOINT_URL_FIREHOSE", moto_endpoint)
    name = f"slates-{uuid4().hex}"
    with (
        closing(Session().client("s3", endpoint_url=moto_endpoint)) as s3,
        closing(firehose_client(endpoint_url=moto_endpoint)) as client,
        closing(FirehoseServedLog(name)) as log,
    ):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": s3.meta.region_name})
        client.create_delivery_stream(
            DeliveryStreamName=name,
            ExtendedS3DestinationConfiguration={
                "RoleARN": "arn:aws:iam::123456789012:role/deliver",
                "BucketARN": f"arn:aws:s3:::{name}",
                "Prefix": "slates/",
            },
        )
        log.connect()
        assert log.append(SLATES) == ["", ""]
        log.reconnect()
        (entry,) = s3.list_objects_v2(Bucket=name)["Contents"]
        s3.download_file(name, entry["Key"], str(tmp_path / "delivered.jsonl"))
    assert slates_in(tmp_path) == SLATES


# --- a sample of `benchmarks.exposure_soak`, and that it would see what it is there to see -------------------------


def test_exposures_that_were_acknowledged_survive_kill_9() -> None:
    words = ["--kills", "8", "--between-kills", "0.05", "--json"]
    done = subprocess.run([sys.executable, "-m", "benchmarks.exposure_soak", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["kills"] == 8
    assert figures["acknowledged"] > 20
    assert not any(figures[what] for what in ("lost", "strange", "failed"))


def test_the_soak_sees_what_is_lost_what_is_torn_and_what_nobody_sent(tmp_path: Path) -> None:
    folder = tmp_path / "exposures"
    with closing(LocalServedLog(folder)) as log:
        log.append([EXPOSURES[0], EXPOSURES[0], EXPOSURES[2]])
    (path,) = (path for path in folder.rglob("12-*.jsonl"))
    with path.open("ab") as file:
        file.write(b'{"user_id":"torn')
    keys = {exposure_key(one) for one in EXPOSURES}
    result = Soak()
    inspect(folder, keys - {exposure_key(EXPOSURES[2])}, {exposure_key(EXPOSURES[1])}, result)
    assert (result.rows, result.repeated, result.unfinished) == (3, 1, 1)
    assert result.lost == [exposure_key(EXPOSURES[1])]
    assert result.strange == [exposure_key(EXPOSURES[2])]
    with path.open("ab") as file:
        file.write(b"\n" + encode_served(EXPOSURES[1]) + b"\n")
    result = Soak()
    inspect(folder, keys, keys, result)
    assert (result.lost, len(result.strange)) == ([], 1)  # a line that is none
