"""moto's Step Functions with a SageMaker and functions: what becomes of each kind of task, on a small machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import boto3
import pytest

from contracts.errors import ServerUnavailable
from local_mode.rehearsal import moto_private
from local_mode.rehearsal.faults import NO_CAPACITY, Faults, Kill
from local_mode.rehearsal.moto_private import Answer, state_machines_at_work
from local_mode.rehearsal.sagemaker import SageMaker
from local_mode.rehearsal.stand_ins import REGION, StandIns, only_these

BUCKET = "state-machines"
ROLE = "arn:aws:iam::123456789012:role/jobs"
STATES = "arn:aws:states:::"


@dataclass
class World:
    """What state machines are run in."""

    standing: StandIns
    clients: dict[str, Any]
    scratch: Path

    @contextmanager
    def at_work(self, functions: dict[str, Callable[[Any], Any]], hurry: float = 0.002) -> Iterator[Machine]:
        faults = Faults()
        sagemaker = SageMaker(self.scratch, self.standing.environment, lambda _: self.clients["s3"], faults)

        def invoke(called: str, event: str) -> Answer:
            try:
                return Answer(json.dumps(functions[called.rpartition(":")[2]](json.loads(event))), failed=False)
            except ValueError as error:
                return Answer(json.dumps({"errorType": "ValueError", "errorMessage": str(error)}), failed=True)

        with state_machines_at_work(self.standing.aws_url, invoke, sagemaker, hurry):
            yield Machine(self.clients["stepfunctions"], sagemaker, faults)
            sagemaker.close()


@dataclass
class Machine:
    client: Any
    sagemaker: SageMaker
    faults: Faults

    def start(self, first: str, states: dict[str, Any]) -> str:
        definition = json.dumps({"StartAt": first, "States": states})
        made = self.client.create_state_machine(name=uuid4().hex, definition=definition, roleArn=ROLE)
        started = self.client.start_execution(stateMachineArn=made["stateMachineArn"], name=uuid4().hex, input="{}")
        return str(started["executionArn"])

    def ended(self, execution: str, seconds: float = 30.0) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found: dict[str, Any] = self.client.describe_execution(executionArn=execution)
            if found["status"] != "RUNNING":
                return found
            time.sleep(0.05)
        raise AssertionError(f"{execution} runs for more than {seconds} seconds")

    def run(self, first: str, states: dict[str, Any]) -> dict[str, Any]:
        return self.ended(self.start(first, states))


@pytest.fixture(scope="module")
def world(moto_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    standing = StandIns(moto_endpoint, "", "")
    with only_these(standing.environment), ExitStack() as stack:
        names = ("s3", "sns", "sqs", "stepfunctions")
        clients = {name: stack.enter_context(closing(boto3.client(name))) for name in names}
        clients["s3"].create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
        clients["s3"].put_object(Bucket=BUCKET, Key="in/x", Body=b"what came in")
        clients["s3"].put_object(Bucket=BUCKET, Key="verdict.json", Body=b'{"decision": "go", "parts": [3, 4]}')
        yield World(standing, clients, tmp_path_factory.mktemp("machines"))


def job(step: str, command: str, **state: Any) -> dict[str, Any]:
    """A processing job as the night has them: the command sees what is below `in/`, and its output goes to `out/`."""
    digits = "States.ArrayGetItem(States.StringSplit(States.UUID(), '-'), 0)"
    into = {"S3Uri": f"s3://{BUCKET}/in/", "LocalPath": "/opt/ml/processing/input/data"}
    out = {"S3Uri": f"s3://{BUCKET}/out/", "LocalPath": "/opt/ml/processing/output", "S3UploadMode": "EndOfJob"}
    parameters = {
        "ProcessingJobName.$": f"States.Format('p-{step}-{{}}', {digits})",
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": "image", "ContainerEntrypoint": ["python3", "-c", command]},
        "ProcessingInputs": [
            {"InputName": "data", "S3Input": {**into, "S3DataType": "S3Prefix", "S3InputMode": "File"}},
        ],
        "ProcessingOutputConfig": {"Outputs": [{"OutputName": "out", "S3Output": out}]},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30}
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }
    task = f"{STATES}sagemaker:createProcessingJob.sync"
    return {"Type": "Task", "Resource": task, "Parameters": parameters, "End": True} | state


def call(function: str, payload: dict[str, Any], **state: Any) -> dict[str, Any]:
    arn = f"arn:aws:lambda:{REGION}:123456789012:function:{function}"
    task = {
        "Type": "Task",
        "Resource": f"{STATES}lambda:invoke",
        "Parameters": {"FunctionName": arn, "Payload": payload},
    }
    return task | {"OutputPath": "$.Payload", "End": True} | state


COPY = "open('/opt/ml/processing/output/y', 'w').write(open('/opt/ml/processing/input/data/x').read().upper())"


def test_a_night_in_small(world: World) -> None:
    """A function, a job with its files, a document read, a map, a wait, and people told."""
    topic = world.clients["sns"].create_topic(Name="told")["TopicArn"]
    queue = world.clients["sqs"].create_queue(QueueName="inbox")["QueueUrl"]
    arn = world.clients["sqs"].get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    world.clients["sns"].subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["QueueArn"])
    load = call("load", {"part.$": "$"}, ResultSelector={"loaded.$": "$.Payload.loaded"}, OutputPath="$")
    states = {
        "Begin": call(
            "begin",
            {"execution.$": "$$.Execution.Id"},
            ResultSelector={"night.$": "$.Payload.night"},
            ResultPath="$.run",
            OutputPath="$",
            Next="Job",
        ),
        "Job": job("copy", COPY, ResultPath=None, Next="Read"),
        "Read": {
            "Type": "Task",
            "Resource": f"{STATES}aws-sdk:s3:getObject",
            "Parameters": {"Bucket": BUCKET, "Key.$": "States.Format('{}.json', $.run.night)"},
            "ResultSelector": {"document.$": "States.StringToJson($.Body)"},
            "ResultPath": "$.read",
            "Next": "Load",
        },
        "Load": {
            "Type": "Map",
            "ItemsPath": "$.read.document.parts",
            "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "Part", "States": {"Part": load}},
            "ResultPath": "$.loaded",
            "Next": "Wait",
        },
        "Wait": {"Type": "Wait", "Seconds": 60, "Next": "Tell"},
        "Tell": {
            "Type": "Task",
            "Resource": f"{STATES}sns:publish",
            "Parameters": {"TopicArn": topic, "Subject": "done", "Message.$": "$.run.night"},
            "ResultPath": None,
            "End": True,
        },
    }
    for state in ("Begin", "Job"):
        del states[state]["End"]
    functions = {"begin": lambda _: {"night": "verdict"}, "load": lambda event: {"loaded": event["part"] * 10}}
    with world.at_work(functions) as machine:
        done = machine.run("Begin", states)
    assert done["status"] == "SUCCEEDED", done.get("cause")
    assert [each["loaded"] for each in json.loads(done["output"])["loaded"]] == [30, 40]
    assert world.clients["s3"].get_object(Bucket=BUCKET, Key="out/y")["Body"].read() == b"WHAT CAME IN"
    (message,) = world.clients["sqs"].receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(message["Body"])["Message"] == "verdict"


def test_a_job_that_fails_says_why_in_its_cause(world: World) -> None:
    write = "open(os.environ['TANDEM_ML'] + '/output/message', 'w').write('dataset-invalid: no')"
    said = f"import os, sys; {write}; sys.exit(1)"
    with world.at_work({}) as machine:
        failed = machine.run("Job", {"Job": job("check", said)})
        missing = machine.run("Read", {"Read": read("nothing.json")})
    assert (failed["status"], failed["error"]) == ("FAILED", "States.TaskFailed")
    described = json.loads(failed["cause"])
    assert (described["ProcessingJobStatus"], described["ExitMessage"]) == ("Failed", "dataset-invalid: no")
    assert described["FailureReason"].startswith("AlgorithmError")
    assert missing["error"] == "S3.NoSuchKeyException"


def test_what_a_service_or_a_function_refuses_has_its_name(world: World) -> None:
    def busy(_: Any) -> Any:
        raise ValueError("busy")

    refused = job("check", "pass")
    refused["Parameters"]["RoleArn"] = "no-role-of-anybody-here"
    with world.at_work({"begin": busy}) as machine:
        assert machine.run("Job", {"Job": refused})["error"] == "SageMaker.AmazonSageMakerException"
        answer = machine.run("Begin", {"Begin": call("begin", {})})
        assert (answer["error"], json.loads(answer["cause"])["errorMessage"]) == ("ValueError", "busy")
        again = {"ErrorEquals": ["ValueError"], "IntervalSeconds": 30, "MaxAttempts": 2}
        caught = {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "End"}
        states = {"Begin": call("begin", {}, Retry=[again], Catch=[caught]), "End": {"Type": "Succeed"}}
        assert json.loads(machine.run("Begin", states)["output"])["error"]["Error"] == "ValueError"


def test_a_job_is_begun_again_where_the_machine_says_so(world: World) -> None:
    """Under another name each time, for that is made when the state is entered."""
    again = [{"ErrorEquals": ["States.TaskFailed"], "IntervalSeconds": 60, "MaxAttempts": 2}]
    with world.at_work({}) as machine:
        machine.faults.plan("train", NO_CAPACITY)
        machine.faults.plan("train", Kill(0.1), call=2)
        done = machine.run("Job", {"Job": job("train", "import time; time.sleep(0.5)", Retry=again)})
        assert done["status"] == "SUCCEEDED", done.get("cause")
        ends = [(job.status, job.reason) for job in machine.sagemaker.jobs.values()]
    assert ends == [("Failed", NO_CAPACITY.reason), ("Failed", ends[1][1]), ("Completed", "")]
    assert "exit code: 137" in ends[1][1]


def test_a_job_that_nobody_waits_for_any_more_is_stopped(world: World) -> None:
    sleeping = job("snapshot", "import time; time.sleep(60)")
    with world.at_work({}) as machine:
        late = machine.run("Job", {"Job": sleeping | {"TimeoutSeconds": 1}})
        assert late["error"] == "States.Timeout"
        execution = machine.start("Job", {"Job": sleeping})
        while len(machine.sagemaker.jobs) < 2:
            time.sleep(0.05)
        machine.client.stop_execution(executionArn=execution)
        assert machine.ended(execution)["status"] == "ABORTED"
        until = time.monotonic() + 10
        while time.monotonic() < until and any(job.status != "Stopped" for job in machine.sagemaker.jobs.values()):
            time.sleep(0.05)
        assert [job.status for job in machine.sagemaker.jobs.values()] == ["Stopped", "Stopped"]


def test_another_moto_is_refused() -> None:
    with patch.object(moto_private, "MOTO", "5.0.0"), pytest.raises(ServerUnavailable, match="is made for"):
        moto_private.check_version()


def read(key: str) -> dict[str, Any]:
    task = f"{STATES}aws-sdk:s3:getObject"
    return {"Type": "Task", "Resource": task, "Parameters": {"Bucket": BUCKET, "Key": key}, "End": True}
