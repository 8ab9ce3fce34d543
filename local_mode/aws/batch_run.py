"""A batch of recommendations in a deployment: what the job is told, and what it has left in the data bucket.

Slates are set as those of the recommend function are, whose settings are asked of Lambda. `asked_jobs.py` starts the
job; `cli/aws_jobs.py` prints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from contracts.batch import BATCH_SUCCESS, BatchDone
from contracts.errors import DatasetError, RequestInvalid
from contracts.processing_job import RECOMMENDATIONS, SCRATCH
from local_mode.aws.account import Account, naming_aws_failures
from local_mode.aws.asked_jobs import INPUT_FOLDER, AskedJob, asked_folder, refuse_while_running, start
from local_mode.aws.deployment import Deployment
from local_mode.aws.stores import AwsStores
from reranking.settings import RerankSettings
from retrieval.settings import RetrievalSettings
from stores.mirrored_folder import entry_of

JOB: Final = "recommend"
EVERYBODY: Final = "all"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_DONE_BYTES: Final = 1 << 20
_PROMOTION: Final = ("TANDEM_PROMOTED", "TANDEM_PROMOTED_SHARE")


@dataclass(frozen=True)
class BatchAsked:
    """One batch. Raises RequestInvalid for a name that is none, DatasetError for a file that is not there."""

    name: str
    """Of its folder in the data bucket; a batch that broke off is gone on with under the same one."""
    users: Path | None
    """File of ids; None: everybody with a profile."""
    num_items: int
    restart: bool

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise RequestInvalid(
                f"{self.name!r} is no name of a batch.", fix="Give 1 to 63 of a-z, 0-9 and -, the first no -."
            )
        if self.users is not None and not self.users.is_file():
            raise DatasetError(f"{self.users}: there is no such file.", fix=f"Name a file of ids, or `{EVERYBODY}`.")

    @property
    def prefix(self) -> str:
        """Where its parts lie in the data bucket."""
        return f"{RECOMMENDATIONS}{self.name}/"


def start_batch(stores: AwsStores, asked: BatchAsked) -> str:
    """Send the ids and start the job; its name. Raises StateBusy where this batch is being made, AwsCallFailed."""
    deployment, account = stores.deployment, stores.account
    deployment.needed("recommend_function", "recommend_job_role")
    name = f"--name={asked.name}"
    refuse_while_running(account, deployment, JOB, name)
    users, given = EVERYBODY, ""
    if asked.users is not None:
        key = _given(asked.name, asked.users)
        stores.data.upload(key, asked.users, entry_of(asked.users))
        users, given = f"{INPUT_FOLDER}/{_file(asked.users)}", stores.data.url(key.rpartition("/")[0] + "/")
    arguments = ["--users", users, "--out", f"{SCRATCH}/batch", name, "--num-items", str(asked.num_items)]
    arguments += ["--restart"] if asked.restart else []
    settings = serving_settings(account, deployment)
    return start(account, deployment, AskedJob(name=JOB, arguments=arguments, given=given, settings=settings))


def batch_done(stores: AwsStores, asked: BatchAsked) -> BatchDone:
    """What a finished batch says of itself. Raises ObjectMissing where it is none."""
    return msgspec.json.decode(stores.data.read(asked.prefix + BATCH_SUCCESS, _DONE_BYTES).data, type=BatchDone)


def remove_given(stores: AwsStores, asked: BatchAsked) -> None:
    """Remove the ids that were sent."""
    if asked.users is not None:
        stores.data.delete([_given(asked.name, asked.users)])


def serving_settings(account: Account, deployment: Deployment) -> Mapping[str, str]:
    """How the recommend function retrieves and re-ranks, as variables. Raises AwsCallFailed."""
    with naming_aws_failures():
        told = account.client("lambda").get_function_configuration(FunctionName=deployment.recommend_function)
    variables: dict[str, str] = told.get("Environment", {}).get("Variables", {})
    names = {*RetrievalSettings().to_env(), *RerankSettings().to_env(), *_PROMOTION}
    return {name: value for name, value in sorted(variables.items()) if name in names and value}


def _given(name: str, users: Path) -> str:
    return f"{asked_folder(JOB, name)}given/{_file(users)}"


def _file(users: Path) -> str:
    """The name says what kind of file it is, and nothing else."""
    return f"users{users.suffix}"
