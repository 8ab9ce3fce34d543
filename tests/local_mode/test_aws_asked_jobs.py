"""Jobs that somebody asks for: what SageMaker is told of them, what is refused before, and what is done from here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from contracts.certificate import Certificate
from contracts.errors import DatasetError, DeploymentNotFound, NightRunning, RequestInvalid, StateBusy
from contracts.live import session_user, user_digest
from contracts.night_settings import NightSettings
from contracts.processing_job import ML, ON_DEMAND
from contracts.profile import HistoryEvent
from infra.night import rights
from local_mode.aws import batch_run, forget_run
from local_mode.aws.account import Account
from local_mode.aws.asked_jobs import AskedJob, refuse_while_running, start
from local_mode.aws.batch_run import BatchAsked, start_batch
from local_mode.aws.deployment import Deployment
from local_mode.aws.forget_run import Forgetting, bring_certificate, leave_at_once, start_forgetting
from local_mode.aws.job_watch import JobKind, follow
from local_mode.aws.stores import AwsStores
from local_mode.rehearsal.sagemaker_rules import check
from stores.nights import Nights
from tests.local_mode.aws_deployment import deploy

PREFIX: Final = "asked"
ROLE: Final = "arn:aws:iam::123456789012:role/jobs"
OUTPUTS: Final = {
    "RecommendJobRole": ROLE,
    "ForgetJobRole": ROLE,
    "RecommendFunction": "asked-recommend",
    "ProcessingImage": "763104351884.dkr.ecr.eu-central-1.amazonaws.com/pytorch:2.13-cpu-amzn2023-sagemaker",
    "ProcessingInstance": "ml.m5.xlarge",
    "CodeArchive": f"s3://{PREFIX}-data/code.gz",
}
USER: Final = "ada@example.com"


@pytest.fixture(scope="module")
def stores(moto_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsStores]:
    from moto.awslambda.responses import LambdaResponse

    told = {"TANDEM_RERANK_DIVERSITY": "mmr", "TANDEM_PROMOTED": '{"genre":"art"}', "TANDEM_LOG_KEY_SECRET": "arn"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
        configuration = json.dumps({"Environment": {"Variables": {**told, "TANDEM_PROMOTED_SHARE": ""}}})
        patch.setattr(LambdaResponse, "get_function_configuration", lambda _: configuration)
        account = Account()
        deploy(account, PREFIX, nights=OUTPUTS)
        yield AwsStores(Deployment.find(account, PREFIX), account, tmp_path_factory.mktemp("home"))
        account.close()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What moto is asked to run; nothing is."""
    from moto.sagemaker.responses import SageMakerResponse

    found: list[dict[str, Any]] = []
    create = SageMakerResponse.create_processing_job

    def noting(self: SageMakerResponse) -> Any:
        found.append(json.loads(self.body))
        return create(self)

    monkeypatch.setattr(SageMakerResponse, "create_processing_job", noting)
    return found


def held(stores: AwsStores, prefix: str = "asked/") -> list[str]:
    return [key for key, _ in stores.data.sizes(prefix)]


def become(stores: AwsStores, job: str, status: str) -> None:
    """As SageMaker says of a job; in moto every one has been completed when it begins."""
    from moto.sagemaker.models import sagemaker_backends

    jobs = sagemaker_backends["123456789012"][stores.account.named_region()].processing_jobs
    jobs[job].processing_job_status = status


def test_the_stacks_have_a_role_for_every_job_and_the_deployment_its_name() -> None:
    assert rights.ON_DEMAND.keys() == set(ON_DEMAND)
    assert {f"{job}_job_role" for job in ON_DEMAND} <= set(Deployment.__dataclass_fields__)


def test_a_batch_is_asked_for_as_sagemaker_takes_it(stores: AwsStores, requests: list[dict[str, Any]]) -> None:
    job = start_batch(stores, BatchAsked("mail", None, 5, restart=False))
    (request,) = requests
    check("createProcessingJob", request, stores.account.client("s3"))
    assert (request["ProcessingJobName"], request["RoleArn"]) == (job, ROLE)
    assert job.startswith(f"{PREFIX}-")
    assert "-recommend-" in job
    arguments = request["AppSpecification"]["ContainerArguments"]
    assert arguments[:3] == ["recommend", "--users", "all"]
    assert {"--name=mail", "--num-items", "5"} <= set(arguments)
    assert [each["InputName"] for each in request["ProcessingInputs"]] == ["code"]
    assert "ProcessingOutputConfig" not in request, "the job sends its parts itself, whole and in order"
    told = request["Environment"]
    assert (told["TANDEM_RERANK_DIVERSITY"], told["TANDEM_PROMOTED"]) == ("mmr", '{"genre":"art"}')
    assert not {"TANDEM_LOG_KEY_SECRET", "TANDEM_PROMOTED_SHARE"} & told.keys(), "of the function alone, or empty"
    settings = NightSettings.from_env(told)
    assert settings.live_table == f"{PREFIX}-live"
    assert str(settings.home).startswith(f"{ML}/processing/"), "on the volume, which has room for a release"


def test_users_of_a_batch_go_with_it_and_are_named_by_no_description(
    stores: AwsStores, requests: list[dict[str, Any]], tmp_path: Path
) -> None:
    users = tmp_path / f"{USER}.csv"
    users.write_text(f"user_id\n{USER}\n")
    asked = BatchAsked("some", users, 10, restart=True)
    job = start_batch(stores, asked)
    (request,) = requests
    check("createProcessingJob", request, stores.account.client("s3"))
    assert USER not in json.dumps(request)
    given = request["ProcessingInputs"][1]["S3Input"]
    assert given["S3Uri"] == f"s3://{PREFIX}-data/asked/recommend/some/given/"
    arguments = request["AppSpecification"]["ContainerArguments"]
    assert (arguments[2], arguments[-1]) == (f"{given['LocalPath']}/users.csv", "--restart")
    assert held(stores) == ["asked/recommend/some/given/users.csv"]
    become(stores, job, "InProgress")
    with pytest.raises(StateBusy, match=job) as caught:
        start_batch(stores, asked)
    assert "stop-processing-job" in caught.value.fix
    assert start_batch(stores, BatchAsked("som", None, 10, restart=False)), "another one"
    become(stores, job, "Completed")
    batch_run.remove_given(stores, asked)
    assert held(stores) == []


@pytest.mark.parametrize("name", ["", "-mail", "Mail", "a/b", "..", "a" * 64])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(RequestInvalid, match="no name of a batch"):
        BatchAsked(name, None, 10, restart=False)


def test_a_file_of_users_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        BatchAsked("mail", tmp_path / "nobody.csv", 10, restart=False)


def test_stacks_that_are_older_are_named(stores: AwsStores) -> None:
    older = replace(stores.deployment, forget_job_role="", code_archive="")
    with pytest.raises(DeploymentNotFound, match="ForgetJobRole, CodeArchive"):
        start(stores.account, older, AskedJob(name="forget", arguments=[]))
    without = AwsStores(replace(stores.deployment, recommend_function=""), stores.account, stores.home)
    with pytest.raises(DeploymentNotFound, match="RecommendFunction"):
        start_batch(without, BatchAsked("mail", None, 10, restart=False))


def test_who_leaves_is_gone_at_once_and_files_follow(stores: AwsStores, requests: list[dict[str, Any]]) -> None:
    stores.profiles.append(USER, [HistoryEvent("i1", 1)], ["e1"])
    stores.profiles.append(session_user("s"), [HistoryEvent("i2", 1)], ["e2"])
    stores.identities.merge(session_user("s"), USER, 1)
    forgetting = leave_at_once(stores, USER, again=False)
    assert forgetting.digest == user_digest(USER)
    for name in (USER, session_user("s")):
        assert (stores.profiles.get(name).history, stores.profiles.get(name).deleted_at > 0) == ([], True)
    left = stores.identities.tombstone(USER)
    assert left is not None
    assert [merge.session for merge in stores.identities.merges()] == [session_user("s")], "the job needs its name"
    job = start_forgetting(stores, USER, forgetting)
    (request,) = requests
    check("createProcessingJob", request, stores.account.client("s3"))
    assert USER not in json.dumps(request)
    given, kept = request["ProcessingInputs"][1]["S3Input"], request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]
    arguments = request["AppSpecification"]["ContainerArguments"]
    assert arguments == [
        *("forget", "--user-file", f"{given['LocalPath']}/user"),
        *("--certificate", f"{kept['LocalPath']}/certificate.json"),
    ]
    assert stores.data.read(forgetting.user_key, 100).data == USER.encode()
    assert forgetting.user_key == given["S3Uri"].removeprefix(f"s3://{PREFIX}-data/") + "user"
    become(stores, job, "InProgress")
    with pytest.raises(StateBusy, match=job):
        start_forgetting(stores, USER, forgetting)
    become(stores, job, "Stopped")
    assert leave_at_once(stores, USER, again=False) == forgetting
    assert stores.identities.tombstone(USER) == left, "said once more, they still left when they did"


def test_the_certificate_is_brought_and_what_names_the_user_goes(stores: AwsStores) -> None:
    forgetting = Forgetting(user_digest(USER))
    certificate = Certificate(
        user_id=USER,
        user_digest=forgetting.digest,
        left_at="2026-11-26T00:00:00Z",
        made_at="2026-11-26T00:20:00Z",
        sessions=1,
        profile=True,
        removed=[],
        checked=[],
        pending=[],
        remains=[],
    )
    stores.data.replace(forgetting.user_key, USER.encode(), stores.data.etag(forgetting.user_key), {})
    stores.data.replace(forgetting.certificate_key, msgspec.json.encode(certificate), None, {})
    assert bring_certificate(stores, forgetting) == certificate
    assert held(stores) == []


def test_files_wait_while_others_write_them(stores: AwsStores, requests: list[dict[str, Any]]) -> None:
    """A batch that began before the user left would send what it has of them; a night reads its dataset."""
    forgetting = leave_at_once(stores, "bob", again=False)
    job = start_batch(stores, BatchAsked("mail", None, 5, restart=False))
    become(stores, job, "InProgress")
    with pytest.raises(StateBusy, match=job):
        start_forgetting(stores, "bob", forgetting)
    become(stores, job, "Failed")
    lease = Nights(stores.data).take_lease("arn:night", lambda _: True)
    with pytest.raises(NightRunning, match=lease.night):
        start_forgetting(stores, "bob", forgetting)
    Nights(stores.data).release_lease(lease.token)
    assert len(requests) == 1
    assert held(stores) == []


def test_a_processing_job_is_watched_until_it_ends(stores: AwsStores) -> None:
    job = start(stores.account, stores.deployment, AskedJob(name="forget", arguments=[]))
    refuse_while_running(stores.account, stores.deployment, "recommend")
    become(stores, job, "InProgress")
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        become(stores, job, "Completed")

    told = [news.text for news in follow(stores.account, job, JobKind.PROCESSING, pause)]
    assert told == ["InProgress", "Completed"]
    assert waits


def test_both_jobs_are_known_by_their_names() -> None:
    assert {batch_run.JOB, forget_run.JOB} == set(ON_DEMAND)
