"""What an item is told against: the schema, the ids and the encoder of the publication that serves.

A process that only takes items in needs all of a release that their vectors are made of, and no search engine.
`following.py` keeps it up to date, the answers about items pin one `OpenEncoder` each.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.ids import IdTable
from contracts.release import Publication
from contracts.schema import DatasetSchema
from lambda_user_tower.following import Following, Opened
from retrieval.fresh import FreshEncoder
from retrieval.golden import replay_golden


@dataclass(frozen=True, kw_only=True)
class OpenEncoder(Opened):
    """The encoder of a publication's release."""

    encoder: FreshEncoder

    @property
    def schema(self) -> DatasetSchema:
        return self.encoder.fitted.schema

    @property
    def ids(self) -> IdTable:
        """Items that the release knows."""
        return self.encoder.fitted.items.ids


class Encoders(Following[OpenEncoder]):
    """The encoder of what serves, kept up to date."""

    def _open(self, publication: Publication, etag: str | None) -> OpenEncoder:
        fitted = self._releases.open(publication.release, head_only=publication.index is not None)
        replay_golden(fitted)  # what would be encoded differently from training must not be stored
        encoder = FreshEncoder(fitted, publication.release)
        encoder.encode({})  # its tables are made here, and not by the first item
        self._log.write("INFO", "encoder-opened", publication=publication.id, release=publication.release)
        return OpenEncoder(publication=publication, etag=etag, encoder=encoder)
