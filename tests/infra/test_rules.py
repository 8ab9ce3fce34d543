"""What holds for every template as a whole: cdk-nag, cfn-lint, no wildcards in IAM, no account, region or partition."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.infra.synthesis import (
    GROWTHBOOK,
    PROFILES,
    REPOSITORY,
    Synthesised,
    all_statements,
    findings_before_acknowledging,
    masked,
    several,
    text_of,
)

SNAPSHOTS = Path(__file__).parent / "snapshots"

NIGHT_KEYS = (
    r"nights/\*(/(check|gate|snapshot)\.verdict\.json|/training/\*|/checkpoints/\*)?",
    r"snapshots/\*(\.files\.json)?",
    r"datasets/\*(\.files\.json)?",
    r"trainings/\*",
    r"nights/\*/snapshot\.json",
    r"(asked|forgotten|recommendations)/\*",
)
WILDCARD_RESOURCES = {
    r"<tandem-\w+-state:\w+Data\w+>/(errors/)?(events|exposures|slates)/\*": "Firehose names its files itself.",
    r"<tandem-\w+-state:\w+Releases\w+>/(releases|publications)/\*": "The pointer names one of many.",
    r"arn:<AWS::Partition>:es:<AWS::Region>:<AWS::AccountId>:domain/tandem-\w+/\*": "Each publication has an index.",
    rf"<tandem-\w+-state:\w+Data\w+>/({'|'.join(NIGHT_KEYS)})": "Every night has folders of its own.",
    r"arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>:execution:tandem-\w+-night:\*": "One for each night.",
    r"arn:<AWS::Partition>:sagemaker:<AWS::Region>:<AWS::AccountId>:(training|processing)-job/tandem-\w+-\*": "Tries.",
    r"arn:<AWS::Partition>:logs:<AWS::Region>:<AWS::AccountId>:log-group:/aws/sagemaker/(Training|Processing)Jobs:\*": (
        "SageMaker names the streams itself."
    ),
    r"<servingDeployCheck\w+\.Arn>:\*": "CDK: any version of the one function that CodeDeploy calls.",
}
"""Resources with a wildcard → why."""
NO_RESOURCES = {
    "xray:PutTelemetryRecords": "X-Ray knows no resources.",
    "xray:PutTraceSegments": "X-Ray knows no resources.",
    "ec2:AssignPrivateIpAddresses": "Lambda makes the interfaces later.",
    "ec2:CreateNetworkInterface": "Lambda makes the interfaces later.",
    "ec2:DeleteNetworkInterface": "Lambda makes the interfaces later.",
    "ec2:DescribeNetworkInterfaces": "EC2 lists without resources.",
    "ec2:DescribeSubnets": "EC2 lists without resources.",
    "ec2:UnassignPrivateIpAddresses": "Lambda makes the interfaces later.",
    "xray:GetSamplingRules": "X-Ray knows no resources.",
    "xray:GetSamplingTargets": "X-Ray knows no resources.",
    "ecr:GetAuthorizationToken": "One token for the whole registry.",
    "cloudwatch:PutMetricData": "CloudWatch knows no resources; the namespace is a condition.",
    "logs:CreateLogDelivery": "The delivery of a log knows no resources.",
    "logs:DeleteLogDelivery": "The delivery of a log knows no resources.",
    "logs:DescribeLogGroups": "The delivery of a log knows no resources.",
    "logs:DescribeResourcePolicies": "The delivery of a log knows no resources.",
    "logs:GetLogDelivery": "The delivery of a log knows no resources.",
    "logs:ListLogDeliveries": "The delivery of a log knows no resources.",
    "logs:PutResourcePolicy": "The delivery of a log knows no resources.",
    "logs:UpdateLogDelivery": "The delivery of a log knows no resources.",
}
"""Actions that may be allowed on everything → why."""


def test_nothing_is_found_that_is_not_acknowledged(deployment: Synthesised) -> None:
    assert deployment.violations() == []


@pytest.mark.parametrize("profile", PROFILES)
def test_every_acknowledgement_matches_a_finding(
    profile: str, synthesised: Callable[..., Synthesised], built: dict[str, str], tmp_path: Path
) -> None:
    context = {"profile": profile, **built}
    found = {(_construct(path), rule) for path, rule, _ in findings_before_acknowledging(context, tmp_path)}
    assert {(path, rule.split("::", 1)[-1]) for path, rule in synthesised(profile=profile).acknowledged} == {
        (path, rule.split("::", 1)[-1]) for path, rule in found
    }


def _construct(path: str) -> str:
    """The construct that has a finding, without the names that CDK gives to parts of it."""
    return re.sub(r"(/DefaultPolicy)?/Resource$", "", path)


def test_cfn_lint_has_no_errors(synthesised: Callable[..., Synthesised]) -> None:
    made = (synthesised(profile=profile, **(GROWTHBOOK if profile == "prod" else {})) for profile in PROFILES)
    files = [str(file) for each in made for file in each.template_files]
    command = [Path(sys.executable).parent / "cfn-lint", "-i", "W", "--non-zero-exit-code", "error", "-t", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert len(files) == 2 * len(PROFILES)


def test_no_action_is_a_wildcard_and_no_resource_without_a_reason(deployment: Synthesised) -> None:
    n_statements = 0
    for stack in ("state", "service"):
        for policy, statement in all_statements(deployment.template(stack)):
            n_statements += 1
            actions = several(statement["Action"])
            assert not [action for action in actions if "*" in action], policy
            for resource in map(text_of, several(statement["Resource"])):
                reason = _reason(resource, actions)
                assert reason, f"{policy}: {actions} on {resource}"
    assert n_statements > 20


def _reason(resource: str, actions: list[str]) -> bool:
    if "*" not in resource:
        return True
    if resource == "*":
        return NO_RESOURCES.keys() >= set(actions)
    return any(re.fullmatch(pattern, resource) for pattern in WILDCARD_RESOURCES)


def test_nothing_names_an_account_a_region_or_a_partition(deployment: Synthesised) -> None:
    for stack in ("state", "service"):
        template = deployment.template(stack)
        template.pop("Mappings", None)  # CDK's tables by region: addresses of Firehose, registries of images
        text = masked(template)
        assert not re.search(r"\b\d{12}\b", text), stack
        assert not re.search(r"\b[a-z]{2}(-gov|-iso[a-z]?)?-(north|south|east|west|central)[a-z]*-\d\b", text), stack
        assert "arn:aws" not in text, stack


def test_code_names_no_account_region_or_partition_either() -> None:
    for path in (REPOSITORY / "infra").rglob("*.py"):
        text = path.read_text()
        assert not re.search(r"\b\d{12}\b|arn:aws|\b(us|eu|ap|sa|ca|me|af)-[a-z]+-\d", text), path


@pytest.mark.parametrize("stack", ["state", "service"])
def test_the_templates_of_dev_are_those_of_the_snapshot(dev: Synthesised, stack: str) -> None:
    """After a change that is meant: TANDEM_UPDATE_SNAPSHOTS=1 pytest tests/infra -k snapshot, and read the diff."""
    path, text = SNAPSHOTS / f"dev-{stack}.json", masked(dev.template(stack)) + "\n"
    if os.environ.get("TANDEM_UPDATE_SNAPSHOTS") == "1":
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs: see the docstring of this test"
