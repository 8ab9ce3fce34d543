"""A rehearsal's first day: the stand-ins filled by the very steps that fill a deployment.

Trains on real or generated data, copies the release, loads it into the search engine, publishes, and writes every
user's profile. `tandem aws rehearse-serving` and `nightly-rehearsal` call it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
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
) -> tuple[Path, Seeded]:
    """Train on `data` (None: a generated world) and make the stand-ins serve it from the search engine.

    Returns the dataset too.
    """
    dataset = prepare(folder, data, 0, say)
    with stores_of(standing, folder) as stores:
        return dataset, seed_with(stores, dataset, progress)


@contextmanager
def stores_of(standing: StandIns, folder: Path) -> Iterator[AwsStores]:
    """The stores of the deployment that the stand-ins are, as commands reach them."""
    deployment = Deployment.of("rehearsal", standing.outputs | _NO_API, "the stand-ins")
    with closing(Account()) as account:
        yield AwsStores(deployment, account, folder / "home")


def seed_with(stores: AwsStores, dataset: Path, progress: Progress) -> Seeded:
    """As `tandem aws seed` does, searched in the engine however small the catalogue: it is the engine that is tried."""
    return seed(dataset, stores, TrainingSettings(effort=Effort.QUICK), engine_above=0, progress=progress)
