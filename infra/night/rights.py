"""What each function and each job of a night may do: keys of the two buckets, methods of the search domain, the table.

One line per unit, no key and no method that its code does not use; `permissions.py` makes statements of it, and
`infra/acknowledged.py` has the reason of each wildcard from here. Pure data.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from contracts.night import BASE_KEY, DATASETS, EVENT_LOG, NIGHTS, SNAPSHOTS, TRAININGS, Step
from contracts.processing_job import ASKED, FORGOTTEN, RECOMMENDATIONS
from infra.permissions import RELEASE_KEYS
from infra.storage import EXPOSURES_PREFIX, SLATES_PREFIX

ALL_NIGHTS: Final = f"{NIGHTS}*"
ALL_SNAPSHOTS: Final = f"{SNAPSHOTS}*"
ALL_DATASETS: Final = f"{DATASETS}*"
RELEASES, PUBLICATIONS, POINTER = RELEASE_KEYS
ALL_TRAININGS: Final = f"{TRAININGS}*"
MODELS: Final = f"{NIGHTS}*/training/*"
CHECKPOINTS: Final = f"{NIGHTS}*/checkpoints/*"

WHY: Final = {
    ALL_NIGHTS: "Every night has a folder of its own, and the lease lies beside them.",
    ALL_SNAPSHOTS: "Every night has a dataset of its own.",
    ALL_DATASETS: "Datasets are seeded under names of their own.",
    f"{DATASETS}*.files.json": "Datasets are seeded under names of their own.",
    f"{SNAPSHOTS}*.files.json": "Every night has a dataset of its own.",
    f"{EVENT_LOG}*": "Firehose names the files of the log itself.",
    f"{RECOMMENDATIONS}*": "Every batch has a folder of its own.",
    f"{EXPOSURES_PREFIX}*": "Firehose names the files of the log itself.",
    f"{SLATES_PREFIX}*": "Firehose names the files of the log itself.",
    f"{FORGOTTEN}*": "Every forgetting has a journal of its own.",
    f"{ASKED}*": "Every job that somebody asks for has a folder of its own.",
    f"{NIGHTS}*/snapshot.json": "Every night has a report of its own.",
    ALL_TRAININGS: "Every training from a laptop has a folder of its own.",
    MODELS: "SageMaker writes a model under the name of its job.",
    CHECKPOINTS: "SageMaker mirrors whatever checkpoints a training writes.",
    RELEASES: "Every night seals a release under an id of its own.",
    PUBLICATIONS: "Every night adds a publication under an id of its own.",
}
"""Key with a wildcard → why it has one."""


class Rights(NamedTuple):
    """Of one function or job. Buckets that are read are listed, too: who may not is refused what is not there."""

    data_read: tuple[str, ...] = ()
    data_write: tuple[str, ...] = ()
    data_delete: tuple[str, ...] = ()
    releases_read: tuple[str, ...] = ()
    releases_write: tuple[str, ...] = ()
    releases_delete: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    """Methods of HTTP at the domain."""
    profiles: tuple[str, ...] = ()
    """Actions on the table of profiles."""
    live: tuple[str, ...] = ()
    """Actions on the table of live data."""
    feed: bool = False
    """Whether it asks what of live data serving has to know."""
    executions: bool = False
    """Whether it asks which nights run."""


_PUBLISHED: Final = (PUBLICATIONS, POINTER)

FUNCTIONS: Final = {
    "begin": Rights(
        data_read=(ALL_NIGHTS, f"{SNAPSHOTS}*.files.json", f"{DATASETS}*.files.json"),
        data_write=(ALL_NIGHTS,),
        releases_read=_PUBLISHED,
        executions=True,
    ),
    "seal": Rights((ALL_NIGHTS,), (ALL_NIGHTS,), releases_read=(RELEASES,), releases_write=(RELEASES,)),
    "prepare": Rights((ALL_NIGHTS,), (ALL_NIGHTS,), releases_read=RELEASE_KEYS, search=("Delete", "Get", "Put")),
    "load": Rights((ALL_NIGHTS,), releases_read=(RELEASES,), search=("Get", "Post")),
    "merge": Rights((ALL_NIGHTS,), search=("Get", "Post", "Put")),
    "merged": Rights((ALL_NIGHTS,), search=("Get", "Post", "Put")),
    "verify": Rights((ALL_NIGHTS,), (ALL_NIGHTS,), releases_read=(RELEASES,), search=("Get", "Post")),
    "publish": Rights(
        (ALL_NIGHTS,),
        (ALL_NIGHTS,),
        releases_read=RELEASE_KEYS,
        releases_write=_PUBLISHED,
        search=("Get",),
        live=("Query", "UpdateItem"),
        feed=True,
    ),
    "sweep": Rights(
        (ALL_NIGHTS, BASE_KEY),
        data_delete=(ALL_SNAPSHOTS,),
        releases_read=RELEASE_KEYS,
        releases_delete=(RELEASES,),
        search=("Delete", "Get"),
        live=("UpdateItem",),
        feed=True,
    ),
    "finish": Rights((ALL_NIGHTS,), (ALL_NIGHTS,)),
    "fail": Rights((ALL_NIGHTS,), (ALL_NIGHTS,), (ALL_NIGHTS,), releases_read=_PUBLISHED, search=("Delete",)),
}
"""Function → its rights."""

JOBS: Final = {
    Step.SNAPSHOT: Rights(
        data_read=(ALL_NIGHTS, ALL_SNAPSHOTS, ALL_DATASETS, f"{EVENT_LOG}*"),
        data_write=(ALL_NIGHTS, ALL_SNAPSHOTS),
        data_delete=(ALL_SNAPSHOTS,),
        live=("Query",),
    ),
    Step.CHECK: Rights(
        data_read=(ALL_NIGHTS, ALL_SNAPSHOTS), data_write=(ALL_NIGHTS, BASE_KEY), releases_read=RELEASE_KEYS
    ),
    Step.TRAIN: Rights(
        data_read=(ALL_SNAPSHOTS, ALL_DATASETS, CHECKPOINTS, ALL_TRAININGS),
        data_write=(MODELS, CHECKPOINTS, ALL_TRAININGS),
    ),
    Step.GATE: Rights((ALL_NIGHTS, ALL_SNAPSHOTS), (ALL_NIGHTS,), releases_read=RELEASE_KEYS),
    Step.BACKFILL: Rights((ALL_NIGHTS, ALL_SNAPSHOTS), profiles=("BatchGetItem", "PutItem")),
}
"""Job of a night → its rights."""

ALL_RECOMMENDATIONS: Final = f"{RECOMMENDATIONS}*"
ALL_ASKED: Final = f"{ASKED}*"
_OF_A_USER: Final = (
    *(f"{EVENT_LOG}*", f"{EXPOSURES_PREFIX}*", f"{SLATES_PREFIX}*", ALL_DATASETS, ALL_SNAPSHOTS),
    *(ALL_RECOMMENDATIONS, f"{FORGOTTEN}*", ALL_ASKED),
)

ON_DEMAND: Final = {
    "recommend": Rights(
        data_read=(ALL_RECOMMENDATIONS, ALL_ASKED),
        data_write=(ALL_RECOMMENDATIONS, ALL_ASKED),
        data_delete=(ALL_RECOMMENDATIONS, ALL_ASKED),
        releases_read=RELEASE_KEYS,
        profiles=("BatchGetItem", "Scan"),
        live=("Query",),
        feed=True,
    ),
    "forget": Rights(
        data_read=(*_OF_A_USER, ALL_NIGHTS),
        data_write=(*_OF_A_USER, f"{NIGHTS}*/snapshot.json"),
        profiles=("GetItem", "PutItem"),
        live=("DeleteItem", "GetItem", "Query", "UpdateItem"),
    ),
}
"""Job that somebody asks for → its rights."""
