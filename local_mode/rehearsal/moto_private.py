"""Every private part of moto that a rehearsal stands on, in this one file, and the version that has them.

moto's Step Functions really interpret a state machine, but know no SageMaker job that is waited for, run no function
without Docker, and sleep through every wait. Here they are given a SageMaker, functions and a faster clock, and its S3
writes under a condition in one step. What SageMaker and the functions do is `sagemaker.py` and `night.py`.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.metadata import version
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol
from unittest.mock import patch

from contracts.errors import ServerUnavailable

if TYPE_CHECKING:
    from moto.stepfunctions.parser.asl.eval.environment import Environment

MOTO: Final = "5.2.5"
"""The only version in which these parts are known to be so."""

LOOK_EVERY_SECONDS: Final = 0.05
"""How often a state looks whether its job has ended; Step Functions are told by an event."""

_TASKS: Final = "moto.stepfunctions.parser.asl.component.state.exec.state_task"


class Answer(NamedTuple):
    """What an invocation of a function gave."""

    body: str
    """JSON: the result, or the error as Lambda tells it."""
    failed: bool


Invoke = Callable[[str, str], Answer]
"""(the name or ARN that the state machine calls, the event as JSON) → what came of it."""


class Refused(Exception):
    """What a service answers to a request that it does not take."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        """As Step Functions call it: `SageMaker.ResourceInUseException`."""


class Jobs(Protocol):
    """A SageMaker, as Step Functions need it."""

    def create(self, action: str, request: dict[str, Any]) -> str:
        """Begin what `createTrainingJob` or `createProcessingJob` asks; the job's name. Raises Refused."""
        ...

    def ended(self, name: str) -> dict[str, Any] | None:
        """The description of a job that has ended; None while it runs."""
        ...

    def succeeded(self, name: str) -> bool:
        """Whether a job that has ended did what it was to do."""
        ...

    def stop(self, name: str) -> None:
        """End a job that nobody waits for any more."""
        ...


def check_version() -> None:
    """Raise ServerUnavailable where another moto is installed."""
    if (found := version("moto")) != MOTO:
        raise ServerUnavailable(
            f"moto {found} is installed; the rehearsal of a night is made for {MOTO}.",
            fix=f"pip install 'moto[dynamodb,s3,server]=={MOTO}'",
        )


@contextmanager
def writing_in_one_step() -> Iterator[None]:
    """S3 holds a write's condition and writes in one step; moto does it in two, and its threads get in between."""
    from moto.s3.responses import S3Response

    put_object, one_at_a_time = S3Response.put_object, threading.Lock()

    def atomic(self: S3Response) -> Any:
        with one_at_a_time:
            return put_object(self)

    with patch.object(S3Response, "put_object", atomic):
        yield


@contextmanager
def state_machines_at_work(url: str, invoke: Invoke, jobs: Jobs, hurry: float = 1.0) -> Iterator[None]:
    """State machines of moto's server at `url`, in this process, run: functions by `invoke`, jobs by `jobs`.

    `hurry`: a wait, and the pause before a retry, take this part of their time. Raises ServerUnavailable.
    """
    check_version()
    from moto.awslambda_simple.models import LambdaSimpleBackend
    from moto.core.config import default_user_config

    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, MOTO_PORT=url.rpartition(":")[2]))
        configuration = {"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}}
        stack.enter_context(patch.dict(default_user_config, configuration))
        stack.enter_context(patch.object(LambdaSimpleBackend, "invoke", _invoking(invoke)))
        stack.enter_context(patch(f"{_TASKS}.state_task_factory.state_task_service_for", _services(jobs)))
        for module, replacement in _clients(url):
            stack.enter_context(patch(f"{module}.boto_client_for", replacement))
        stack.enter_context(patch.dict(f"{_TASKS}.service.state_task_service_aws_sdk._SERVICE_ERROR_NAMES", s3="S3"))
        _hasten(stack, hurry)
        log = logging.getLogger("moto.stepfunctions")
        stack.callback(log.setLevel, log.level)
        log.setLevel(logging.CRITICAL)  # else half a page for each state that fails, which is in the history
        yield


def _invoking(invoke: Invoke) -> Callable[..., bytes]:
    def invoked(_: Any, name: str, qualifier: str | None, body: Any, _headers: Any, told: dict[str, str]) -> bytes:
        answer = invoke(name if qualifier is None else f"{name}:{qualifier}", body or "{}")
        if answer.failed:
            told["x-amz-function-error"] = "Unhandled"
        return answer.body.encode()

    return invoked


def _clients(url: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The clients of each kind of task: at the server's own address, and as strict as AWS about what they are given."""
    from boto3.session import Session
    from botocore.config import Config

    patient = Config(retries={"total_max_attempts": 1}, read_timeout=24 * 3_600)
    # an access key of its own for what the state machine itself calls: the server can tell
    session = Session(aws_access_key_id="states", aws_secret_access_key="states")  # noqa: S106  # verified by nobody

    @cache
    def client(service: str, region: str) -> Any:
        made = session.client(service, region_name=region, endpoint_url=url, config=patient)
        made.meta.events.register_last("after-call.s3.GetObject", _read_body)
        return made

    def client_for(region: str, service: str, **_: Any) -> Any:
        return client(service, region)

    for module in ("lambda_eval_utils", "service.state_task_service_aws_sdk", "service.state_task_service_sns"):
        yield f"{_TASKS}.{module}", client_for


def _read_body(parsed: dict[str, Any], **_: Any) -> None:
    """A body is text for a state machine; moto leaves it a stream."""
    if "Body" in parsed:
        parsed["Body"] = parsed["Body"].read().decode()


def _hasten(stack: ExitStack, hurry: float) -> None:
    from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
    from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import WaitFunction

    def wait(self: WaitFunction, env: Environment) -> None:
        until = time.monotonic() + hurry * self._get_wait_seconds(env)
        while (left := until - time.monotonic()) > 0 and env.is_running():
            env.program_state_event.wait(min(left, 1.0))

    sleep = time.sleep
    hastened = SimpleNamespace(sleep=lambda seconds: sleep(seconds * hurry))
    stack.enter_context(patch.object(retrier_decl, "time", hastened))
    stack.enter_context(patch.object(WaitFunction, "_eval_body", wait))


def _services(jobs: Jobs) -> Callable[[str], Any]:
    """moto's own choice of services, with SageMaker that runs."""
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import state_task_service_factory

    known, sagemaker = state_task_service_factory.state_task_service_for, _sagemaker_service(jobs)
    return lambda service_name: sagemaker() if service_name == "sagemaker" else known(service_name)


def _sagemaker_service(jobs: Jobs) -> type[Any]:
    """The class of a task that is a SageMaker job which is waited for."""
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import resource
    from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_callback import (
        StateTaskServiceCallback,
    )

    class SageMakerTask(StateTaskServiceCallback):
        def __init__(self) -> None:
            patterns: Any = {resource.ResourceCondition.Sync}
            super().__init__(patterns)

        def _validate_service_integration_is_supported(self) -> None:
            if self.resource.condition != resource.ResourceCondition.Sync:
                raise ValueError(f"{self.resource.resource_arn}: only .sync is rehearsed")

        def _eval_service_task(self, env: Any, normalised_parameters: Any, **_: Any) -> None:  # type: ignore[override]
            try:
                env.stack.append(jobs.create(self.resource.api_action, normalised_parameters))
            except Refused as refused:
                raise _failure(self, env, refused.name, str(refused)) from refused

        def _eval_integration_pattern(self, env: Any, **_: Any) -> None:  # type: ignore[override]
            name = env.stack.pop()
            while (ended := jobs.ended(name)) is None and env.is_running():
                time.sleep(LOOK_EVERY_SECONDS)
            if not env.is_running():  # the state timed out, or its execution was stopped
                jobs.stop(name)
            elif not jobs.succeeded(name):
                raise _failure(self, env, "States.TaskFailed", json.dumps(ended, separators=(",", ":")))
            env.stack.append(ended)

    return SageMakerTask


def _failure(task: Any, env: Any, name: str, cause: str) -> Exception:
    """What makes a state fail under a name."""
    from moto.stepfunctions.parser.api import HistoryEventType
    from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import CustomErrorName
    from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
        FailureEvent,
        FailureEventException,
    )
    from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import StatesErrorName
    from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import StatesErrorNameType

    own = name == "States.TaskFailed"
    error_name = StatesErrorName(StatesErrorNameType.StatesTaskFailed) if own else CustomErrorName(name)
    of = {"resource": task._get_sfn_resource(), "resourceType": task._get_sfn_resource_type()}
    details: Any = {"taskFailedEventDetails": {**of, "error": name, "cause": cause}}
    return FailureEventException(FailureEvent(env, error_name, HistoryEventType.TaskFailed, details))
