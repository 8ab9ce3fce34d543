"""A deployment in moto for the light steps of a night: two buckets, one small dataset, and what the jobs would leave.

A step runs through the handler, in a process that begins now where a test asks for that. `leave` writes what a job of
the night would have written.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest

import stores.s3_bucket
from contracts.fitted import FittedModel, to_bundle
from contracts.night import Decision, SealedRelease, Step, StepVerdict, dataset_listing, snapshot_listing
from contracts.night_settings import NightSettings
from contracts.release import GateCheck, GateReport, Verdict
from index_loader.night import handler
from local_mode.dynamodb_local.server import create_live_table
from stores.nights import Nights
from stores.release_files import TrainingFacts, write_bundle
from stores.releases import Releases
from stores.s3_bucket import Bucket, s3_client
from stores.s3_releases import S3Releases
from tests.aws import REGION, run_machines, stop_execution
from tests.toy_world import toy_model


class NightWorld:
    """One deployment, and the night that runs in it."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch, endpoint: str, **settings: Any) -> None:
        name = uuid4().hex[:12]
        self.home, self._patch = home, patch
        self.client = s3_client(endpoint_url=endpoint)
        for bucket in (f"data-{name}", f"releases-{name}"):
            self.client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        with closing(boto3.client("dynamodb", endpoint_url=endpoint)) as tables:
            create_live_table(tables, f"live-{name}")
        self.data = Bucket(f"data-{name}", client=self.client)
        self.nights = Nights(self.data)
        self.releases: Releases = S3Releases(f"releases-{name}", home / "other", client=self.client)
        self.settings = NightSettings(
            data_bucket=self.data.name,
            releases_bucket=f"releases-{name}",
            live_table=f"live-{name}",
            home=home / "tmp",
            **settings,
        )
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setattr(stores.s3_bucket, "s3_client", lambda: self.client)  # making one costs a tenth of a second
        run_machines(endpoint, run=False)
        self.machines = boto3.client("stepfunctions", endpoint_url=endpoint)
        machine = {"name": f"night-{name}", "definition": "{}", "roleArn": "arn:aws:iam::123456789012:role/night"}
        self._machine = self.machines.create_state_machine(**machine)["stateMachineArn"]
        self.execution = ""
        self.told: dict[str, Any] = {}
        self.put(dataset_listing("shop"), b"{}")
        self.begin_process()

    def begin_process(self, **settings: Any) -> None:
        """The next call runs in a process that has opened nothing, maybe under other settings."""
        self.settings = replace(self.settings, **settings)
        for name, value in self.settings.to_env().items():
            self._patch.setenv(name, value)
        handler.workplace.cache_clear()

    def close(self) -> None:
        """Let go of what it has opened."""
        handler.workplace.cache_clear()
        for client in (self.client, self.machines):
            client.close()

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.data.name, Key=key, Body=data)

    def keys(self, under: str) -> list[str]:
        return [key for key, _ in self.data.listing(under)]

    def start(self) -> str:
        """An execution of the state machine, which runs until it is stopped."""
        started = self.machines.start_execution(stateMachineArn=self._machine, name=uuid4().hex)
        return str(started["executionArn"])

    def stop(self, execution: str) -> None:
        stop_execution(self.machines, execution)

    def give_lease_back(self) -> None:
        self.nights.release_lease(self.told["token"])

    def begin(self, execution: str = "", **asked: Any) -> dict[str, Any]:
        """Begin a night, by an execution of its own where none is named."""
        self.execution, self.told = execution or self.start(), {}
        self.told = handler.begin({"execution": self.execution, "input": asked})
        return self.told

    @property
    def night(self) -> str:
        return str(self.told["night"])

    def call(self, function: str, **more: Any) -> dict[str, Any]:
        """Call a function of the night that runs."""
        event = {"night": self.told["night"], "token": self.told["token"], **more}
        answer: dict[str, Any] = getattr(handler, function)(event, None)
        return answer

    def fail(self, **state: Any) -> dict[str, Any]:
        """The end of the failure path, with all that the state machine would know."""
        known = {"run": self.told} if self.told else {}
        answer: dict[str, Any] = handler.fail({"execution": self.execution, "state": known | state})
        return answer

    def leave_snapshot(self) -> None:
        """What snapshot and check leave."""
        self.put(f"snapshots/{self.night}/events.parquet", b"events")
        self.put(snapshot_listing(self.night), b"{}")
        for step in (Step.SNAPSHOT, Step.CHECK):
            self.leave_verdict(step)
        self.nights.adopt(self.night)

    def leave_verdict(self, step: Step, decision: Decision = Decision.GO) -> None:
        self.nights.write_verdict(self.night, StepVerdict(step=step, decision=decision, code="x", reason="because"))

    def leave_model(self, model: FittedModel | None = None, job: str = "") -> str:
        """What the training leaves; returns the URI that SageMaker tells."""
        model = model or toy_model()
        folder = self.home / "trained" / uuid4().hex
        dim = model.items.two_tower.shape[1]
        write_bundle(folder, to_bundle(model), TrainingFacts(n_items=len(model.items), dim=dim, watermark=1))
        prefix = f"nights/{self.night}/training/{job or f'tandem-{self.night}-train-{uuid4().hex[:8]}'}/output/model"
        for path in folder.iterdir():
            self.put(f"{prefix}/{path.name}", path.read_bytes())
        return self.data.url(prefix)

    def leave_gate(self, *verdicts: Verdict) -> None:
        """What the gate leaves: checks with these verdicts, compared with what served."""
        sealed = self.nights.read(self.night, SealedRelease)
        current = self.releases.current()
        checks = [GateCheck(f"check-{number}", verdict, "as crafted") for number, verdict in enumerate(verdicts)]
        report = GateReport(
            release=sealed.release,
            compared_with=current.publication.release if current else None,
            checks=checks,
            served_model="als",
        )
        self.nights.write(self.night, report)
        self.leave_verdict(Step.GATE, Decision.REFUSE if report.blocked else Decision.GO)

    def through(self, functions: Sequence[str]) -> None:
        """Call functions, each in a process of its own."""
        for function in functions:
            self.begin_process()
            self.call(function)

    def publish_night(self, model: FittedModel | None = None, **asked: Any) -> str:
        """A whole night of a small catalogue, to its end; returns the publication."""
        self.begin(**asked)
        self.leave_snapshot()
        self.call("seal", model=self.leave_model(model))
        self.leave_gate(Verdict.PASS)
        self.through(["verify", "publish", "sweep"])
        self.call("finish", outcome="published")
        return self.releases.serving().publication.id
