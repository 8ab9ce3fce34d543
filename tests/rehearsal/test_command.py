"""`tandem aws rehearse-serving` as a person runs it, in a process and over servers of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_rehearsal_of_a_generated_world(serving_bundle: Path, tmp_path: Path) -> None:
    """Trains, fills the stand-ins by the steps of `tandem aws seed`, and walks: the command fails where it does not."""
    command = [sys.executable, "-m", "cli.main", "aws", "rehearse-serving", "--once", "--json", "--port", "0"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    before, events, after, item, found, hidden, gone, slate, known, left, stranger = told["steps"]
    assert {step["status"] for step in told["steps"]} == {200}
    assert all(step["command"].startswith("curl -s ") for step in told["steps"])
    assert all("http://127.0.0.1:" in step["command"] for step in told["steps"])
    assert before["answer"]["why"]["release"] == told["seeded"]["release"]
    assert told["seeded"]["publication"]["index"].startswith("items-")
    assert events["answer"]["counts"] == {"accepted": 3}
    assert after["answer"]["why"]["route"] == "cold_user"
    new = item["answer"]["item_id"]
    assert item["command"].startswith("curl -s -X PUT ")
    shown = [new in [one["item_id"] for one in step["answer"]["items"]] for step in (found, gone, slate)]
    assert shown == [True, False, False]
    assert hidden["answer"]["hidden"] is True
    assert (known["answer"]["why"]["route"], left["answer"]["status"]) == ("cold_user", "deleted")
    assert stranger["answer"]["why"]["route"] == "unknown"
    assert set(told["experiment"]["arms"].values()) == {"rehearsal:control", "rehearsal:short"}
    exposures, slates = told["experiment"]["checked"]
    assert exposures.startswith("12 exposures of 12 users")
    assert slates.startswith("24 slates are in their log, ")
