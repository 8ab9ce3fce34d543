"""The rehearsal: the built bundle over the stand-ins, with a toy release that a real search engine holds."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from filelock import FileLock

from index_loader.publish import publish
from index_loader.run import publish_or_load_again, run
from local_mode.lambda_runtime.function import Function
from local_mode.rehearsal.serving import HANDLERS, Rehearsed, behind_a_gateway, functions_of
from local_mode.rehearsal.stand_ins import RELEASES, StandIns, make_resources, only_these
from local_mode.rehearsal.synthesis import Assembly, context_of, synthesise
from stores.releases import LocalReleases
from stores.s3_releases import S3Releases
from stores.search_engine import loader_client
from tests.lambda_user_tower.conftest import seal
from tests.toy_world import toy_model

GROWTHBOOK_SECRET = "rehearsal/growthbook"
"""Of the client key, as the deployment of the tests names it."""


@pytest.fixture(scope="session")
def servers(moto_endpoint: str, dynamodb_local_url: str, opensearch_url: str) -> StandIns:
    """Everything that a deployment needs, empty."""
    found = StandIns(moto_endpoint, dynamodb_local_url, opensearch_url)
    with only_these(found.environment):
        make_resources()
    return found


@pytest.fixture(scope="module")
def standing(servers: StandIns) -> Iterator[StandIns]:
    """The stand-ins, and the environment that names them: other modules know other servers by the same variables."""
    with only_these(servers.environment):
        yield servers


@dataclass
class Night:
    """Publishes toy releases as a night would."""

    standing: StandIns
    folder: Path
    releases: S3Releases

    def publish(self, seed: int, *, searched: bool = True) -> str:
        """A new release, from the search engine or embedded, and what serves from now on; its id."""
        local = LocalReleases(self.folder / uuid4().hex)
        release = seal(local.home, toy_model(seed=seed))
        self.releases.copy_in(local, release)
        etag = self.releases.etag()
        if not searched:
            publish(self.releases, release, None, etag)
            return release
        with closing(loader_client(self.standing.search_url)) as client:
            publish_or_load_again(self.releases, release, None, etag, run(self.releases, client, release))
        return release

    def forget(self) -> None:
        """As before the first release."""
        import boto3

        with closing(boto3.client("s3")) as client:
            client.delete_object(Bucket=RELEASES, Key="current.json")


@pytest.fixture(scope="module")
def night(standing: StandIns, tmp_path_factory: pytest.TempPathFactory) -> Night:
    folder = tmp_path_factory.mktemp("nights")
    return Night(standing, folder, S3Releases(RELEASES, folder / "cache"))


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the functions note every call to AWS."""
    return tmp_path_factory.mktemp("record") / "calls.jsonl"


@pytest.fixture(scope="session")
def recording_bundle(serving_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built bundle of the API, and the modules that note its calls."""
    return recorded(serving_bundle, "recording_serving.py", tmp_path_factory.mktemp("recording-bundle"))


def recorded(bundle: Path, recorder: str, folder: Path) -> Path:
    """A bundle, entry by entry, and what stands before its handlers."""
    for entry in bundle.iterdir():
        (folder / entry.name).symlink_to(entry)
    for name in ("recording.py", recorder):
        shutil.copy(Path(__file__).with_name(name), folder)
    return folder


def noted(bundle: Path, standing: StandIns, record: Path, home: Path) -> AbstractContextManager[dict[str, Function]]:
    """The functions under SnapStart, none started, their calls noted."""
    handlers = {name: f"recording_serving.{handler.rpartition('.')[2]}" for name, handler in HANDLERS.items()}
    return functions_of(bundle, standing, home, handlers=handlers, more={"RECORD": str(record)})


@pytest.fixture
def functions(
    recording_bundle: Path, standing: StandIns, record: Path, tmp_path: Path
) -> Iterator[dict[str, Function]]:
    with noted(recording_bundle, standing, record, tmp_path) as found:
        yield found


@pytest.fixture
def api(functions: dict[str, Function]) -> Iterator[Rehearsed]:
    with behind_a_gateway(functions) as rehearsed:
        yield rehearsed


def ask(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """A real request; status and the decoded answer."""
    where = urlsplit(url)
    with closing(HTTPConnection(where.hostname or "", where.port, timeout=60)) as connection:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, data, {"content-type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.fixture(scope="session")
def assembly(
    serving_bundle: Path, night_bundle: Path, jobs_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Assembly:
    """The stacks of a deployment with a search domain, synthesised once for all processes of a run."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder = shared / "synthesised"
    with FileLock(shared / "synthesised.lock"):
        if not (folder / "manifest.json").is_file():
            jobs = without_vendor(jobs_archive, shared / "sourcedir.tar.gz")
            more = {"effort": "quick", "growthbook_client_key_secret": GROWTHBOOK_SECRET}
            synthesise(folder, context_of(serving_bundle, night_bundle, jobs, **more))
    return Assembly(folder)


def without_vendor(archive: Path, out: Path) -> Path:
    """The archive of the jobs less its libraries, which this environment has too: every job unpacks 200 MB less."""
    with tarfile.open(archive) as whole, tarfile.open(out, "w:gz", compresslevel=1) as light:
        for entry in whole:
            if not entry.name.startswith("vendor/"):
                light.addfile(entry, whole.extractfile(entry))
    return out
