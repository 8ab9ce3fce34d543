"""The function that fetches experiments, from the built bundle: what it publishes, and its calls against its role."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import boto3

from experiments.envelope import open_envelope
from lambda_user_tower.fetch_experiments import FetchSettings
from local_mode.lambda_runtime.function import Function
from local_mode.rehearsal.deployed import Deployed
from local_mode.rehearsal.stand_ins import EXPERIMENTS_SECRET, RELEASES, StandIns
from local_mode.rehearsal.synthesis import Assembly
from stores.experiments import CURRENT_KEY, S3Experiments
from stores.experiments_key import secret_key
from tests.experiments.growthbook_server import CLIENT_KEY, growthbook_server
from tests.experiments.payloads import feature, rule, text_of
from tests.rehearsal.conftest import GROWTHBOOK_SECRET, recorded
from tests.rehearsal.rights import allowed, calls_of, covers

OF_LAMBDA = {
    "logs:CreateLogStream": "called by Lambda itself",
    "logs:PutLogEvents": "called by Lambda itself",
    "s3:ListBucket": "no call: with it S3 answers 404, not 403, where nothing was published yet",
}


def test_what_growthbook_says_is_published_with_the_rights_of_its_role(
    serving_bundle: Path, standing: StandIns, assembly: Assembly, tmp_path: Path
) -> None:
    bundle, record = tmp_path / "bundle", tmp_path / "calls.jsonl"
    bundle.mkdir()
    recorded(serving_bundle, "recording_fetch.py", bundle)
    with closing(boto3.client("secretsmanager")) as secrets, closing(boto3.client("s3")) as s3:
        secrets.create_secret(Name=GROWTHBOOK_SECRET, SecretString=CLIENT_KEY)
        s3.delete_object(Bucket=RELEASES, Key=CURRENT_KEY)  # of another test
        with growthbook_server() as growthbook:
            growthbook.body = text_of(model=feature(rule({}, {"model": "als"}))).encode()
            settings = FetchSettings(RELEASES, EXPERIMENTS_SECRET, growthbook.url, GROWTHBOOK_SECRET)
            told = settings.to_env() | standing.environment | {"RECORD": str(record)}
            with Function(bundle, "recording_fetch.fetch", told) as function:
                first, again = function.invoke({}), function.invoke({})
        kept = S3Experiments(RELEASES).read()
        s3.delete_object(Bucket=RELEASES, Key=CURRENT_KEY)
    assert (first["published"], again["published"], first["sequence"]) == (True, False, 1)
    assert kept is not None
    key = secret_key(EXPERIMENTS_SECRET)
    envelope, payload = open_envelope(kept.data, key, after=0, now_seconds=int(time.time()))
    assert (envelope.sequence, list(payload.experiments)) == (1, first["experiments"])
    deployed = Deployed(assembly, standing)
    statements = allowed(deployed, _role(deployed))
    (called,) = calls_of(record, "").values()
    assert [call for call in called if not any(covers(*each, call) for each in statements)] == []
    unused = {each for each in statements if not any(covers(*each, call) for call in called)}
    assert {action for action, _ in unused} == OF_LAMBDA.keys()


def _role(deployed: Deployed) -> str:
    """ARN of the role that the stacks give the function."""
    service = deployed.stacks["service"]
    (function,) = (
        each
        for each in service.of_type("AWS::Lambda::Function").values()
        if each.get("Handler") == "lambda_user_tower.fetch_experiments.handler"
    )
    return service.text(function["Role"])
