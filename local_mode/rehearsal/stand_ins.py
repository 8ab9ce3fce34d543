"""What stands in for AWS, started and filled with what the stacks would have made: buckets, tables, streams, secrets.

`StandIns` says where everything is: as the environment of a process, and as the outputs of a deployment. It knows
nothing of releases and functions; `serving.py` puts them in.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from contracts.errors import ExtraMissing
from local_mode.dynamodb_local import server as dynamodb_local
from local_mode.opensearch import server as opensearch

REGION: Final = "eu-central-1"
_CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "rehearsal",
    "AWS_SECRET_ACCESS_KEY": "rehearsal",
    "AWS_SESSION_TOKEN": "rehearsal",
}
"""Signed with, and verified by nobody."""

RELEASES: Final = "rehearsal-releases"
DATA: Final = "rehearsal-data"
TABLE: Final = "rehearsal-profiles"
LIVE_TABLE: Final = "rehearsal-live"
STREAM: Final = "rehearsal-events"
EXPOSURES: Final = "rehearsal-exposures"
SLATES: Final = "rehearsal-slates"
SECRET: Final = "rehearsal-log-key"  # the name of one
EXPERIMENTS_SECRET: Final = "rehearsal-experiments-key"  # likewise
ACCOUNT: Final = "123456789012"
PREFIXES: Final = {STREAM: "events/", EXPOSURES: "exposures/", SLATES: "slates/"}
"""Stream → where it writes in the data bucket, lines as they came: nothing here makes Parquet."""


@dataclass(frozen=True)
class StandIns:
    """Where everything is."""

    aws_url: str
    dynamodb_url: str
    search_url: str
    """Empty where no search engine was wanted."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which boto3 finds the stand-ins, and nothing else."""
        return {
            **_CREDENTIALS,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_ENDPOINT_URL": self.aws_url,
            "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb_url,
        }

    @property
    def outputs(self) -> dict[str, str]:
        """What the stacks would put out, less the address of the API."""
        search = {"SearchEndpoint": self.search_url} if self.search_url else {}
        return search | {
            "ReleasesBucket": RELEASES,
            "DataBucket": DATA,
            "ProfilesTable": TABLE,
            "LiveTable": LIVE_TABLE,
            "EventsStream": STREAM,
            "ExposuresStream": EXPOSURES,
            "SlatesStream": SLATES,
            "ExperimentsKeySecret": EXPERIMENTS_SECRET,
            "RecommendLogGroup": "/aws/lambda/recommend",
            "EventsLogGroup": "/aws/lambda/events",
        }


@contextmanager
def stand_ins(folder: Path) -> Iterator[StandIns]:
    """Everything started and filled, and stopped in the end; what was in it is gone then.

    `folder` holds logs and the files of the search server. The environment of this process names the stand-ins
    meanwhile. Raises ExtraMissing without moto, ServerUnavailable where a
    server cannot be had.
    """
    with ExitStack() as stack:
        aws_url = stack.enter_context(_moto())
        stack.callback(dynamodb_local.stop, folder / "dynamodb")
        dynamodb_url = dynamodb_local.start(folder / "dynamodb")
        stack.callback(opensearch.stop, folder / "search")
        search_url = opensearch.start(folder / "search").url
        found = StandIns(aws_url, dynamodb_url, search_url)
        stack.enter_context(only_these(found.environment))
        make_resources()
        yield found


@contextmanager
def only_these(environment: Mapping[str, str]) -> Iterator[None]:
    """AWS's variables of this process are these, so that nothing can reach a real account."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with patch.dict(os.environ, others | dict(environment), clear=True):
        yield


@contextmanager
def _moto() -> Iterator[str]:
    try:
        from moto.server import ThreadedMotoServer

        from local_mode.rehearsal.moto_private import writing_in_one_step
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            "the rehearsal needs moto, which is not installed.", fix="pip install 'tandem-recommender[local,test]'"
        ) from error
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each call of a client
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        with writing_in_one_step():
            yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_resources() -> None:
    """What the state stack makes, in the stand-ins that the environment names."""
    from boto3.session import Session

    session = Session()
    with ExitStack() as stack:
        services = ("s3", "firehose", "secretsmanager", "dynamodb")
        client: dict[str, Any] = {name: stack.enter_context(closing(session.client(name))) for name in services}
        for bucket in (RELEASES, DATA):
            client["s3"].create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        client["s3"].put_bucket_versioning(Bucket=RELEASES, VersioningConfiguration={"Status": "Enabled"})
        for stream, prefix in PREFIXES.items():
            client["firehose"].create_delivery_stream(
                DeliveryStreamName=stream,
                ExtendedS3DestinationConfiguration={
                    "RoleARN": f"arn:aws:iam::{ACCOUNT}:role/rehearsal",
                    "BucketARN": f"arn:aws:s3:::{DATA}",
                    "Prefix": prefix,
                },
            )
        for secret in (SECRET, EXPERIMENTS_SECRET):
            client["secretsmanager"].create_secret(Name=secret, SecretString=os.urandom(16).hex())
        dynamodb_local.create_profiles_table(client["dynamodb"], TABLE)
        dynamodb_local.create_live_table(client["dynamodb"], LIVE_TABLE)
