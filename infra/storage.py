"""What is kept: buckets of releases and of events, tables of profiles and of live data, keys of logs and experiments.

It does not know who reads or writes; `permissions.py` says that. `stacks.py` makes one, in the stack that holds data.
"""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from contracts.night import NIGHTS, TRAININGS
from contracts.processing_job import ASKED
from infra.profiles import Deployment
from stores.dynamodb_table import KEY
from stores.live_table import CHANGED, EXPIRES, FEED, ID, KIND

POINTER_KEY: Final = "current.json"
"""The object that says what serves (`stores/releases.py`)."""
EVENTS_PREFIX, EXPOSURES_PREFIX, SLATES_PREFIX, ERRORS_PREFIX = "events/", "exposures/", "slates/", "errors/"
OLD_VERSION_DAYS: Final = 30
"""A pointer or a release that was overwritten or deleted by mistake can be fetched back for so long."""
ERROR_DAYS: Final = 30
"""What Firehose could not convert waits so long for somebody to look."""
ASKED_DAYS: Final = 7
"""Ids that a job was given: the longest that one which broke off is gone on with."""
NIGHT_PREFIX: Final = f"{NIGHTS}n"
"""Of the folder of every night, but not of the lease: its token must never begin anew."""
LARGE_BYTES: Final = 1 << 20
LARGE_DAYS: Final = 30
"""Models and checkpoints of a night: what was published is a release by then, and a night is gone on with sooner."""
DOCUMENT_DAYS: Final = 730
"""What a night wrote about itself, some kilobytes: the next one reads the report of the snapshot that it grows from,
which may be old where nights were paused."""
ACCESS_LOG_DAYS: Final = 90
UPLOAD_DAYS: Final = 1
"""An upload in parts that nobody finished is paid for and seen by nobody."""
KEY_CHARACTERS: Final = 43
"""Of 62 letters and digits: 256 bits."""


def removal_policy(deployment: Deployment) -> RemovalPolicy:
    """Whether a resource outlives its stack."""
    return RemovalPolicy.RETAIN if deployment.keep_data else RemovalPolicy.DESTROY


def log_group(scope: Construct, name: str, deployment: Deployment, log_name: str | None = None) -> logs.LogGroup:
    """A log group that is named by CloudFormation, forgets after `log_days`, and goes with its stack.

    `log_name`: for a service that wants its log groups to begin with something.
    """
    retention = logs.RetentionDays[_RETENTION[deployment.log_days]]
    return logs.LogGroup(
        scope, name, log_group_name=log_name, retention=retention, removal_policy=RemovalPolicy.DESTROY
    )


_RETENTION: Final = {14: "TWO_WEEKS", 90: "THREE_MONTHS"}
"""Names of the days that the profiles use."""


class Storage(Construct):
    """The resources of a deployment that cannot be made again from code."""

    def __init__(self, scope: Construct, construct_id: str, deployment: Deployment) -> None:
        super().__init__(scope, construct_id)
        self._deployment = deployment
        self.access_logs = self._bucket(
            "AccessLogs", lifecycle_rules=[s3.LifecycleRule(expiration=Duration.days(ACCESS_LOG_DAYS))]
        )
        self.releases = self._logged_bucket("Releases", versioned=True, lifecycle_rules=_release_rules())
        self.data = self._logged_bucket("Data", lifecycle_rules=_data_rules(deployment.retention_days))
        self.profiles, self.live = self._profiles(), self._live()
        self.log_key = self._secret(
            "LogKey", "Key under which user ids are hashed in logs. Another one: old and new lines cannot be joined"
        )
        self.experiments_key = self._secret(
            "ExperimentsKey", "Key under which payloads of experiments are signed. Another one: push them again"
        )

    def _secret(self, name: str, description: str) -> secretsmanager.Secret:
        """A key that Secrets Manager makes and no template holds."""
        return secretsmanager.Secret(
            self,
            name,
            description=description,
            generate_secret_string=secretsmanager.SecretStringGenerator(
                exclude_punctuation=True, password_length=KEY_CHARACTERS
            ),
            removal_policy=removal_policy(self._deployment),
        )

    def _logged_bucket(self, name: str, **more: object) -> s3.Bucket:
        return self._bucket(
            name, server_access_logs_bucket=self.access_logs, server_access_logs_prefix=f"{name.lower()}/", **more
        )

    def _bucket(self, name: str, **more: object) -> s3.Bucket:
        """Private, encrypted by S3, by TLS only. A profile that keeps nothing empties it before deletion."""
        return s3.Bucket(
            self,
            name,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            removal_policy=removal_policy(self._deployment),
            auto_delete_objects=not self._deployment.keep_data,
            **more,  # type: ignore[arg-type]  # keywords of the two callers above
        )

    def _profiles(self) -> dynamodb.TableV2:
        """One record a user, read by key; those of anonymous sessions expire."""
        return self._table("Profiles", partition_key=_key(KEY), time_to_live_attribute=EXPIRES)

    def _live(self) -> dynamodb.TableV2:
        """What changes between two nights (`stores/live_table.py`); a local index can be read consistently."""
        feed = dynamodb.LocalSecondaryIndexProps(index_name=FEED, sort_key=_key(CHANGED, dynamodb.AttributeType.NUMBER))
        return self._table(
            "Live",
            partition_key=_key(KIND),
            sort_key=_key(ID),
            local_secondary_indexes=[feed],
            time_to_live_attribute=EXPIRES,
        )

    def _table(self, name: str, **more: object) -> dynamodb.TableV2:
        """Paid by request, for nights and campaigns differ by a hundred times."""
        keep = self._deployment.keep_data
        encryption = dynamodb.TableEncryptionV2
        return dynamodb.TableV2(
            self,
            name,
            billing=dynamodb.Billing.on_demand(),
            encryption=encryption.aws_managed_key() if keep else encryption.dynamo_owned_key(),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=keep
            ),
            deletion_protection=keep,
            removal_policy=removal_policy(self._deployment),
            **more,  # type: ignore[arg-type]  # keywords of the two callers above
        )


def _key(name: str, kind: dynamodb.AttributeType = dynamodb.AttributeType.STRING) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=kind)


def _release_rules() -> list[s3.LifecycleRule]:
    """Nothing current expires: the sweep knows which releases are still needed."""
    return [
        s3.LifecycleRule(
            id="old-versions",
            noncurrent_version_expiration=Duration.days(OLD_VERSION_DAYS),
            expired_object_delete_marker=True,
        ),
        s3.LifecycleRule(id="unfinished-uploads", abort_incomplete_multipart_upload_after=Duration.days(UPLOAD_DAYS)),
    ]


def _data_rules(retention_days: int) -> list[s3.LifecycleRule]:
    kept = [
        s3.LifecycleRule(id=prefix.strip("/"), prefix=prefix, expiration=Duration.days(days))
        for prefix, days in (
            (EVENTS_PREFIX, retention_days),
            (EXPOSURES_PREFIX, retention_days),
            (SLATES_PREFIX, retention_days),
            (ERRORS_PREFIX, min(ERROR_DAYS, retention_days)),
            (TRAININGS, LARGE_DAYS),
            (ASKED, ASKED_DAYS),
        )
    ]
    nights = [
        s3.LifecycleRule(
            id="night-models",
            prefix=NIGHT_PREFIX,
            object_size_greater_than=LARGE_BYTES,
            expiration=Duration.days(LARGE_DAYS),
        ),
        s3.LifecycleRule(id="night-documents", prefix=NIGHT_PREFIX, expiration=Duration.days(DOCUMENT_DAYS)),
    ]
    uploads = s3.LifecycleRule(
        id="unfinished-uploads", abort_incomplete_multipart_upload_after=Duration.days(UPLOAD_DAYS)
    )
    return [*kept, *nights, uploads]
