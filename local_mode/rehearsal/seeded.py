"""A rehearsal's first day: the stand-ins filled by the very steps that fill a deployment.

Trains on real or generated data, copies the release, loads it into the search engine, publishes, and writes every
user's profile. `tandem aws rehearse-serving` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from local_mode.aws.account import Account
from local_mode.aws.deployment import Deployment
from local_mode.aws.seed import Seeded, seed
from local_mode.aws.stores import AwsStores
from local_mode.demo import prepare
from local_mode.publishing import Progress
from local_mode.rehearsal.stand_ins import StandIns
from training_job.settings import Effort, TrainingSettings

_NO_API: Final = {"ApiUrl": "http://127.0.0.1"}
"""Nothing that is filled is reached through it."""


def seeded(
    standing: StandIns, folder: Path, data: Path | None, say: Callable[[str], None], progress: Progress
) -> Seeded:
    """Train on `data` (None: a generated world) and make the stand-ins serve it from the search engine."""
    dataset = prepare(folder, data, 0, say)
    deployment = Deployment.of("rehearsal", standing.outputs | _NO_API, "the stand-ins")
    settings = TrainingSettings(effort=Effort.QUICK)
    with closing(Account()) as account:
        stores = AwsStores(deployment, account, folder / "home")
        # however small the catalogue: it is the search engine that is rehearsed
        return seed(dataset, stores, settings, engine_above=0, progress=progress)
