"""The two stacks: what is kept, and what can be made again from code at any time.

`<prefix>-state` has storage, network and search; `<prefix>-service` has serving, events, the nightly run and
observability. The service uses what the state exports, so the state cannot be deleted below it. They only compose
constructs. `app.py` makes both.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import CfnOutput, Stack, Tags
from constructs import Construct

from infra.api import Api
from infra.events import Events
from infra.experiments import ExperimentsFetch
from infra.functions import function_role
from infra.measures import Measures
from infra.network import Network
from infra.night.construct import Night
from infra.night.functions import Around
from infra.night_measures import NightMeasures
from infra.observability import Observability
from infra.profiles import Deployment
from infra.search import Search
from infra.serving import Serving, Surroundings
from infra.storage import POINTER_KEY, Storage

APPLICATION: Final = "tandem"


class StateStack(Stack):
    """What outlives a deploy."""

    def __init__(self, scope: Construct, deployment: Deployment) -> None:
        super().__init__(
            scope,
            f"{deployment.prefix}-state",
            description="Tandem: releases, events, profiles, search domain",
            termination_protection=deployment.keep_data,
        )
        self.storage = Storage(self, "storage", deployment)
        self.network = Network(self, "network", deployment) if deployment.in_vpc else None
        self.recommend_role = function_role(self, "RecommendRole")
        """Here and not beside its function, for the domain's policy can name only what exists."""
        self.search = self._search(deployment)
        _output(
            self,
            ReleasesBucket=self.storage.releases.bucket_name,
            PublicationPointer=f"s3://{self.storage.releases.bucket_name}/{POINTER_KEY}",
            DataBucket=self.storage.data.bucket_name,
            ProfilesTable=self.storage.profiles.table_name,
            LiveTable=self.storage.live.table_name,
            LogKeySecret=self.storage.log_key.secret_arn,
            ExperimentsKeySecret=self.storage.experiments_key.secret_arn,
            SearchEndpoint=self.search.endpoint if self.search else "",
        )
        _tag(self, deployment)

    def _search(self, deployment: Deployment) -> Search | None:
        if deployment.search is None:
            return None
        search = Search(self, "search", deployment, deployment.search, self.network)
        search.let_read(self.recommend_role)
        return search


class ServiceStack(Stack):
    """What a deploy replaces."""

    def __init__(self, scope: Construct, deployment: Deployment, state: StateStack) -> None:
        super().__init__(
            scope,
            f"{deployment.prefix}-service",
            description="Tandem: API, functions, event streams, nightly run, alarms",
            termination_protection=deployment.keep_data,
        )
        storage, search = state.storage, state.search
        events = Events(self, "events", deployment, storage.data)
        around = Surroundings(storage, events, search, state.network, state.recommend_role)
        serving = self.serving = Serving(self, "serving", deployment, around)
        api = Api(self, "api", deployment, serving)
        night = self.night = Night(self, "night", deployment, Around(storage, search, state.network))
        fetch = self._fetch(deployment, storage)
        nights = NightMeasures(night.machine.state_machine_arn, night.functions, night.service, night.log)
        domain = search.domain if search else None
        measures = Measures(deployment, storage, serving, api, events.logs, domain, nights, fetch)
        observability = Observability(self, "observability", deployment, measures)
        _output(
            self,
            ApiUrl=api.http.api_endpoint,
            ApiArn=api.invoke_arn,
            EventsStream=events.events.stream.delivery_stream_name,
            ExposuresStream=events.exposures.stream.delivery_stream_name,
            SlatesStream=events.slates.stream.delivery_stream_name,
            Database=events.database_name,
            RecommendFunction=serving.recommend_alias.function_arn,
            EventsFunction=serving.events_alias.function_arn,
            ItemsFunction=serving.items_alias.function_arn,
            **{f"{name}LogGroup": group.log_group_name for name, group in serving.log_groups.items()},
            AccessLogGroup=api.access_log.log_group_name,
            ExperimentsFunction=fetch.function.function_name if fetch else "",
            ExperimentsSchedule=fetch.schedule_name if fetch else "",
            ExperimentsLogGroup=fetch.log_group.log_group_name if fetch else "",
            Dashboard=deployment.prefix,
            AlarmTopic=observability.topic.topic_arn,
            **night.outputs,
        )
        _tag(self, deployment)

    def _fetch(self, deployment: Deployment, storage: Storage) -> ExperimentsFetch | None:
        if not deployment.growthbook_client_key_secret:
            return None
        return ExperimentsFetch(self, "experiments", deployment, storage)


def _output(stack: Stack, **values: str) -> None:
    """What commands and people look up by name; one that this profile has not got is left out."""
    for name, value in values.items():
        if value:
            CfnOutput(stack, name, value=value)


def _tag(stack: Stack, deployment: Deployment) -> None:
    for name, value in (
        ("application", APPLICATION),
        ("deployment", deployment.prefix),
        ("profile", deployment.profile),
    ):
        Tags.of(stack).add(name, value)
