"""Log lines and metrics of the light steps, as AWS reads them, through AWS Lambda Powertools.

One line a step: night, step, seconds and what it did, in counts and ids of releases and indexes, never of users. How a
night ended becomes metrics in the embedded format, which costs no call. `workplace.py` makes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NAMESPACE: Final = "Tandem"
"""Of the metrics in CloudWatch, as for serving; their one dimension is `service`."""


class Telemetry:
    """Writes lines and counts nights."""

    def __init__(self, service: str) -> None:
        from aws_lambda_powertools import Logger, Metrics

        self._logger = Logger(service=service, location=None, utc=True)
        self._metrics = Metrics(namespace=NAMESPACE, service=service)

    def done(self, step: str, **facts: object) -> None:
        """A step has done what `facts` say."""
        self._logger.info(step, extra=facts)

    def failed(self, step: str, **facts: object) -> None:
        """A step has raised."""
        self._logger.error(f"{step}-failed", extra=facts)

    def count(self, figures: Mapping[str, tuple[str, float]]) -> None:
        """Metric → unit and value."""
        for name, (unit, value) in figures.items():
            self._metrics.add_metric(name=name, unit=unit, value=value)
        self._metrics.flush_metrics()
