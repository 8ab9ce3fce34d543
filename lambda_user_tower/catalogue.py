"""What an event is held against: the schema and the item ids of the publication that serves, and nothing else of it.

A process that only takes events in neither opens vectors nor searches. `following.py` keeps it up to date, `edge.py`
pins one `OpenCatalogue` for a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.fitted import Catalogue
from contracts.release import Publication
from lambda_user_tower.following import Following, Opened


@dataclass(frozen=True, kw_only=True)
class OpenCatalogue(Opened):
    """The catalogue of a publication."""

    catalogue: Catalogue


class Catalogues(Following[OpenCatalogue]):
    """The catalogue that serves, kept up to date."""

    def _open(self, publication: Publication, etag: str | None) -> OpenCatalogue:
        catalogue = self._releases.open_catalogue(publication.release)
        self._log.write("INFO", "catalogue-opened", publication=publication.id, release=publication.release)
        return OpenCatalogue(publication=publication, etag=etag, catalogue=catalogue)
