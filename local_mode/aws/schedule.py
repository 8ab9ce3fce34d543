"""The schedule of the nights: whether it is on, when it fires next, and turning it off and on again.

Knows EventBridge Scheduler, nothing of a night. `pausing.py` and `night_history.py` call it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from contracts.errors import DeploymentNotFound
from local_mode.aws.account import Account, error_code, naming_aws_failures
from local_mode.aws.deployment import Deployment

ENABLED: Final = "ENABLED"
DISABLED: Final = "DISABLED"
_DAILY: Final = re.compile(r"cron\((\d{1,2}) (\d{1,2}) (?:\*|\?) \* (?:\?|\*) \*\)")
"""Minute and hour of every day: what the stacks write. Another expression is shown as it stands."""
_ANSWER_ONLY: Final = ("Arn", "CreationDate", "LastModificationDate", "ResponseMetadata")
"""Of GetSchedule, and not taken by UpdateSchedule."""


@dataclass(frozen=True)
class Schedule:
    """When nights begin."""

    name: str
    state: str
    """ENABLED or DISABLED."""
    expression: str
    """Of EventBridge, `cron(…)`."""
    timezone: str
    window_minutes: int
    """It may fire so much later."""

    @property
    def enabled(self) -> bool:
        """Whether it fires."""
        return self.state == ENABLED

    @property
    def next_run(self) -> datetime | None:
        """The next moment that it fires; None while it is off, or where the expression is not one of every day."""
        return next_daily(self.expression, self.timezone, datetime.now(UTC)) if self.enabled else None

    @property
    def when(self) -> str:
        """When it fires next, for people."""
        if (moment := self.next_run) is None:
            return f"by {self.expression} ({self.timezone})"
        late = f", or up to {self.window_minutes} minutes later" if self.window_minutes else ""
        return f"{moment:%Y-%m-%d %H:%M} {self.timezone}{late}"


class Scheduling:
    """The schedule of a deployment. Methods raise DeploymentNotFound where it is not there, AwsCallFailed."""

    def __init__(self, account: Account, deployment: Deployment) -> None:
        """Raises DeploymentNotFound where the stacks are older than the nightly run."""
        deployment.needed("night_schedule", "night_schedule_group")
        self._account = account
        self._key = {"Name": deployment.night_schedule, "GroupName": deployment.night_schedule_group}

    def read(self) -> Schedule:
        """As it is now."""
        return _schedule(self._get())

    def turn(self, state: str) -> tuple[Schedule, bool]:
        """Make its state ENABLED or DISABLED; the schedule, and whether it was not so before.

        EventBridge takes a schedule whole and forgets what is left out: all of it is sent back as it was read.
        """
        told = self._get()
        before = _schedule(told)
        if before.state == state:
            return before, False
        whole = {name: value for name, value in told.items() if name not in _ANSWER_ONLY}
        with naming_aws_failures():
            self._account.client("scheduler").update_schedule(**(whole | self._key | {"State": state}))
        return replace(before, state=state), True

    def _get(self) -> dict[str, Any]:
        from botocore.exceptions import ClientError

        with naming_aws_failures():
            try:
                found: dict[str, Any] = self._account.client("scheduler").get_schedule(**self._key)
            except ClientError as error:
                if error_code(error) != "ResourceNotFoundException":
                    raise
                raise DeploymentNotFound(
                    f"there is no schedule {self._key['GroupName']}/{self._key['Name']}.",
                    fix="`npx cdk deploy --all` makes it again.",
                ) from error
        return found


def next_daily(expression: str, timezone: str, now: datetime) -> datetime | None:
    """The next moment of `cron(minute hour * * ? *)` after `now`; None for any other expression."""
    if not (found := _DAILY.fullmatch(expression)):
        return None
    try:
        here = now.astimezone(ZoneInfo(timezone))
        today = here.replace(hour=int(found[2]), minute=int(found[1]), second=0, microsecond=0)
    except (ZoneInfoNotFoundError, ValueError):  # no time zone database on this machine, or no time of day
        return None
    return today if today > here else today + timedelta(days=1)


def _schedule(told: dict[str, Any]) -> Schedule:
    timezone = told.get("ScheduleExpressionTimezone") or "UTC"
    window = told.get("FlexibleTimeWindow", {}).get("MaximumWindowInMinutes") or 0
    return Schedule(told["Name"], told["State"], told["ScheduleExpression"], timezone, window)
