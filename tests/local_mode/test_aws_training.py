"""One training from a laptop: SageMaker's own SDK sends it to moto, and its own scripts run what it sent, here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from contracts.errors import (
    BundleNotBuilt,
    DatasetError,
    DeploymentNotFound,
    ExtraMissing,
    JobFailed,
    NightIncomplete,
    RequestInvalid,
)
from contracts.night import dataset_listing, dataset_prefix, snapshot_listing, snapshot_prefix
from contracts.training_image import GPU_TAG
from data_sources.generator import WorldSettings, generate
from local_mode.aws.account import Account
from local_mode.aws.deployment import Deployment
from local_mode.aws.job_watch import JobKind, follow
from local_mode.aws.stores import AwsStores
from local_mode.aws.training_run import Request, image_for, start
from local_mode.aws.training_source import Source, dataset_source, snapshot_source
from local_mode.rehearsal.sagemaker_rules import check
from stores.mirrored_folder import mirror
from stores.release_files import TRAINING_FACTS, describe_bundle
from tests.local_mode.aws_deployment import deploy
from tests.local_mode.night_deployment import IMAGE, ROLE, PastNights, night_outputs
from training_job.settings import Effort, TrainingSettings

PREFIX = "trains"
GPU = "ml.g5.12xlarge"

COMMANDS = """
import json, sys
from cli.main import app
for words in json.loads(sys.argv[1]):
    app(words, standalone_mode=False)
"""
"""Several commands in one process: the SDK takes five seconds to import."""


class Sent(NamedTuple):
    """What one command printed, and the request that moto got from it."""

    printed: dict[str, Any]
    request: dict[str, Any]


class World(NamedTuple):
    """A deployment with a dataset, the snapshot of a night, and what two trainings on them sent."""

    stores: AwsStores
    night: str
    on_snapshot: Sent
    on_dataset: Sent
    told: str
    """On stderr."""
    asked: list[str]
    """Questions to IAM."""


@pytest.fixture(scope="module")
def stores(moto_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsStores]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
        account = Account()
        deploy(account, PREFIX, nights=night_outputs(account, PREFIX))
        yield AwsStores(Deployment.find(account, PREFIX), account, tmp_path_factory.mktemp("home"))
        account.close()


@pytest.fixture(scope="module")
def world(stores: AwsStores, jobs_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    from moto.iam.responses import IamResponse

    folder, past = tmp_path_factory.mktemp("data") / "world", PastNights(stores)
    generate(folder, WorldSettings(users=120, items=60))
    mirror(folder, stores.data, dataset_prefix("world"), dataset_listing("world"))
    night = past.begun(1)
    mirror(folder, stores.data, snapshot_prefix(night), snapshot_listing(night))
    past.nights.adopt(night)
    where = ["--prefix", PREFIX, "--code", str(jobs_archive), "--json"]
    first = ["aws", "train", "--effort", "quick", "--seed", "3", *where]
    second = ["aws", "train", "--dataset", "world", "--no-spot", "--instance", GPU, "--count", "2", "--no-wait", *where]
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IamResponse, "simulate_principal_policy", lambda *_: asked.append("simulate"), raising=False)
        printed, told, requests = _sent([first, second], folder.parent)
    return World(stores, night, Sent(printed[0], requests[0]), Sent(printed[1], requests[1]), told, asked)


def _sent(commands: list[list[str]], folder: Path) -> tuple[list[dict[str, Any]], str, list[dict[str, Any]]]:
    """Objects that commands print, what they say, and the trainings that moto is asked for."""
    from moto.sagemaker.responses import SageMakerResponse

    requests: list[dict[str, Any]] = []
    create = SageMakerResponse.create_training_job

    def noting(self: SageMakerResponse) -> Any:
        requests.append(json.loads(self.body))
        return create(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SageMakerResponse, "create_training_job", noting)
        done = subprocess.run(
            [sys.executable, "-c", COMMANDS, json.dumps(commands)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path.cwd())},
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert done.returncode == 0, done.stderr
    decoder, rest, printed = json.JSONDecoder(), done.stdout.strip(), []
    while rest:  # nothing but the objects is on stdout
        found, end = decoder.raw_decode(rest)
        printed.append(found)
        rest = rest[end:].strip()
    assert len(printed) == len(requests) == len(commands)
    return printed, done.stderr, requests


def test_a_training_on_the_snapshot_of_a_night(world: World) -> None:
    printed, request = world.on_snapshot
    job, bucket = request["TrainingJobName"], world.stores.deployment.data_bucket
    check("createTrainingJob", request, world.stores.account.client("s3"))  # as SageMaker would
    assert job.startswith(f"{PREFIX}-train-")
    assert printed["job"] == job
    assert request["RoleArn"] == ROLE
    assert request["AlgorithmSpecification"]["TrainingImage"] == IMAGE
    assert request["EnableManagedSpotTraining"]
    assert request["StoppingCondition"]["MaxWaitTimeInSeconds"] > request["StoppingCondition"]["MaxRuntimeInSeconds"]
    assert request["CheckpointConfig"]["S3Uri"].startswith(f"s3://{bucket}/trainings/checkpoints/")
    assert request["HyperParameters"] == TrainingSettings(effort=Effort.QUICK, seed=3).to_hyperparameters()
    assert request["ResourceConfig"] == {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50}
    channels = {
        channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in request["InputDataConfig"]
    }
    assert channels["training"] == f"s3://{bucket}/snapshots/{world.night}/"
    assert channels["code"].startswith(f"s3://{bucket}/trainings/{job}/input/code")
    output = f"s3://{bucket}/nights/{world.night}/training/"
    assert request["OutputDataConfig"] == {"S3OutputPath": output, "CompressionType": "NONE"}
    assert printed["model"] == f"{output}{job}/output/model/"  # where the night looks for a model
    assert printed["next"] == f"tandem aws run-nightly --from seal --night {world.night}"
    assert "Completed" in world.told  # it was waited for


def test_a_training_on_a_dataset_by_several_machines(world: World) -> None:
    printed, request = world.on_dataset
    bucket = world.stores.deployment.data_bucket
    check("createTrainingJob", request, world.stores.account.client("s3"))
    assert not request.get("EnableManagedSpotTraining")
    assert "MaxWaitTimeInSeconds" not in request["StoppingCondition"]
    assert request["AlgorithmSpecification"]["TrainingImage"].endswith(
        f"/pytorch:{GPU_TAG}"
    )  # deployed is one for CPUs
    assert request["ResourceConfig"]["InstanceCount"] == 2
    assert request["ResourceConfig"]["InstanceType"] == GPU
    (data,) = [one for one in request["InputDataConfig"] if one["ChannelName"] == "training"]
    assert data["DataSource"]["S3DataSource"]["S3Uri"] == f"s3://{bucket}/datasets/world/"
    assert request["OutputDataConfig"]["S3OutputPath"] == f"s3://{bucket}/trainings/"
    assert printed["next"].startswith(f"aws s3 cp --recursive {printed['model']}")  # nothing judges it
    script = fetched(world.stores, f"trainings/{request['TrainingJobName']}/input/sm_drivers/sm_train.sh")
    assert b"torchrun_driver.py" in script
    single = fetched(world.stores, f"trainings/{world.on_snapshot.printed['job']}/input/sm_drivers/sm_train.sh")
    assert b"basic_script_driver.py" in single


def test_nobody_is_told_whose_training_it_is(world: World) -> None:
    assert "telemetry" not in world.told.lower()
    assert "Warning" not in world.told


def test_the_sdk_does_not_choose_where_code_goes(world: World) -> None:
    """It would by what IAM says of the role, and the role of a training reads nothing of where models go."""
    assert world.asked == []


def fetched(stores: AwsStores, key: str) -> bytes:
    answer = stores.account.client("s3").get_object(Bucket=stores.deployment.data_bucket, Key=key)
    content: bytes = answer["Body"].read()
    return content


def test_the_sdks_scripts_train_with_what_was_sent(world: World, tmp_path: Path) -> None:
    """The container without a container: its folder is moved from /opt/ml into a scratch folder, and nothing else."""
    request = world.on_snapshot.request
    container(world.stores, request, tmp_path)
    algorithm = request["AlgorithmSpecification"]
    command = [*algorithm["ContainerEntrypoint"], *algorithm["ContainerArguments"]]
    ran = subprocess.run(
        [word.replace("/opt/ml", str(tmp_path)) for word in command],
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TRAINING_JOB_NAME": request["TrainingJobName"],
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    facts = json.loads((tmp_path / "model" / TRAINING_FACTS).read_bytes())
    assert (facts["training"]["effort"], facts["training"]["seed"]) == ("quick", 3)
    assert describe_bundle(tmp_path / "model").n_items == 60  # it can be sealed
    assert not (tmp_path / "output" / "failure").exists()


def container(stores: AwsStores, request: dict[str, Any], ml: Path) -> None:
    """Lay out what SageMaker gives to a container; scripts find it at another place than /opt/ml."""
    client, bucket = stores.account.client("s3"), stores.deployment.data_bucket
    for channel in request["InputDataConfig"]:
        prefix = channel["DataSource"]["S3DataSource"]["S3Uri"].removeprefix(f"s3://{bucket}/")
        folder = prefix if prefix.endswith("/") or "." not in prefix else prefix.rpartition("/")[0]
        for row in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
            target = ml / "input" / "data" / channel["ChannelName"] / row["Key"].removeprefix(folder).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(client.get_object(Bucket=bucket, Key=row["Key"])["Body"].read())
    for script in (ml / "input" / "data" / "sm_drivers").rglob("*"):
        if script.suffix in (".py", ".sh"):
            script.write_text(script.read_text().replace("/opt/ml", str(ml)))
    configuration = {
        "hyperparameters": request["HyperParameters"],
        "inputdataconfig": {one["ChannelName"]: {"TrainingInputMode": "File"} for one in request["InputDataConfig"]},
        "resourceconfig": {
            "current_host": "algo-1",
            "current_instance_type": request["ResourceConfig"]["InstanceType"],
            "hosts": ["algo-1"],
            "network_interface_name": "lo",
        },
    }
    (ml / "input" / "config").mkdir()
    for name, content in configuration.items():
        (ml / "input" / "config" / f"{name}.json").write_text(json.dumps(content))
    for name in ("model", "output"):
        (ml / name).mkdir()


def test_what_cannot_be_trained_on_is_named(stores: AwsStores) -> None:
    past = PastNights(stores)
    swept = past.begun(7)
    with pytest.raises(NightIncomplete, match="has no snapshot") as caught:
        snapshot_source(past.nights, swept)
    assert "tandem aws status" in caught.value.fix
    with pytest.raises(RequestInvalid, match="is no night"):
        snapshot_source(past.nights, "yesterday")
    with pytest.raises(DatasetError, match="no dataset 'nothing'"):
        dataset_source(stores.data, "nothing")
    with pytest.raises(DatasetError):
        dataset_source(stores.data, "../snapshots")


def test_before_the_first_night_there_is_no_snapshot(stores: AwsStores) -> None:
    deploy(stores.account, "before-nights")
    empty = AwsStores(Deployment.find(stores.account, "before-nights"), stores.account, stores.home)
    with pytest.raises(NightIncomplete, match="no night has left a snapshot") as caught:
        snapshot_source(PastNights(empty).nights)
    assert "--dataset" in caught.value.fix


def wanted(archive: Path, instance: str = "ml.m5.xlarge") -> Request:
    source = Source("world", "s3://d/datasets/world/", "s3://d/trainings/", of_night=False)
    return Request(source=source, settings=TrainingSettings(), image=IMAGE, instance=instance, archive=archive)


def test_a_request_that_makes_no_sense_is_refused_before_the_sdk_is_loaded(
    stores: AwsStores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "sourcedir.tar.gz"
    with pytest.raises(BundleNotBuilt, match="no archive") as caught:
        wanted(archive)
    assert "make build" in caught.value.fix
    archive.write_bytes(b"")
    with pytest.raises(RequestInvalid, match="no training instance"):
        wanted(archive, "m5.xlarge")
    older = replace(stores.deployment, training_role="")
    with pytest.raises(DeploymentNotFound, match="TrainingRole"):
        start(stores.account, older, wanted(archive))
    monkeypatch.setitem(sys.modules, "sagemaker.core.helper.session_helper", None)
    with pytest.raises(ExtraMissing, match="SDK of SageMaker") as missing:
        start(stores.account, stores.deployment, wanted(archive))
    assert "[nightly]" in missing.value.fix
    assert "SAGEMAKER_VALIDATE_ROLE" not in os.environ


def test_the_image_fits_the_instance(stores: AwsStores) -> None:
    assert image_for(stores.deployment, "eu-central-1", "ml.c7i.xlarge") == IMAGE
    assert GPU_TAG in image_for(stores.deployment, "eu-central-1", GPU)
    with pytest.raises(RequestInvalid, match="other kind") as caught:
        image_for(stores.deployment, "mars-north-1", GPU)
    assert "--image" in caught.value.fix


def job_of(stores: AwsStores, name: str) -> Any:
    """A training in moto, whose state is the test's to change."""
    from moto.sagemaker.models import sagemaker_backends

    client = stores.account.client("sagemaker")
    client.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": IMAGE, "TrainingInputMode": "File"},
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": "s3://d/trainings/"},
        ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 50},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )
    return sagemaker_backends["123456789012"][stores.account.named_region()].training_jobs[name]


def test_a_job_is_watched_until_it_ends(stores: AwsStores) -> None:
    job, logs = job_of(stores, "watched"), stores.account.client("logs")
    job.training_job_status, job.secondary_status = "InProgress", "Starting"
    steps, streams = iter(["lines", "end"]), list[dict[str, Any]]()
    logs.meta.events.register(
        "provide-client-params.cloudwatch-logs.FilterLogEvents", lambda params, **_: streams.append(params)
    )

    def pause(_seconds: float) -> None:
        if next(steps) == "lines":
            job.secondary_status = "Training"
            group = JobKind.TRAINING.log_group
            logs.create_log_group(logGroupName=group)  # the first job of an account makes it
            logs.create_log_stream(logGroupName=group, logStreamName="watched/algo-1-1")
            event = {"timestamp": int(time.time() * 1000), "message": "epoch 1"}
            logs.put_log_events(logGroupName=group, logStreamName="watched/algo-1-1", logEvents=[event])
        else:
            job.training_job_status = job.secondary_status = "Completed"

    told = [(news.text, news.is_log) for news in follow(stores.account, "watched", pause=pause)]
    assert told == [("Starting", False), ("Training", False), ("epoch 1", True), ("Completed", False)]
    assert {asked["logStreamNamePrefix"] for asked in streams} == {"watched/"}  # moto gives the lines of all streams


@pytest.mark.parametrize(
    ("state", "reason", "said"),
    [
        ("Failed", "AlgorithmError: no room", "Failed: AlgorithmError: no room"),
        ("Stopped", None, "somebody stopped it"),
    ],
)
def test_a_job_that_ends_without_a_model_is_a_named_failure(
    stores: AwsStores, state: str, reason: str | None, said: str
) -> None:
    job = job_of(stores, f"ends-{state.lower()}")
    job.training_job_status = job.secondary_status = state
    job.failure_reason = reason
    with pytest.raises(JobFailed, match=said) as caught:
        list(follow(stores.account, f"ends-{state.lower()}"))
    assert "aws logs tail" in caught.value.fix
