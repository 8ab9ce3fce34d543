"""Forgetting a user of a deployment: at once what takes no time, by a job what means reading every file.

The job is told by a digest whom it forgets; the id itself and the certificate, which name the user, lie in the data
bucket only until the certificate is here. `asked_jobs.py` starts the job; `cli/aws_jobs.py` prints.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import msgspec

from batch_job.forget import Asked, Stores, forget_at_once
from batch_job.forget_datasets import places_of
from batch_job.forget_journal import BucketJournals
from batch_job.forget_terms import FIREHOSE_SECONDS
from contracts.certificate import Certificate
from local_mode.aws import batch_run
from local_mode.aws.asked_jobs import (
    INPUT_FOLDER,
    OUTPUT_FOLDER,
    AskedJob,
    asked_folder,
    refuse_while_running,
    start,
)
from local_mode.aws.stores import AwsStores
from stores.nights import Nights

JOB: Final = "forget"
_USER, _CERTIFICATE = "user", "certificate.json"
_CERTIFICATE_BYTES: Final = 1 << 20
"""A line for each dataset and snapshot."""


@dataclass(frozen=True)
class Forgetting:
    """A user who is being forgotten."""

    digest: str

    @property
    def user_key(self) -> str:
        """Of the id, for the job."""
        return f"{asked_folder(JOB, self.digest)}given/{_USER}"

    @property
    def certificate_key(self) -> str:
        return f"{asked_folder(JOB, self.digest)}kept/{_CERTIFICATE}"


def leave_at_once(stores: AwsStores, user_id: str, *, again: bool) -> Forgetting:
    """Bury the user and empty the profile. Raises DeploymentNotFound, LiveDataUnavailable, ProfilesUnavailable."""
    stores.deployment.needed("forget_job_role", "live_table")
    asked = Asked(user_id, int(time.time()), again, FIREHOSE_SECONDS)
    kept = Stores(stores.profiles, stores.identities, BucketJournals(stores.data))
    return Forgetting(forget_at_once(asked, kept).digest)


def start_forgetting(stores: AwsStores, user_id: str, forgetting: Forgetting) -> str:
    """Start the job that reads every file; its name.

    Raises NightRunning and StateBusy where others write these files now, DatasetError where a dataset is not whole.
    """
    places_of(Nights(stores.data))  # the job would say so, minutes later
    for job in (JOB, batch_run.JOB):  # a batch that began before the user left sends what it has of them
        refuse_while_running(stores.account, stores.deployment, job)
    key = forgetting.user_key
    stores.data.replace(key, user_id.encode(), stores.data.etag(key), {})
    asked = AskedJob(
        name=JOB,
        arguments=["--user-file", f"{INPUT_FOLDER}/{_USER}", "--certificate", f"{OUTPUT_FOLDER}/{_CERTIFICATE}"],
        given=stores.data.url(key.rpartition("/")[0] + "/"),
        kept=stores.data.url(forgetting.certificate_key.rpartition("/")[0] + "/"),
    )
    return start(stores.account, stores.deployment, asked)


def bring_certificate(stores: AwsStores, forgetting: Forgetting) -> Certificate:
    """The certificate that a job has left; nothing that names the user stays. Raises ObjectMissing."""
    data = stores.data.read(forgetting.certificate_key, _CERTIFICATE_BYTES).data
    certificate = msgspec.json.decode(data, type=Certificate)
    remove_traces(stores, forgetting)
    return certificate


def remove_traces(stores: AwsStores, forgetting: Forgetting) -> None:
    """Remove what names the user and was only for the job."""
    stores.data.delete([forgetting.user_key, forgetting.certificate_key])
