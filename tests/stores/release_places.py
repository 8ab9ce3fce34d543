"""Where the suite of the releases keeps them: a folder, and a bucket of moto's server, both open to a test's hands."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import uuid4

import msgspec

from contracts.fitted import FittedModel, to_bundle
from contracts.release import Manifest, Publication
from stores.release_files import TrainingFacts, describe_bundle, write_bundle
from stores.releases import LocalReleases, Releases
from stores.s3_releases import S3Releases
from tests.aws import REGION
from tests.toy_world import toy_model

FACTS: Final = TrainingFacts(n_items=200, dim=16, watermark=1)


class ReleasePlace(Protocol):
    """A store, and the objects under it by the keys of its layout."""

    home: Path
    """A folder for what a test trains."""
    store: Releases

    def begin(self) -> Releases:
        """The store of a process that begins now."""

    def read(self, key: str) -> bytes: ...
    def write(self, key: str, data: bytes) -> None: ...
    def remove(self, key: str) -> None: ...
    def keys(self, under: str) -> list[str]: ...


class FolderPlace:
    """Releases in a folder."""

    def __init__(self, home: Path) -> None:
        self.home, self.store = home, LocalReleases(home)

    def begin(self) -> LocalReleases:
        return LocalReleases(self.home)

    def read(self, key: str) -> bytes:
        return (self.home / key).read_bytes()

    def write(self, key: str, data: bytes) -> None:
        (self.home / key).parent.mkdir(parents=True, exist_ok=True)
        (self.home / key).write_bytes(data)

    def remove(self, key: str) -> None:
        (self.home / key).unlink()

    def keys(self, under: str) -> list[str]:
        paths = sorted(path for path in (self.home / under).iterdir() if path.name != "training.json")
        return [str(path.relative_to(self.home)) for path in paths]


@dataclass(frozen=True)
class Sent:
    """A request that left botocore."""

    operation: str
    key: str
    headers: dict[str, str]


class BucketPlace:
    """Releases in a bucket of its own, with versioning, under a prefix."""

    prefix = "shop/a"

    def __init__(self, home: Path, client: Any) -> None:
        self.home, self.client, self.bucket = home, client, f"releases-{uuid4().hex}"
        self._hooks: list[tuple[str, Callable[..., Any]]] = []
        client.create_bucket(Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        client.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        self.sent: list[Sent] = []
        self.when("before-send.s3", self._note)
        self.caches = 0
        self.store = self.begin()

    def when(self, event: str, act: Callable[..., Any]) -> None:
        """Act on an event of botocore, until the test ends."""
        self.client.meta.events.register(event, act)
        self._hooks.append((event, act))

    def let_go(self) -> None:
        """Act on nothing any more."""
        while self._hooks:
            self.client.meta.events.unregister(*self._hooks.pop())

    def begin(self) -> S3Releases:
        self.caches += 1
        return S3Releases(self.bucket, self.cache, self.prefix, self.client)

    @property
    def cache(self) -> Path:
        """Of the process that began last."""
        return self.home / f"cache-{self.caches}"

    def read(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")["Body"].read()
        return data

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}", Body=data)

    def remove(self, key: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/{key}")

    def keys(self, under: str) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.prefix}/{under}").get("Contents", [])
        return [entry["Key"].removeprefix(f"{self.prefix}/") for entry in found]

    def asked(self, operation: str) -> list[str]:
        """Last parts of the keys that were asked for, and forget all that was sent."""
        names = [sent.key.rpartition("/")[2] for sent in self.sent if sent.operation == operation]
        self.sent.clear()
        return names

    def _note(self, request: Any, event_name: str, **_: Any) -> None:
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        self.sent.append(Sent(event_name.rpartition(".")[2], request.url.partition("?")[0], headers))


def trained(home: Path, seed: int = 0, model: FittedModel | None = None) -> Path:
    """A folder as training leaves it."""
    folder = home / "runs" / f"run-{seed}-{uuid4().hex[:8]}"
    write_bundle(folder, to_bundle(model or toy_model(seed=seed)), FACTS)
    return folder


def sealed_at(place: ReleasePlace, second: int, seed: int | None = None) -> Manifest:
    """A release whose id carries its own second, so that ids sort as the clock would sort them."""
    folder = trained(place.home, second if seed is None else seed)
    manifest = describe_bundle(folder)
    release = f"r20260101T00000{second}-{manifest.digest[:8]}"
    named = msgspec.structs.replace(manifest, id=release, created_at=datetime.now(UTC).isoformat())
    (folder / "manifest.json").write_bytes(msgspec.json.encode(named))
    return place.store.seal(folder)


def publication(store: Releases, release: str) -> Publication:
    """The next publication, of a release."""
    sequence, current = store.next_sequence(), store.current()
    return Publication(
        id=f"p{sequence:06d}-{release[-8:]}-{os.urandom(4).hex()}",
        sequence=sequence,
        release=release,
        served_model="two_tower",
        gate=None,
        previous=current.publication.id if current else None,
        created_at="2026-01-01T00:00:00+00:00",
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
