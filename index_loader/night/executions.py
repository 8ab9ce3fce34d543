"""Whether an execution of the state machine still runs: Step Functions is asked. `beginning.py` calls it."""

from __future__ import annotations

from typing import Any, Final

from contracts.errors import AwsCallFailed

_ALIVE: Final = ("RUNNING", "PENDING_REDRIVE")
_UNKNOWN: Final = ("ExecutionDoesNotExist", "InvalidArn", "StateMachineDoesNotExist")
"""Nothing of that name runs: it is older than 90 days, or its state machine was deployed anew."""


def is_running(execution: str) -> bool:
    """Whether the execution of that ARN has not ended. Raises AwsCallFailed."""
    from boto3.session import Session
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer: dict[str, Any] = Session().client("stepfunctions").describe_execution(executionArn=execution)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _UNKNOWN:
            return False
        raise AwsCallFailed(
            f"states:DescribeExecution of {execution} fails with {code}.",
            fix="Let the role of this step do that; it must know whether the night before still runs.",
        ) from error
    except BotoCoreError as error:
        raise AwsCallFailed(
            f"Step Functions cannot be asked about {execution}: {error}",
            fix="Run this step outside the VPC, or give the VPC an endpoint of Step Functions.",
        ) from error
    return answer["status"] in _ALIVE
