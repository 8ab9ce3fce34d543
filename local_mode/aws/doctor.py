"""The doctor of the first day: every check in the order in which a deployment would fail on it.

What depends on what is missing is not tried: without credentials there is one failure, not six. `tandem aws doctor`
prints what this returns.
"""

from __future__ import annotations

from typing import Final

from contracts.errors import AwsCallFailed, TandemError
from local_mode.aws import account_checks, machine_checks
from local_mode.aws.account import Account
from local_mode.aws.findings import Finding, Status, Wanted

_OF_THE_ACCOUNT: Final[tuple[tuple[str, str, account_checks.Check], ...]] = (
    ("bootstrap", "ssm:GetParameter", account_checks.bootstrap),
    ("image", "ecr:DescribeImages", account_checks.image),
    ("gpu_quota", "servicequotas:GetServiceQuota", account_checks.quota),
    ("search_role", "iam:GetRole", account_checks.search_role),
)
"""Name, IAM action, check."""
_OF_THE_MACHINE: Final = (
    machine_checks.python,
    machine_checks.node,
    machine_checks.cdk_cli,
    machine_checks.bundle,
)


def examine(profile: str | None, region: str | None, wanted: Wanted) -> list[Finding]:
    """Every finding, in order. `profile` and `region` as in `Account`. Raises ExtraMissing without boto3."""
    try:
        account = Account(profile, region)
    except AwsCallFailed as error:
        return [Finding("credentials", Status.FAIL, error.message, error.fix), *examine_machine(wanted)]
    try:
        return [*_examine_account(account, wanted), *examine_machine(wanted)]
    finally:
        account.close()


def examine_machine(wanted: Wanted) -> list[Finding]:
    """What needs no AWS."""
    return [check(wanted) for check in _OF_THE_MACHINE]


def _examine_account(account: Account, wanted: Wanted) -> list[Finding]:
    where = account_checks.region(account, wanted)
    who = _who(account, wanted) if where.status is Status.OK else _not_looked_at("credentials", "no region")
    if who.status is not Status.OK:
        reason = "no region" if where.status is not Status.OK else "no credentials that work"
        return [who, where, *(_not_looked_at(name, reason) for name, _, _ in _OF_THE_ACCOUNT)]
    checks = (account_checks.looked_at(name, action, check, account, wanted) for name, action, check in _OF_THE_ACCOUNT)
    return [who, where, *checks]


def _who(account: Account, wanted: Wanted) -> Finding:
    try:
        account.credentials()
    except TandemError as error:
        return Finding("credentials", Status.FAIL, error.message, error.fix)
    return account_checks.looked_at("credentials", "sts:GetCallerIdentity", account_checks.credentials, account, wanted)


def _not_looked_at(name: str, reason: str) -> Finding:
    return Finding(name, Status.WARN, f"not looked at: {reason}.")
