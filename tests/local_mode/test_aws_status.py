"""How a deployment is: every part looked at by itself, in the stores of moto and a real, signed API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from index_loader.publish import publish
from local_mode.aws.account import Account
from local_mode.aws.deployment import Deployment
from local_mode.aws.operate import repair
from local_mode.aws.status import Part, status
from local_mode.aws.stores import AwsStores
from stores.event_log import FirehoseEventLog
from stores.releases import LocalReleases
from tests.index_loader.worlds import seal
from tests.local_mode.aws_deployment import deploy, signed_api
from tests.toy_world import NOW, toy_model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    store = LocalReleases(home)
    publish(store, seal(store, toy_model()), None, None)
    return home


@pytest.fixture
def stores(
    moto_endpoint: str, monkeypatch: pytest.MonkeyPatch, home: Path, request: pytest.FixtureRequest
) -> Iterator[AwsStores]:
    """A deployment that serves nothing yet."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    account, prefix = Account(), f"status-{abs(hash(request.node.nodeid)) % 10**8}"
    with signed_api(home) as url:
        deploy(account, prefix, api_url=url)
        yield AwsStores(Deployment.find(account, prefix), account, home)
    account.close()


def serve(stores: AwsStores) -> str:
    """Publish the home's release in the bucket."""
    local = LocalReleases(stores.home)
    (release,) = local.ids()
    stores.releases.copy_in(local, release)
    publish(stores.releases, release, None, None)
    return release


def parts(stores: AwsStores) -> dict[str, Part]:
    return {part.name: part for part in status(stores)}


def test_a_deployment_that_serves(stores: AwsStores) -> None:
    release = serve(stores)
    found = parts(stores)
    assert [*found] == ["serving", "api", "profiles", "live", "events", "nights"]
    assert all(part.ok for part in found.values())
    assert found["serving"].facts["release"] == release
    assert found["serving"].facts["age_seconds"] < 600
    assert found["api"].facts["release"] == release
    assert found["events"].facts["status"] == "ACTIVE"


def test_before_the_first_release_the_next_step_is_said(stores: AwsStores) -> None:
    serving = parts(stores)["serving"]
    assert not serving.ok
    assert "tandem aws seed" in serving.found
    assert serving.facts["error"] == "no-release"


def test_a_part_that_fails_hides_no_other(stores: AwsStores) -> None:
    serve(stores)
    broken = replace(stores, deployment=replace(stores.deployment, profiles_table="gone", api_url="http://127.0.0.1:9"))
    found = parts(broken)
    assert {name for name, part in found.items() if not part.ok} == {"api", "profiles"}
    assert "ResourceNotFoundException" in found["profiles"].found


def test_a_domain_is_reached_or_not(stores: AwsStores, opensearch_url: str) -> None:
    def search(endpoint: str) -> Part:
        return parts(replace(stores, deployment=replace(stores.deployment, search_endpoint=endpoint)))["search"]

    assert search(opensearch_url) == Part("search", True, f"{opensearch_url} answers", {"reachable": True})
    assert not search("http://127.0.0.1:9").ok
    inside = search("https://vpc-tandem-abc.invalid")  # of which nobody outside can say more
    assert (inside.ok, inside.facts) == (True, {"reachable": False})


def test_profiles_are_put_right_from_the_log_of_the_stream(stores: AwsStores) -> None:
    """What the functions wrote to Firehose is in the bucket, and in the profiles after a repair."""
    from contracts.event import Event

    serve(stores)
    client = stores.account.client("s3")
    event = Event(
        event_id="e1", user_id="u_lost", item_id="i000003", event_type="click", timestamp=NOW, received_at=NOW
    )
    log = FirehoseEventLog(stores.deployment.events_stream, stores.account.client("firehose"))
    assert log.append([event]) == [""]
    lake = f"{stores.deployment.prefix}-lake"  # moto knows no conversion to the prefixes of the real stream
    (row,) = client.list_objects_v2(Bucket=lake)["Contents"]
    copied = {"Bucket": lake, "Key": row["Key"]}
    client.copy_object(Bucket=stores.deployment.data_bucket, Key="events/dt=2023-11-14/one", CopySource=copied)
    assert repair(stores, dry_run=True).events_added == 1
    assert stores.profiles.get("u_lost").n_events == 0
    assert repair(stores).events_added == 1
    assert [told.item_id for told in stores.profiles.get("u_lost").history] == ["i000003"]
    assert repair(stores).events_added == 0
