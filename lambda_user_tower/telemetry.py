"""Log lines, metrics and traces as AWS reads them, through AWS Lambda Powertools.

`Telemetry` is the deployed side of `logs.Log`: the same lines with the ids of request and trace, and with each answer
the metrics of the dashboard in the embedded format, which costs no call. A metric costs by the month: here is only what
an alarm or a long memory needs and API Gateway does not count for nothing. Routes, the times of stages and why a slate
was degraded stay in the lines, where the dashboard asks for them. No user id gets into any of them: a log line has its
keyed hash, a trace neither request nor answer. `handler.py` makes one where it runs in Lambda.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from lambda_user_tower.logs import Log
from lambda_user_tower.settings import LambdaSettings

NAMESPACE: Final = "Tandem"
"""Of the metrics in CloudWatch; their one dimension is `service`."""

_SECRET_SECONDS: Final = 2
"""A cold start waits so long, twice, for the key, and hashes under a random one then."""

Handler = Callable[[Any, Any], dict[str, Any]]


class Telemetry(Log):
    """Writes through Powertools' logger, and counts what is answered."""

    def __init__(self, settings: LambdaSettings) -> None:
        from aws_lambda_powertools import Logger, Metrics

        self._logger = Logger(service=settings.service, level=settings.log_level, location=None, utc=True)
        self._metrics = Metrics(namespace=NAMESPACE, service=settings.service)
        super().__init__(settings.log_level, settings.log_key or _log_key(settings.log_key_secret, self._logger))

    def write(self, level: str, event: str, **fields: object) -> None:
        """Write one line."""
        if self.writes(level):
            getattr(self._logger, level.lower())(event, extra=fields)

    def answered(self, status: int, facts: Mapping[str, object]) -> None:
        """Write the line of a request, and its metrics."""
        super().answered(status, facts)
        if not (figures := _figures(facts)):
            return
        for name, (unit, value) in figures.items():
            self._metrics.add_metric(name=name, unit=unit, value=value)
        self._metrics.flush_metrics()


def _figures(facts: Mapping[str, Any]) -> dict[str, tuple[str, float]]:
    """Metric → unit and value of one answer; none of one that is neither a slate nor about events."""
    figures: dict[str, tuple[str, float]] = {}
    if "degraded" in facts:
        figures["Degraded"] = ("Count", int(bool(facts["degraded"])))
        figures["Empty"] = ("Count", int(facts["items"] == 0))
        figures["ReleaseAge"] = ("Seconds", facts["age_seconds"])
    for outcome, number in facts.get("events", {}).items():
        figures[f"Events-{outcome}"] = ("Count", number)
    return figures


def _log_key(secret: str, logger: Any) -> str:
    """The key of pseudonyms; empty, which makes a random one, where it cannot be read: serving matters more."""
    if not secret:
        return ""
    from boto3 import client
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    patience = Config(connect_timeout=_SECRET_SECONDS, read_timeout=_SECRET_SECONDS, retries={"total_max_attempts": 2})
    try:
        key: str = client("secretsmanager", config=patience).get_secret_value(SecretId=secret)["SecretString"]
    except (BotoCoreError, ClientError) as error:
        logger.warning("log-key-not-read", extra={"error": str(error)})
        return ""
    return key


def traced(handler: Handler, service: str) -> Handler:
    """A handler whose calls, and those that it makes to AWS, are traced by X-Ray."""
    from aws_lambda_powertools import Tracer

    tracer = Tracer(service=service, patch_modules=["botocore"])
    # neither the answer nor the text of an exception: both may hold what is a user's
    wrapped: Handler = tracer.capture_lambda_handler(handler, capture_response=False, capture_error=False)
    return wrapped
