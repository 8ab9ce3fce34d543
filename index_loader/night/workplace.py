"""What the light steps of a night work with: settings, the stores that they name, and somebody who writes it down.

Made once a process; each store is reached when a step first asks for it. `handler.py` makes one, tests theirs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from contracts.errors import IndexUnavailable, LeaseLost, ServerUnavailable, TandemError
from contracts.night import NightFacts
from contracts.night_settings import NightSettings
from index_loader.night.events import Event, Night
from index_loader.night.telemetry import Telemetry
from stores.dynamodb_fresh_items import DynamoDBFreshItems
from stores.nights import Nights
from stores.s3_bucket import Bucket
from stores.s3_releases import S3Releases

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

Told = TypeVar("Told", bound=Event)


class Workplace:
    """The stores of one deployment."""

    def __init__(self, settings: NightSettings) -> None:
        """Sends nothing. Raises SettingsInvalid where a bucket is not named."""
        settings.needed("data_bucket", "releases_bucket")
        self.settings = settings
        self.telemetry = Telemetry(settings.service)

    @cached_property
    def data(self) -> Bucket:
        """Datasets, snapshots and what nights write."""
        return Bucket(self.settings.data_bucket)

    @cached_property
    def nights(self) -> Nights:
        return Nights(self.data)

    @cached_property
    def releases(self) -> S3Releases:
        return S3Releases(self.settings.releases_bucket, self.settings.home)

    @cached_property
    def fresh_items(self) -> DynamoDBFreshItems:
        """Raises SettingsInvalid where no table is named: a release must not come to serve without them."""
        self.settings.needed("live_table")
        return DynamoDBFreshItems(self.settings.live_table)

    @cached_property
    def engine(self) -> OpenSearch:
        """The search domain. Raises ServerUnavailable where there is none."""
        from stores.search_engine import loader_client

        if not self.settings.opensearch_url:
            raise ServerUnavailable(
                "this deployment has no search domain.",
                fix="Deploy it with profile dev or prod: npx cdk deploy --all -c profile=dev.",
            )
        return loader_client(self.settings.opensearch_url, region=self.settings.opensearch_region or None)

    def run(self, name: str, step: Callable[[Workplace, Told], dict[str, Any]], event: Told) -> dict[str, Any]:
        """What a step answers; one line says what it did, or why it did not, in how many seconds."""
        begun = time.monotonic()
        about = {"night": event.night, "token": event.token} if isinstance(event, Night) else {}
        try:
            answer = step(self, event)
        except TandemError as error:
            seconds = round(time.monotonic() - begun, 1)
            self.telemetry.failed(name, seconds=seconds, code=error.code, error=str(error), **about)
            raise
        finally:
            self._close_connections()
        self.telemetry.done(name, seconds=round(time.monotonic() - begun, 1), did=answer, **about)
        return answer

    def _close_connections(self) -> None:
        """A process sleeps between two calls, and its connections may be cut meanwhile: the next call makes its own."""
        for name in ("engine", "fresh_items"):
            if (client := self.__dict__.pop(name, None)) is not None:
                client.close()

    def entered(self, event: Night) -> NightFacts:
        """What every step is told of its night. Raises LeaseLost where another has taken over, NightIncomplete."""
        self.nights.check_lease(event.token)
        return self.facts(event)

    def facts(self, event: Night) -> NightFacts:
        """The same, of a night that may have given its lease back. Raises LeaseLost, NightIncomplete."""
        facts = self.nights.read(event.night, NightFacts)
        if facts.token != event.token:
            raise LeaseLost(
                f"{event.night} is gone on with under token {facts.token}, this is {event.token}.",
                fix="Nothing was changed; `tandem aws status` shows the execution that goes on.",
            )
        return facts


@contextmanager
def naming_engine_faults() -> Iterator[None]:
    """Turn what the client of the search domain raises into IndexUnavailable."""
    from opensearchpy.exceptions import OpenSearchException

    try:
        yield
    except OpenSearchException as error:
        raise IndexUnavailable(
            f"the search domain does not do what it is asked: {type(error).__name__}: {str(error)[:500]}",
            fix="Look at its health (`tandem aws doctor`); the step can be run again.",
        ) from error
