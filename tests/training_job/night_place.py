"""A night that has begun, in buckets of its own on moto, and its steps as a processing job starts them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from contracts.fitted import FittedModel, to_bundle
from contracts.night import Accept, NightFacts, Serving
from contracts.night_settings import NightSettings
from contracts.release import Manifest, Publication
from contracts.schema import DatasetSchema
from stores.nights import Nights
from stores.publications import now_text
from stores.release_files import TrainingFacts, write_bundle
from stores.s3_bucket import Bucket
from stores.s3_releases import S3Releases
from tests.toy_world import toy_model
from training_job.__main__ import main


@dataclass
class NightPlace:
    """Buckets, a lease that is held, and the folders of a container."""

    folder: Path
    settings: NightSettings
    nights: Nights
    releases: S3Releases
    night: str = ""
    token: int = 0

    @classmethod
    def make(cls, folder: Path, name: str, s3: Any) -> NightPlace:
        settings = NightSettings(
            data_bucket=f"{name}-data", releases_bucket=f"{name}-releases", home=folder / "tandem-home"
        )
        for bucket in (settings.data_bucket, settings.releases_bucket):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        (folder / "ml").mkdir()
        releases = S3Releases(settings.releases_bucket, folder / "releases", client=s3)
        place = cls(folder, settings, Nights(Bucket(settings.data_bucket, client=s3)), releases)
        lease = place.nights.take_lease("arn:first", lambda _: False)
        return replace(place, night=lease.night, token=lease.token)

    def begin(self, serving: Serving | None = None, accept: tuple[Accept, ...] = ()) -> None:
        """Write what every step is told."""
        self.nights.write(
            self.night,
            NightFacts(
                night=self.night,
                token=self.token,
                execution="arn:first",
                dataset="shop",
                begun_at=1_700_000_000,
                serving=serving,
                accept=accept,
            ),
        )

    def seal(self, model: FittedModel, training: dict[str, Any] | None = None) -> Manifest:
        """Make a model a release."""
        folder = self.folder / f"bundle-{len(self.releases.ids())}"
        facts = TrainingFacts(
            n_items=len(model.items),
            dim=model.items.two_tower.shape[1],
            watermark=model.watermark,
            training=training or {},
        )
        write_bundle(folder, to_bundle(model), facts)
        return self.releases.seal(folder)

    def publish(self, release: str, name: str = "p000001-aaaaaaaa", served_model: str = "two_tower") -> Serving:
        """Let a release serve."""
        publication = Publication(
            id=name,
            sequence=self.releases.next_sequence(),
            release=release,
            served_model=served_model,
            gate=None,
            created_at=now_text(),
        )
        current = self.releases.publish(publication, self.releases.etag())
        return Serving(publication=name, release=release, etag=current.etag)

    def remove(self, *releases: str) -> None:
        """As a sweep does."""
        bucket = Bucket(self.settings.releases_bucket, client=self.nights.bucket._client)
        bucket.delete([key for release in releases for key, _ in bucket.listing(f"releases/{release}/")])

    def serve_schema(self, schema: DatasetSchema) -> Serving:
        """Let a release of this schema serve; nothing else of it is looked at."""
        return self.publish(self.seal(replace(toy_model(n_items=20, n_cold=2), schema=schema)).id)

    def run(self, step: str, dataset: Path) -> tuple[int, str]:
        """A step as a processing job starts it: its exit status, and the message that SageMaker would show."""
        environment = self.settings.to_env() | {"TANDEM_ML": str(self.folder / "ml")}
        arguments = [step, "--night", self.night, "--token", str(self.token), "--dataset", str(dataset)]
        status = main(arguments, environment)
        message = self.folder / "ml" / "output" / "message"
        return status, message.read_text() if message.exists() else ""
