"""The health answer: what serves, how old it is, and in which versions the code reads what is stored.

`edge.py` calls it for `GET /v1/health`; where nothing is published or nothing opens, it never gets that far and
the answer is a problem with status 503.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from contracts import feature_encoder, release, schema
from contracts.candidates import Degraded
from lambda_user_tower.engine import EngineIndex
from lambda_user_tower.experimenting import Experiments
from lambda_user_tower.live import LiveItems
from lambda_user_tower.serving import Served


class Health(msgspec.Struct, frozen=True):
    """What serves."""

    status: str
    """`ok`, or `degraded` where something newer is published than what could be opened."""
    release: str
    publication: str
    sequence: int
    served_model: str
    n_items: int
    """Of the release."""
    fresh_items: int
    """Items served that the release does not know."""
    live_age_seconds: float | None
    """Since live items were read, which is done every few seconds while requests come; None: not yet."""
    index: str
    """`embedded`, or the index of the search engine; the latter with ` (not reachable)` while it does not open."""
    age_seconds: int
    """Since the publication was made."""
    degraded: list[str]
    versions: dict[str, str]
    """Stored thing → the versions of it that this code reads, `oldest-current`."""
    experiments: int | None = None
    """Sequence of the envelope of experiments that decides; None: none does, and nobody takes part in any."""


VERSIONS: Final = {
    name: f"{module.OLDEST_READABLE_VERSION}-{module.CURRENT_VERSION}"
    for name, module in (("release", release), ("schema", schema), ("feature_encoder", feature_encoder))
}


def health(served: Served, live: LiveItems, experiments: Experiments) -> Health:
    """The health of an opened publication, of the live items over it, and of the experiments.

    Old live items or experiments are told, and do not make it `degraded`: that is about what is published, which a
    deploy asks for.
    """
    publication, items, now_seconds = served.publication, served.model.items, time.time()
    degraded = [note for note in served.degraded if note != Degraded.LIVE_DATA_OLD]
    deciding = experiments.deciding
    return Health(
        status="degraded" if degraded else "ok",
        release=publication.release,
        publication=publication.id,
        sequence=publication.sequence,
        served_model=publication.served_model,
        n_items=items.released,
        fresh_items=len(items) - items.released,
        live_age_seconds=live.age_seconds,
        index=_index_label(served),
        age_seconds=served.age_seconds(now_seconds),
        degraded=[*served.degraded, *experiments.degraded(now_seconds)],
        versions=VERSIONS,
        experiments=None if deciding is None or deciding.is_too_old(now_seconds) else deciding.sequence,
    )


def _index_label(served: Served) -> str:
    if served.publication.index is None:
        return "embedded"
    reachable = not isinstance(served.index, EngineIndex) or served.index.is_open
    return served.publication.index if reachable else f"{served.publication.index} (not reachable)"
