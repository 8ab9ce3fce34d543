"""Every finding of cdk-nag (pack AwsSolutions) that stays, with the reason; nothing else may be found.

Each line names one finding of one construct, for the pack knows no wildcards; a test refuses a line that matches
nothing. `app.py` calls it after the stacks are composed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from aws_cdk import Acknowledgment, CfnElement, Stack, Validations
from constructs import IConstruct

from contracts.night import NIGHTS, Step
from infra.events import EVENTS, EXPOSURES, SLATES
from infra.night.permissions import JOB_KINDS, VERDICTS
from infra.night.rights import FUNCTIONS, JOBS, ON_DEMAND, WHY
from infra.stacks import ServiceStack, StateStack
from infra.storage import ERRORS_PREFIX


class Acknowledged(NamedTuple):
    """One finding that stays."""

    construct: IConstruct
    finding: str
    reason: str


def acknowledge_all(state: StateStack, service: ServiceStack) -> None:
    """Tell the validations of both stacks what stays."""
    for each in acknowledged(state, service):
        Validations.of(each.construct).acknowledge(Acknowledgment(id=each.finding, reason=each.reason))


def acknowledged(state: StateStack, service: ServiceStack) -> list[Acknowledged]:
    """All findings of this deployment that stay."""
    of_serving = [*_storage(state), *_search(state, service), *_events(state, service), *_serving(state, service)]
    return [*of_serving, *_night_rights(state, service), *_night_jobs(service), *_night_machine(state, service)]


def _storage(state: StateStack) -> Iterator[Acknowledged]:
    yield Acknowledged(
        state.storage.log_key,
        "AwsSolutions-SMG4",
        "The key hashes user ids in logs. Another key would make old and new lines of a user impossible to join; it "
        "opens nothing, and is replaced by hand where it has leaked.",
    )
    yield Acknowledged(
        state.storage.experiments_key,
        "AwsSolutions-SMG4",
        "Another key would have every process refuse what is published until it is signed again: it is replaced "
        "together with a push (docs/deploy.md).",
    )
    yield Acknowledged(
        state.storage.data,
        "CloudFormation-Validate::W9003",
        "The L2 writes the size that a rule of the lifecycle is for as a number; CloudFormation makes it the string.",
    )


_SMALL_DOMAIN = {
    "AwsSolutions-OS1": "Profile dev has a public endpoint, so that a laptop can load and query it: requests must be "
    "signed by a principal that IAM allows. Profile prod is in a VPC.",
    "AwsSolutions-OS4": "One node of profile dev is its own master; it can be lost and loaded again from the release.",
    "AwsSolutions-OS7": "One node has one zone; profile prod has two.",
    "AwsSolutions-OS9[LogExport::SEARCH_SLOW_LOGS]": "Profile dev is not measured; prod has slow logs.",
    "AwsSolutions-OS9[LogExport::INDEX_SLOW_LOGS]": "Profile dev is not measured; prod has slow logs.",
}


def _search(state: StateStack, service: ServiceStack) -> Iterator[Acknowledged]:
    search = state.search
    if search is None:
        return
    yield Acknowledged(
        search.domain,
        "AwsSolutions-OS3",
        "Access is by signed requests of named IAM principals; functions and laptops have no fixed addresses to list.",
    )
    if state.network is None:
        for finding, reason in _SMALL_DOMAIN.items():
            yield Acknowledged(search.domain, finding, reason)
    yield Acknowledged(
        _at(service, "serving/RecommendPolicy"),
        f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:es:<AWS::Region>:<AWS::AccountId>:domain/{search.name}/*]",
        "Each publication has an index of its own name; the domain holds nothing but these.",
    )


def _events(state: StateStack, service: ServiceStack) -> Iterator[Acknowledged]:
    bucket = _exported(state, state.storage.data.bucket_arn)
    for construct, prefix in (("Events", EVENTS.prefix), ("Exposures", EXPOSURES.prefix), ("Slates", SLATES.prefix)):
        for folder in (prefix, f"{ERRORS_PREFIX}{prefix}"):
            yield Acknowledged(
                _at(service, f"events/{construct}/Policy"),
                f"AwsSolutions-IAM5[Resource::{bucket}/{folder}*]",
                f"Firehose names the files that it writes below {folder} itself.",
            )
    yield Acknowledged(
        service,
        "CloudFormation-Validate::W7001",
        "The L2 of Firehose adds a mapping of addresses that only other destinations than S3 use.",
    )


def _serving(state: StateStack, service: ServiceStack) -> Iterator[Acknowledged]:
    bucket = _exported(state, state.storage.releases.bucket_arn)
    for name in ("Recommend", "Events", "Items"):
        policy = _at(service, f"serving/{name}Policy")
        for folder in ("releases", "publications"):
            yield Acknowledged(
                policy,
                f"AwsSolutions-IAM5[Resource::{bucket}/{folder}/*]",
                f"Training and publishing add objects below {folder}/; serving reads whichever the pointer names.",
            )
    for name in ("Recommend", "Events"):
        yield Acknowledged(
            _at(service, f"serving/{name}Policy"),
            "AwsSolutions-IAM5[Resource::*]",
            "X-Ray knows no resources; nor does EC2 for the network interfaces that Lambda makes (profile prod).",
        )
        yield Acknowledged(
            _at(service, f"serving/{name}"),
            "Annotation::@aws-cdk/aws-lambda:snapStartRequirePublish",
            "Callers reach the alias of a published version.",
        )
    yield from _code_deploy(service)


def _code_deploy(service: ServiceStack) -> Iterator[Acknowledged]:
    role = _at(service, "serving/RecommendDeployment/ServiceRole")
    policy = "arn:<AWS::Partition>:iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited"
    yield Acknowledged(
        role,
        f"AwsSolutions-IAM4[Policy::{policy}]",
        "What CodeDeploy needs to move an alias is CodeDeploy's to say; AWS narrows this policy itself.",
    )
    check = service.serving.deploy_check.node.default_child
    assert isinstance(check, CfnElement)  # noqa: S101  # what the L2 is made of
    yield Acknowledged(
        role,
        f"AwsSolutions-IAM5[Resource::<{service.get_logical_id(check)}.Arn>:*]",
        "CDK lets CodeDeploy call the check at any version; it calls one function.",
    )


def _night_rights(state: StateStack, service: ServiceStack) -> Iterator[Acknowledged]:
    """The keys that functions and jobs of a night share with every other night."""
    data, releases = (_exported(state, each.bucket_arn) for each in (state.storage.data, state.storage.releases))
    units = {f"night/functions/{name.capitalize()}Policy": FUNCTIONS[name] for name in service.night.functions}
    units |= {f"night/{job.capitalize()}Policy": rights for job, rights in (JOBS | ON_DEMAND).items()}
    for path, rights in units.items():
        policy = _at(service, path)
        of_data = {*rights.data_read, *rights.data_write, *rights.data_delete}
        of_releases = {*rights.releases_read, *rights.releases_write, *rights.releases_delete}
        for bucket, keys in ((data, of_data), (releases, of_releases)):
            for key in sorted(keys & WHY.keys()):
                yield Acknowledged(policy, f"AwsSolutions-IAM5[Resource::{bucket}/{key}]", WHY[key])
        if rights.executions:
            yield Acknowledged(
                policy,
                f"AwsSolutions-IAM5[Resource::{_HERE.format('states')}:execution:{service.night.machine_name}:*]",
                "Every night is an execution of its own; whether the one before still runs is asked by its name.",
            )
        if rights.search and state.search is not None:
            yield Acknowledged(
                policy,
                f"AwsSolutions-IAM5[Resource::{_HERE.format('es')}:domain/{state.search.name}/*]",
                "Each release has an index of its own name; the domain holds nothing but these.",
            )
            if state.network is not None:
                yield Acknowledged(policy, "AwsSolutions-IAM5[Resource::*]", "Interfaces that Lambda makes: as above.")


def _night_jobs(service: ServiceStack) -> Iterator[Acknowledged]:
    """What SageMaker does in the name of a job."""
    for job in (*JOBS, *ON_DEMAND):
        policy = _at(service, f"night/{job.capitalize()}Policy")
        kind = "Training" if job == Step.TRAIN else "Processing"
        yield Acknowledged(
            policy,
            "AwsSolutions-IAM5[Resource::*]",
            "Neither signing in to ECR nor writing metrics knows resources; metrics are held to SageMaker's namespace.",
        )
        yield Acknowledged(
            policy,
            f"AwsSolutions-IAM5[Resource::{_HERE.format('logs')}:log-group:/aws/sagemaker/{kind}Jobs:*]",
            "SageMaker names the log streams of a job itself, in one group of the account.",
        )


def _night_machine(state: StateStack, service: ServiceStack) -> Iterator[Acknowledged]:
    policy, bucket = _at(service, "night/MachinePolicy"), _exported(state, state.storage.data.bucket_arn)
    yield Acknowledged(
        policy,
        "AwsSolutions-IAM5[Resource::*]",
        "X-Ray knows no resources, nor does the delivery of a state machine's log.",
    )
    for name in VERDICTS:
        yield Acknowledged(policy, f"AwsSolutions-IAM5[Resource::{bucket}/{NIGHTS}*/{name}]", WHY[f"{NIGHTS}*"])
    for kind in JOB_KINDS:
        yield Acknowledged(
            policy,
            f"AwsSolutions-IAM5[Resource::{_HERE.format('sagemaker')}:{kind}-job/{service.night.plan.prefix}-*]",
            "Every try of a job has a name of its own, behind the prefix of the deployment.",
        )


_HERE = "arn:<AWS::Partition>:{}:<AWS::Region>:<AWS::AccountId>"
"""Beginning of an ARN, as nag writes it; less its service."""


def _at(stack: Stack, path: str) -> IConstruct:
    construct: IConstruct = stack
    for name in path.split("/"):
        construct = construct.node.find_child(name)
    return construct


def _exported(state: StateStack, value: str) -> str:
    """How a value of the state stack is named in the other stack, where nag reads it."""
    return str(state.resolve(state.export_value(value))["Fn::ImportValue"])
