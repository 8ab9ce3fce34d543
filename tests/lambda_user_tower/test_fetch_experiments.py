"""The scheduled function: GrowthBook's endpoint as a real server, the bucket and the secrets as moto's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

import boto3
import pytest

from contracts.errors import ExperimentsUnavailable, PayloadInvalid, SettingsInvalid
from experiments.envelope import open_envelope
from experiments.payload import read_payload
from experiments.publishing import REISSUE_SECONDS
from lambda_user_tower import fetch_experiments
from lambda_user_tower.fetch_experiments import FetchSettings, handler
from stores.experiments import S3Experiments
from stores.experiments_key import secret_key
from tests.aws import REGION
from tests.experiments.growthbook_server import CLIENT_KEY, FakeGrowthBook, growthbook_server
from tests.experiments.payloads import feature, rule, text_of

KEY = "a-key-of-forty-eight-characters-as-they-are-made"
NAMED = ("TANDEM_RELEASES_BUCKET", "TANDEM_EXPERIMENTS_KEY_SECRET", "TANDEM_GROWTHBOOK_CLIENT_KEY_SECRET")
ALS = {"model": "als"}
HALF = text_of(model=feature(rule({}, ALS, coverage=0.5)))


class Deployed(NamedTuple):
    growthbook: FakeGrowthBook
    store: S3Experiments

    def fetch(self, text: str, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """One run of the function, with that payload in GrowthBook."""
        self.growthbook.body = text.encode()
        return handler(event or {"source": "aws.scheduler"}, None)

    def sequence(self) -> int:
        """Of what is there, opened as the edge opens it."""
        kept = self.store.read()
        assert kept is not None
        return open_envelope(kept.data, KEY.encode(), after=0, now_seconds=int(time.time()))[0].sequence


@pytest.fixture(scope="module")
def clients(moto_endpoint: str) -> Iterator[dict[str, Any]]:
    """Of boto3; made once, for making each takes a third of a second."""
    with ExitStack() as opened:
        names = ("s3", "secretsmanager")
        yield {name: opened.enter_context(closing(boto3.client(name, endpoint_url=moto_endpoint))) for name in names}


@pytest.fixture
def deployed(clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    name, s3, secrets = f"fetch-{uuid4().hex}", clients["s3"], clients["secretsmanager"]
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    secrets.create_secret(Name=f"{name}-key", SecretString=KEY)
    secrets.create_secret(Name=f"{name}-client", SecretString=CLIENT_KEY)
    monkeypatch.setattr(fetch_experiments, "S3Experiments", partial(S3Experiments, client=s3))
    monkeypatch.setattr(fetch_experiments, "secret_key", partial(secret_key, client=secrets))
    with growthbook_server() as growthbook:
        settings = FetchSettings(name, f"{name}-key", growthbook.url, f"{name}-client")
        for variable, value in settings.to_env().items():
            monkeypatch.setenv(variable, value)
        assert FetchSettings.from_env() == settings
        yield Deployed(growthbook, S3Experiments(name, s3))


def test_it_publishes_what_changed_and_nothing_else(deployed: Deployed) -> None:
    assert deployed.fetch(HALF) == {"sequence": 1, "published": True, "experiments": ["exp"]}
    assert deployed.sequence() == 1
    assert deployed.fetch(HALF) == {"sequence": 1, "published": False, "experiments": ["exp"]}
    other_team = json.loads(HALF)
    other_team["features"]["checkout"] = {"defaultValue": True}
    assert not deployed.fetch(json.dumps(other_team))["published"]
    assert deployed.fetch(text_of(model=feature(rule({}, ALS, coverage=0.8))))["sequence"] == 2
    assert deployed.fetch('{"features": {}}') == {"sequence": 3, "published": True, "experiments": []}
    assert deployed.sequence() == 3
    assert deployed.growthbook.asked == [f"/api/features/{CLIENT_KEY}"] * 5


def test_it_seals_again_after_a_day(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = time.time()
    deployed.fetch(HALF)
    with monkeypatch.context() as later:
        later.setattr(time, "time", lambda: begun + REISSUE_SECONDS + 60)
        assert deployed.fetch(HALF) == {"sequence": 2, "published": True, "experiments": ["exp"]}
        assert deployed.sequence() == 2


def test_nobody_is_moved_unless_somebody_says_so(deployed: Deployed) -> None:
    deployed.fetch(HALF)
    moving = text_of(model=feature(rule({}, ALS, coverage=0.5, weights=[0.4, 0.6])))
    with pytest.raises(PayloadInvalid, match=r"exp \(its weights were"):
        deployed.fetch(moving)
    with pytest.raises(PayloadInvalid, match="weights"):
        deployed.fetch(moving, {"force": "yes"})
    assert deployed.sequence() == 1
    assert deployed.fetch(moving, {"force": True})["sequence"] == 2


def test_what_is_wrong_changes_nothing(deployed: Deployed) -> None:
    deployed.fetch(HALF)
    with pytest.raises(PayloadInvalid, match="no treatment"):
        deployed.fetch(text_of(model=feature(rule({}, {"model": "gpt"}))))
    deployed.growthbook.status = [401]
    with pytest.raises(ExperimentsUnavailable, match="answers 401"):
        deployed.fetch(HALF)
    assert deployed.sequence() == 1


def test_of_two_runs_at_once_one_writes(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    read = S3Experiments.read

    def read_and_be_outrun(store: S3Experiments) -> Any:
        kept = read(store)
        monkeypatch.setattr(S3Experiments, "read", read)
        deployed.fetch('{"features": {}}')
        deployed.growthbook.body = HALF.encode()
        return kept

    monkeypatch.setattr(S3Experiments, "read", read_and_be_outrun)
    with pytest.raises(ExperimentsUnavailable, match="faster"):
        deployed.fetch(HALF)
    kept = deployed.store.read()
    assert kept is not None
    assert open_envelope(kept.data, KEY.encode(), after=1, now_seconds=int(time.time()))[1] == read_payload(
        '{"features": {}}'
    )


def test_a_secret_that_is_not_there_is_named(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_GROWTHBOOK_CLIENT_KEY_SECRET", "nowhere")
    with pytest.raises(ExperimentsUnavailable, match="'nowhere'"):
        deployed.fetch(HALF)
    assert deployed.growthbook.asked == []


def test_it_makes_its_own_clients(moto_endpoint: str, deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_experiments, "S3Experiments", S3Experiments)
    monkeypatch.setattr(fetch_experiments, "secret_key", secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    assert deployed.fetch(HALF)["sequence"] == deployed.sequence() == 1


def test_settings_that_are_not_set_are_named() -> None:
    with pytest.raises(SettingsInvalid, match=", ".join(NAMED)):
        FetchSettings.from_env({})
    assert FetchSettings.from_env(dict.fromkeys(NAMED, "x")).growthbook_host == "https://cdn.growthbook.io"
