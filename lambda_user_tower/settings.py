"""Settings of the edge: one frozen class, filled from the environment and written back to it.

The deployment fills the same class and passes `to_env()`, so that a missing or mistyped setting fails before
anything is deployed. Nothing reads the environment at import; `handler.py` calls `from_env` at the first request.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from contracts.environment import from_variables, to_variables
from contracts.errors import SettingsInvalid
from contracts.request import FilterValue
from reranking.settings import RerankSettings
from retrieval.settings import RetrievalSettings

LEVELS: Final = ("INFO", "WARNING", "ERROR")

IN_AWS: Final = ("releases_bucket", "profiles_table", "events_stream", "live_table")
"""Settings that name a store in AWS, empty on a laptop."""

_PREFIX: Final = "TANDEM_"


@dataclass(frozen=True)
class LambdaSettings:
    """What the edge can be told, and what it tells retrieval and re-ranking."""

    home: Path = Path(".tandem")
    """Folder of releases, publications, the pointer, the profiles and the event log; in AWS only the releases that a
    process has fetched."""
    budget_ms: int = 150
    """Time that one request may take; every stage sees what is left of it."""
    pointer_check_seconds: float = 1.0
    """How often, at most, a running process looks whether something newer is published: one small read."""
    log_level: str = "INFO"
    """INFO writes a line per request; WARNING only what went wrong."""
    log_key: str = ""
    """Secret under which user ids are hashed in logs; empty: a random one per process, so lines of different
    processes cannot be joined."""
    promoted: str = ""
    """Filters, as JSON of the form that a request gives: the items that are promoted; empty: none."""
    promoted_share: float = 0.0
    """Least share of every slate that must be promoted items, as far as candidates are."""
    opensearch_url: str = ""
    """Where a publication's index is searched; empty where every release is small enough to be searched itself."""
    opensearch_region: str = ""
    """AWS region whose signature the engine wants; empty: requests are not signed."""
    releases_bucket: str = ""
    """S3 bucket of releases, publications and the pointer; empty: the folder `home`."""
    profiles_table: str = ""
    """DynamoDB table of profiles; empty: a SQLite file in `home`."""
    events_stream: str = ""
    """Firehose stream of the event log; empty: files in `home`."""
    live_table: str = ""
    """DynamoDB table of live data: fresh items, who left, counts; empty: a SQLite file in `home`."""
    live_check_seconds: float = 5.0
    """How often, at most, a running process looks for live items, stock and hidden items that changed."""
    exposures_stream: str = ""
    """Firehose stream of who was served which variant; empty: files in `home`, and in AWS no experiments."""
    slates_stream: str = ""
    """Firehose stream of what was served; empty: files in `home` where there are experiments, and in AWS none."""
    slates_share: float = 1.0
    """Share of answers whose slate is logged."""
    experiments_check_seconds: float = 60.0
    """How often a running process looks whether other experiments run, give or take a fifth."""
    experiments_key_secret: str = ""
    """Secrets Manager id of the key that envelopes of experiments are signed with; empty: in AWS no experiments."""
    experiments_packaged: Path = Path("experiments.json")
    """An envelope in the deployment package, for a process that finds none in the store; it may be absent."""
    log_key_secret: str = ""
    """Secrets Manager id of the log key; empty: `log_key`."""
    service: str = "tandem"
    """What log lines, metrics and traces call this function."""
    events_per_user_minute: int = 600
    """Events of one user that are taken in a minute, by arrival: ten a second are no person's."""
    event_max_age_days: int = 30
    """Older events are kept in the log and change no profile: a batch replayed after the ids of its events are
    forgotten would count twice."""
    retrieval: RetrievalSettings = field(default_factory=RetrievalSettings)
    """Its `served_model` gives way to the publication's."""
    rerank: RerankSettings = field(default_factory=RerankSettings)

    def __post_init__(self) -> None:
        if not 1 <= self.budget_ms <= 29_000:  # API Gateway hangs up after 30 s
            raise SettingsInvalid(f"TANDEM_BUDGET_MS is {self.budget_ms}.", fix="Give 1 to 29000 milliseconds.")
        for name in ("pointer_check_seconds", "live_check_seconds", "experiments_check_seconds"):
            if not 0 <= getattr(self, name) <= 3600:
                raise SettingsInvalid(f"{_variable(name)} is {getattr(self, name)}.", fix="Give 0 to 3600 seconds.")
        for name in ("events_per_user_minute", "event_max_age_days"):
            if getattr(self, name) < 1:
                raise SettingsInvalid(f"{_variable(name)} is {getattr(self, name)}.", fix="Give 1 or more.")
        self._check_aws()
        for name in ("promoted_share", "slates_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsInvalid(f"{_variable(name)} is {getattr(self, name)}.", fix="Give 0 to 1.")
        self.promoted_filters()
        if self.log_level not in LEVELS:
            raise SettingsInvalid(f"TANDEM_LOG_LEVEL is {self.log_level!r}.", fix=f"Give one of {', '.join(LEVELS)}.")

    def _check_aws(self) -> None:
        """All stores are in AWS, or none: a mixture would lose what the others assume."""
        given = {name: getattr(self, name) for name in IN_AWS}
        missing = [_variable(name) for name, value in given.items() if not value]
        if 0 < len(missing) < len(given):
            raise SettingsInvalid(
                f"{', '.join(missing)} is not set, and other stores are in AWS.", fix="Set all of them or none."
            )
        if self.in_aws and self.experiments_key_secret and not self.exposures_stream:
            raise SettingsInvalid(
                "TANDEM_EXPERIMENTS_KEY_SECRET is set and TANDEM_EXPOSURES_STREAM is not.",
                fix="Set both: an experiment whose exposures are not logged cannot be judged.",
            )

    @property
    def in_aws(self) -> bool:
        """Whether the stores are in AWS."""
        return bool(self.releases_bucket)

    def promoted_filters(self) -> dict[str, FilterValue]:
        """What is promoted, parsed; empty where nothing is."""
        try:
            return msgspec.json.decode(self.promoted or "{}", type=dict[str, FilterValue])
        except msgspec.MsgspecError as error:
            raise SettingsInvalid(f"TANDEM_PROMOTED: {error}.", fix='Give JSON such as {"genre": "drama"}.') from error

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> LambdaSettings:
        """Read the variables that are set, defaults for the others. Raises SettingsInvalid, naming the variable."""
        environment = os.environ if environment is None else environment
        try:
            retrieval, rerank = RetrievalSettings.from_env(environment), RerankSettings.from_env(environment)
        except ValueError as error:
            raise SettingsInvalid(f"TANDEM_RETRIEVAL_* or TANDEM_RERANK_*: {error}.") from error
        return from_variables(cls, _PREFIX, environment, retrieval=retrieval, rerank=rerank)

    def to_env(self) -> dict[str, str]:
        """The variables that `from_env` reads back equal."""
        return to_variables(self, _PREFIX) | self.retrieval.to_env() | self.rerank.to_env()


def _variable(name: str) -> str:
    return f"{_PREFIX}{name.upper()}"
