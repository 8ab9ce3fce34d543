"""Which class of each store a process uses: those in AWS where its settings name them, else those of a folder.

Everything is opened when it is first needed and then kept. `edge.py` owns one; what a snapshot cannot keep, the
connections, is made anew by `reconnect`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from lambda_user_tower.settings import LambdaSettings
from stores.event_log import EventLog, LocalEventLog
from stores.fresh_items import FreshItems, SqliteFreshItems
from stores.identities import Identities, SqliteIdentities
from stores.live_counts import LiveCounts, SqliteLiveCounts
from stores.profiles import Profiles, SqliteProfiles
from stores.releases import LocalReleases, Releases
from stores.served_log import EXPOSURES_FOLDER, SLATES_FOLDER, FirehoseServedLog, LocalServedLog, ServedLog

if TYPE_CHECKING:
    from stores.experiments import ExperimentsStore

_LIVE_FILE: Final = "live.sqlite"
"""Of all live data, in the folder of a laptop."""

_KEPT: Final = ("profiles", "event_log", "fresh_items", "identities", "live_counts", "exposures", "slates")
"""Stores that hold a file or a connection open."""
_RECONNECTED: Final = ("releases", "experiments", *_KEPT)


class Storage:
    """The stores of one process."""

    def __init__(self, settings: LambdaSettings) -> None:
        """Opens nothing yet."""
        self._settings = settings

    @cached_property
    def releases(self) -> Releases:
        """Releases and the pointer."""
        if not self._settings.in_aws:
            return LocalReleases(self._settings.home)
        from stores.s3_releases import S3Releases  # boto3 is no part of a laptop's set

        return S3Releases(self._settings.releases_bucket, self._settings.home)

    @cached_property
    def profiles(self) -> Profiles:
        """Opened by the first request that needs one. Raises ProfilesUnavailable, and is tried again then."""
        if not self._settings.in_aws:
            return SqliteProfiles(self._settings.home / "profiles.sqlite")
        from stores.dynamodb_profiles import DynamoDBProfiles

        return DynamoDBProfiles(self._settings.profiles_table)

    @cached_property
    def event_log(self) -> EventLog:
        """Where events are written first."""
        if not self._settings.in_aws:
            return LocalEventLog(self._settings.home / "events")
        from stores.event_log import FirehoseEventLog

        return FirehoseEventLog(self._settings.events_stream)

    @cached_property
    def fresh_items(self) -> FreshItems:
        """What clients told of items between two nights. Raises LiveDataUnavailable, and is tried again then."""
        if not self._settings.in_aws:
            return SqliteFreshItems(self._settings.home / _LIVE_FILE)
        from stores.dynamodb_fresh_items import DynamoDBFreshItems

        return DynamoDBFreshItems(self._settings.live_table)

    @cached_property
    def identities(self) -> Identities:
        """Who left, and which session is whose. Raises as `fresh_items`."""
        if not self._settings.in_aws:
            return SqliteIdentities(self._settings.home / _LIVE_FILE)
        from stores.dynamodb_identities import DynamoDBIdentities

        return DynamoDBIdentities(self._settings.live_table)

    @cached_property
    def live_counts(self) -> LiveCounts:
        """What is popular now. Raises as `fresh_items`."""
        if not self._settings.in_aws:
            return SqliteLiveCounts(self._settings.home / _LIVE_FILE)
        from stores.dynamodb_live_counts import DynamoDBLiveCounts

        return DynamoDBLiveCounts(self._settings.live_table)

    @cached_property
    def exposures(self) -> ServedLog:
        """Where it is written who was served which variant."""
        return self._served_log(EXPOSURES_FOLDER, self._settings.exposures_stream)

    @cached_property
    def slates(self) -> ServedLog:
        """Where it is written what was served."""
        return self._served_log(SLATES_FOLDER, self._settings.slates_stream)

    def _served_log(self, folder: str, stream: str) -> ServedLog:
        return FirehoseServedLog(stream) if self._settings.in_aws else LocalServedLog(self._settings.home / folder)

    @cached_property
    def experiments(self) -> ExperimentsStore:
        """Where the envelope of the experiments that run is."""
        from stores.experiments import LocalExperiments, S3Experiments  # a process without experiments needs neither

        if not self._settings.in_aws:
            return LocalExperiments(self._settings.home)
        return S3Experiments(self._settings.releases_bucket)

    def experiments_key(self) -> bytes | None:
        """What envelopes are signed with, read anew; None where there is none. Raises ExperimentsUnavailable."""
        from stores.experiments_key import local_key, secret_key

        if not self._settings.in_aws:
            return local_key(self._settings.home)
        return secret_key(self._settings.experiments_key_secret)

    def close(self) -> None:
        """Close what was opened, where a process does not end with it."""
        for name in _KEPT:
            if (store := self.__dict__.pop(name, None)) is not None:
                store.close()

    def connect(self, *names: str) -> None:
        """Make the clients of these stores ready, so that no request waits for it; folders have nothing to make."""
        for name in names:
            if (connect := getattr(getattr(self, name), "connect", None)) is not None:
                connect()

    def reconnect(self) -> None:
        """Let go of connections that a snapshot has cut."""
        for name in _RECONNECTED:
            if (reconnect := getattr(self.__dict__.get(name), "reconnect", None)) is not None:
                reconnect()
