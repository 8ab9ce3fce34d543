"""`tandem aws batch` and `tandem aws forget` over the stand-ins: what they start is run by the code of the archive; and
what the jobs called, against what the stacks allow them.

The tests are one story in one deployment, in this order.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import boto3
import msgspec
import polars as pl
import pytest
from moto.sagemaker.responses import SageMakerResponse
from typer.testing import CliRunner

from cli.main import app
from contracts.batch import BATCH_SUCCESS, BatchDone
from contracts.certificate import Certificate
from contracts.live import session_user, user_digest
from contracts.night import SnapshotReport
from contracts.processing_job import ASKED, RECOMMENDATIONS
from contracts.profile import HistoryEvent
from contracts.served import encode_served
from lambda_user_tower.settings import LambdaSettings
from local_mode.aws import job_watch
from local_mode.rehearsal.deployed import Deployed
from local_mode.rehearsal.faults import Faults
from local_mode.rehearsal.night import upload_assets
from local_mode.rehearsal.sagemaker import SageMaker
from local_mode.rehearsal.stand_ins import DATA, LIVE_TABLE, TABLE, StandIns
from local_mode.rehearsal.synthesis import Assembly
from stores.dynamodb_identities import DynamoDBIdentities
from stores.dynamodb_profiles import DynamoDBProfiles
from tests.batch_job.night_world import MIDNIGHT, NightWorld, event
from tests.rehearsal.conftest import Night
from tests.rehearsal.nights import empty
from tests.rehearsal.rights import Called, allowed, calls_of, covers
from tests.rehearsal.test_night import NEVER_CALLED, noting_client
from tests.stores.served_rows import exposure, slate, write_parquet
from tests.toy_world import item_id

LEAVER: Final = "u00"
"""Who is in the dataset, the log, the snapshot, the exposures, the slates and a batch."""
EXPOSED, SHOWN = "exposures/dt=2026-11-20/x", "slates/dt=2026-11-20/x"
SESSION: Final = "asked-session"
PLACES: Final = 5
DIVERSITY: Final = {"TANDEM_RERANK_DIVERSITY": "mmr"}
"""As a deployment is set otherwise than by default."""

UNITS: Final = {"recommend": "RecommendJobRole", "forget": "ForgetJobRole"}
"""Job → the output that names its role."""

RARELY: Final = {
    (
        "recommend",
        "s3:PutObject",
        "data/asked/*",
    ): "lists of a batch of more than half a minute (test_recommend_bucket)",
    ("recommend", "s3:DeleteObject", "data/asked/*"): "the same lists, once it is finished",
    ("forget", "dynamodb:PutItem", "-profiles"): "the command has emptied the profile; one that a backup brought back",
}


class Place(NamedTuple):
    """A deployment with somebody who is to be forgotten."""

    outputs: Path
    sagemaker: SageMaker
    bucket: Any
    night: str
    """Whose snapshot there is."""


@pytest.fixture(scope="module")
def deployed(assembly: Assembly, standing: StandIns) -> Deployed:
    return Deployed(assembly, standing)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("asked-record") / "calls.jsonl"


@pytest.fixture(scope="module")
def place(
    deployed: Deployed, standing: StandIns, night: Night, calls: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    empty()
    folder = tmp_path_factory.mktemp("asked")
    night.publish(0, searched=False)
    with ExitStack() as stack:
        s3 = stack.enter_context(closing(boto3.client("s3")))
        upload_assets(deployed, s3)
        made = _somebody(folder, s3)
        stack.callback(made.bucket.delete, [EXPOSED, SHOWN])  # other files read all rows of these logs
        more = {"RECORD": str(calls), "PYTHONPATH": str(Path(__file__).with_name("recorded"))}
        sagemaker = SageMaker(folder / "jobs", standing.environment | more, noting_client(calls), Faults())
        stack.callback(sagemaker.close)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(job_watch, "POLL_SECONDS", 0.1)
        _at_work(patch, sagemaker)
        outputs = folder / "outputs.json"
        outputs.write_text(json.dumps(_outputs(deployed, standing)))
        yield Place(outputs, sagemaker, made.bucket, made.nights.ids()[-1])


def _somebody(folder: Path, s3: Any) -> NightWorld:
    """A user in everything that names users, and others beside them."""
    world = NightWorld(folder, s3, DATA)
    world.seed()
    world.arrive(event(1), event(2, "u01"), event(3, session_user(SESSION)))
    world.put(EXPOSED, encode_served(exposure(LEAVER, MIDNIGHT)) + b"\n")
    slates = [slate("s1", MIDNIGHT, user_id=LEAVER), slate("s2", MIDNIGHT, user_id=session_user(SESSION))]
    world.put(SHOWN, write_parquet(folder / "slates.parquet", slates).read_bytes())
    world.night(MIDNIGHT)
    with closing(DynamoDBProfiles(TABLE)) as profiles:
        for number in range(6):
            events = [HistoryEvent(item_id(number + place), MIDNIGHT) for place in range(3)]
            profiles.append(f"u{number:02}", events, [f"asked-{number}-{place}" for place in range(3)])
    with closing(DynamoDBIdentities(LIVE_TABLE)) as identities:
        identities.merge(session_user(SESSION), LEAVER, MIDNIGHT)
    world.close()
    return world


def _outputs(deployed: Deployed, standing: StandIns) -> dict[str, dict[str, str]]:
    names = (*UNITS.values(), "ProcessingImage", "ProcessingInstance", "CodeArchive", "RecommendFunction")
    service = {name: deployed.output(name) for name in names}
    return {"rehearsal-state": standing.outputs, "rehearsal-service": {"ApiUrl": "http://127.0.0.1", **service}}


def _at_work(patch: pytest.MonkeyPatch, sagemaker: SageMaker) -> None:
    """moto's SageMaker runs processing jobs, and its Lambda knows how the function is set."""
    from moto.awslambda.responses import LambdaResponse

    def answering(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[SageMakerResponse], str]:
        return lambda self: json.dumps(answer(json.loads(self.body)))

    def create(request: dict[str, Any]) -> dict[str, Any]:
        return {"ProcessingJobArn": f"arn:aws:sagemaker:::{sagemaker.create('createProcessingJob', request)}"}

    def describe(asked: dict[str, Any]) -> dict[str, Any]:
        told = sagemaker.jobs[asked["ProcessingJobName"]].describe()
        return {name: value for name, value in told.items() if not name.endswith("Time")}

    def listed(asked: dict[str, Any]) -> dict[str, Any]:
        jobs = [job for name, job in sagemaker.jobs.items() if asked["NameContains"] in name]
        return {
            "ProcessingJobSummaries": [
                {
                    "ProcessingJobName": job.name,
                    "ProcessingJobArn": f"arn:aws:sagemaker:::{job.name}",
                    "CreationTime": 0,
                    "ProcessingJobStatus": job.status,
                }
                for job in jobs
            ]
        }

    for name, answer in (("create", create), ("describe", describe)):
        patch.setattr(SageMakerResponse, f"{name}_processing_job", answering(answer))
    patch.setattr(SageMakerResponse, "list_processing_jobs", answering(listed))
    variables = LambdaSettings().to_env() | DIVERSITY
    configuration = json.dumps({"Environment": {"Variables": variables}})
    patch.setattr(LambdaResponse, "get_function_configuration", lambda _: configuration)


def run(place: Place, *words: str) -> Any:
    """A command, and what it printed."""
    where = ("--prefix", "rehearsal", "--outputs", str(place.outputs), "--home", str(place.outputs.parent))
    return CliRunner().invoke(app, ["aws", *words, *where])


def parts(place: Place, name: str) -> pl.DataFrame:
    """The recommendations of a batch."""
    found = []
    for key, size in place.bucket.sizes(f"{RECOMMENDATIONS}{name}/"):
        if key.endswith(".parquet"):
            found.append(pl.read_parquet(io.BytesIO(b"".join(place.bucket.stream(key, size)))))
    return pl.concat(found)


def jobs(place: Place) -> list[Any]:
    return list(place.sagemaker.jobs.values())


def test_a_batch_is_made_by_the_deployed_code_as_the_function_is_set(place: Place) -> None:
    done = run(place, "batch", "--users", "all", "--name", "mail", "--num-items", str(PLACES), "--json")
    assert done.exit_code == 0, done.output + "".join(job.log for job in jobs(place))
    told = json.loads(done.stdout)
    assert told["folder"] == f"s3://{DATA}/{RECOMMENDATIONS}mail/"
    found = parts(place, "mail")
    assert {f"u{number:02}" for number in range(6)} <= set(found["user_id"])
    assert found.filter(pl.col("user_id") == LEAVER)["rank"].to_list() == list(range(1, PLACES + 1))
    success = place.bucket.read(f"{RECOMMENDATIONS}mail/{BATCH_SUCCESS}", 1 << 20).data
    manifest = msgspec.json.decode(success, type=BatchDone).manifest
    assert manifest.settings["TANDEM_RERANK_DIVERSITY"] == "mmr"
    assert told["batch"]["counts"]["rows"] == len(found)
    assert not list(place.bucket.listing(ASKED)), "the lists of users have gone"


def test_a_batch_for_a_file_of_users_is_begun_anew(place: Place, tmp_path: Path) -> None:
    """Under a name that was used, with --restart; what it was given is removed once it is done."""
    users = tmp_path / "people.csv"
    users.write_text("user_id\nu02\nu03\nstranger\n")
    refused = run(place, "batch", "--users", str(users), "--name", "mail")
    assert refused.exit_code == 1
    assert "it was begun with" in str(refused.exception)
    assert not list(place.bucket.listing(ASKED)), "the ids go where the job did not come about, too"
    done = run(place, "batch", "--users", str(users), "--name", "mail", "--restart")
    assert done.exit_code == 0, done.output
    assert set(parts(place, "mail")["user_id"]) == {"u02", "u03", "stranger"}
    assert not list(place.bucket.listing(ASKED))


def test_a_user_is_forgotten_everywhere_and_certified(place: Place, tmp_path: Path) -> None:
    """Whoever asks is told that events may be on their way to the log for some minutes yet."""
    again = run(place, "batch", "--users", "all", "--name", "second")
    assert again.exit_code == 0, again.output
    assert "users with recommendations" in again.output
    file = tmp_path / "certificate.json"
    done = run(place, "forget", LEAVER, "--certificate", str(file))
    assert done.exit_code == 1, done.output + jobs(place)[-1].log
    printed = " ".join(done.output.split())  # as wide as a terminal
    assert "They have left: nothing of them is served" in printed
    assert "Pending: events from before may still be on their way" in printed
    certificate = msgspec.json.decode(file.read_bytes(), type=Certificate)
    assert (certificate.user_id, certificate.profile, certificate.sessions) == (LEAVER, True, 1)
    assert [text for text in certificate.pending if "on their way" not in text] == []
    removed = {one.kind: one.rows for one in certificate.removed}
    assert removed == {
        "event log": 2,
        "exposures": 1,
        "slates": 2,
        "recommendations": 10,
        "dataset": 5,
        "snapshot": removed["snapshot"],
    }
    assert removed["snapshot"] > 0
    assert LEAVER not in set(parts(place, "second")["user_id"])
    assert place.bucket.read(f"nights/{place.night}/snapshot.json", 1 << 20)
    with closing(DynamoDBProfiles(TABLE)) as profiles:
        assert profiles.get(LEAVER).history == []
        assert profiles.get(LEAVER).deleted_at > time.time() - 600


def test_nothing_that_names_a_user_is_left_for_good(place: Place) -> None:
    """Neither in a description of a job, which AWS keeps, nor in a line of it, nor in the bucket."""
    for job in jobs(place):
        assert LEAVER not in json.dumps(job.request), job.name
        assert f'"{LEAVER}"' not in job.log, job.name
    assert user_digest(LEAVER) in json.dumps(jobs(place)[-1].request)
    assert not list(place.bucket.listing(ASKED))


def test_the_next_night_grows_from_the_snapshot_without_them(place: Place) -> None:
    """Its report knows the dataset as it is now, so the night does not begin anew from it."""
    from batch_job.stored_dataset import StoredDataset
    from contracts.night import dataset_listing, dataset_prefix
    from stores.nights import Nights

    report = Nights(place.bucket).read(place.night, SnapshotReport)
    stored = StoredDataset.open(place.bucket, dataset_prefix("shop"), dataset_listing("shop"))
    assert report.base_events == stored.events_digest(stored.schema())


@pytest.fixture(scope="module")
def called(place: Place, calls: Path, deployed: Deployed) -> dict[str, set[Called]]:
    """Job → what it, or SageMaker in its name, needed above."""
    assert len(place.sagemaker.jobs) >= 4, "the jobs above have not been run"
    steps = {name: job.step for name, job in place.sagemaker.jobs.items()}
    roles = {deployed.output(role): job for job, role in UNITS.items()}
    found: dict[str, set[Called]] = {}
    for who, needed in calls_of(calls, "").items():
        found.setdefault(steps.get(who) or roles.get(who) or who, set()).update(needed)
    return found


@pytest.mark.parametrize("unit", UNITS)
def test_everything_that_is_called_is_allowed(unit: str, called: dict[str, set[Called]], deployed: Deployed) -> None:
    statements = allowed(deployed, deployed.output(UNITS[unit]))
    assert called[unit]
    assert [call for call in called[unit] if not any(covers(*each, call) for each in statements)] == []


@pytest.mark.parametrize("unit", UNITS)
def test_everything_that_is_allowed_is_called_or_has_its_reason(
    unit: str, called: dict[str, set[Called]], deployed: Deployed
) -> None:
    statements = allowed(deployed, deployed.output(UNITS[unit]))
    unused = {each for each in statements if not any(covers(*each, call) for call in called[unit])}
    unused = {each for each in unused if not {each[0], each[0].partition(":")[0]} & NEVER_CALLED.keys()}
    rare = {(action, end) for (which, action, end) in RARELY if which == unit}
    left = {each for each in unused if not any(each[0] == action and each[1].endswith(end) for action, end in rare)}
    assert left == set()
    assert {one for one in rare if not any(each[0] == one[0] and each[1].endswith(one[1]) for each in unused)} == set()
