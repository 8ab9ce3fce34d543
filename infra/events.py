"""Events, exposures and slates on their way to Parquet: a stream of Firehose and a table of Glue each, over one bucket.

The columns are those of `contracts/event_columns.py`. Partitions are days of arrival and are projected, so nothing has
to register them. It does not know who writes: the function of events does, and that of slates both other logs.
`stacks.py` makes one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aws_cdk import Aws, Duration, Size
from aws_cdk import aws_glue as glue
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesisfirehose as firehose
from aws_cdk import aws_s3 as s3
from constructs import Construct

from contracts.event_columns import EVENT_COLUMNS, EXPOSURE_COLUMNS, PARTITION_COLUMN, SLATE_COLUMNS
from infra.profiles import Deployment
from infra.storage import ERRORS_PREFIX, EVENTS_PREFIX, EXPOSURES_PREFIX, SLATES_PREFIX, log_group

BUFFER_MIB: Final = 64
"""Least that Firehose takes when it makes Parquet; the interval ends a file long before."""
FIRST_DAY: Final = "2026-01-01"
"""Where the projection of partitions begins: before this project."""
TABLE_ACTIONS: Final = ("glue:GetTable", "glue:GetTableVersion", "glue:GetTableVersions")
"""Reading the columns, as Firehose does for every file."""
BUCKET_ACTIONS: Final = ("s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads")
OBJECT_ACTIONS: Final = ("s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject")
"""What AWS lists for delivery to a bucket of the same account."""

_DAY: Final = "!{timestamp:yyyy-MM-dd}"
_ERROR_KIND: Final = "!{firehose:error-output-type}"
_PARQUET_CLASSES: Final = "org.apache.hadoop.hive.ql.io.parquet"


class Log(NamedTuple):
    """One log: its table's name, its folder, its columns."""

    name: str
    prefix: str
    columns: tuple[tuple[str, str], ...]


EVENTS: Final = Log("events", EVENTS_PREFIX, EVENT_COLUMNS)
EXPOSURES: Final = Log("exposures", EXPOSURES_PREFIX, EXPOSURE_COLUMNS)
SLATES: Final = Log("slates", SLATES_PREFIX, SLATE_COLUMNS)


class Events(Construct):
    """What happened, and what was served: the logs that training and experiments read."""

    def __init__(self, scope: Construct, construct_id: str, deployment: Deployment, bucket: s3.IBucket) -> None:
        super().__init__(scope, construct_id)
        database = glue.CfnDatabase(
            self,
            "Database",
            catalog_id=Aws.ACCOUNT_ID,
            database_input=glue.CfnDatabase.DatabaseInputProperty(
                name=deployment.prefix.replace("-", "_"),  # a hyphen would have to be quoted in every query
                description="Events, exposures and slates of Tandem",
            ),
        )
        self.database_name = database.ref
        delivery = Delivery(deployment, bucket, database)
        self.events = ParquetLog(self, "Events", EVENTS, delivery)
        self.exposures = ParquetLog(self, "Exposures", EXPOSURES, delivery)
        self.slates = ParquetLog(self, "Slates", SLATES, delivery)

    @property
    def logs(self) -> tuple[ParquetLog, ...]:
        """All of them."""
        return self.events, self.exposures, self.slates


class Delivery(NamedTuple):
    """What the logs share."""

    deployment: Deployment
    bucket: s3.IBucket
    database: glue.CfnDatabase


class ParquetLog(Construct):
    """JSON lines in, Parquet files by day out; a line that has not these columns goes to the errors."""

    def __init__(self, scope: Construct, construct_id: str, log: Log, delivery: Delivery) -> None:
        super().__init__(scope, construct_id)
        self.name, self._log, self._delivery = log.name, log, delivery
        self.table, self.errors = self._table(), log_group(self, "Errors", delivery.deployment)
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("firehose.amazonaws.com"))
        policy = iam.Policy(self, "Policy", statements=self._statements(), roles=[role])
        self.stream = firehose.DeliveryStream(
            self,
            "Stream",
            destination=self._destination(role.without_policy_updates()),  # the L2 would grant s3:GetObject* and more
            encryption=firehose.StreamEncryption.aws_owned_key(),
        )
        self.stream.node.add_dependency(policy)

    def _table(self) -> glue.CfnTable:
        location = f"s3://{self._delivery.bucket.bucket_name}/{self._log.prefix}"
        return glue.CfnTable(
            self,
            "Table",
            catalog_id=Aws.ACCOUNT_ID,
            database_name=self._delivery.database.ref,
            table_input=glue.CfnTable.TableInputProperty(
                name=self._log.name,
                table_type="EXTERNAL_TABLE",
                partition_keys=[glue.CfnTable.ColumnProperty(name=PARTITION_COLUMN, type="date")],
                parameters=_projection(location),
                storage_descriptor=_parquet(location, self._log.columns),
            ),
        )

    def _destination(self, role: iam.IRole) -> firehose.S3Bucket:
        delivery = self._delivery
        return firehose.S3Bucket(
            delivery.bucket,
            role=role,
            data_output_prefix=f"{self._log.prefix}{PARTITION_COLUMN}={_DAY}/",
            error_output_prefix=f"{ERRORS_PREFIX}{self._log.prefix}{_ERROR_KIND}/{PARTITION_COLUMN}={_DAY}/",
            buffering_interval=Duration.seconds(delivery.deployment.stream_seconds),
            buffering_size=Size.mebibytes(BUFFER_MIB),
            logging_config=firehose.EnableLogging(self.errors),
            data_format_conversion=firehose.DataFormatConversionProps(
                schema_configuration=firehose.SchemaConfiguration.from_cfn_table(self.table),
                input_format=firehose.InputFormat.OPENX_JSON,
                output_format=firehose.OutputFormat.PARQUET,
            ),
        )

    def _statements(self) -> list[iam.PolicyStatement]:
        delivery, prefix = self._delivery, self._log.prefix
        objects = [delivery.bucket.arn_for_objects(f"{folder}*") for folder in (prefix, f"{ERRORS_PREFIX}{prefix}")]
        catalog = f"arn:{Aws.PARTITION}:glue:{Aws.REGION}:{Aws.ACCOUNT_ID}"
        database, table = delivery.database.ref, self.table.ref
        tables = [f"{catalog}:catalog", f"{catalog}:database/{database}", f"{catalog}:table/{database}/{table}"]
        return [
            iam.PolicyStatement(actions=[*BUCKET_ACTIONS], resources=[delivery.bucket.bucket_arn]),
            iam.PolicyStatement(actions=[*OBJECT_ACTIONS], resources=objects),
            iam.PolicyStatement(actions=[*TABLE_ACTIONS], resources=tables),
            iam.PolicyStatement(actions=["logs:PutLogEvents"], resources=[self.errors.log_group_arn]),
        ]


def _projection(location: str) -> dict[str, str]:
    """Every day from the first to today is a partition, without anybody adding it."""
    column = f"projection.{PARTITION_COLUMN}"
    return {
        "EXTERNAL": "TRUE",
        "classification": "parquet",
        "projection.enabled": "true",
        f"{column}.type": "date",
        f"{column}.format": "yyyy-MM-dd",
        f"{column}.range": f"{FIRST_DAY},NOW",
        "storage.location.template": f"{location}{PARTITION_COLUMN}=${{{PARTITION_COLUMN}}}/",
    }


def _parquet(location: str, columns: tuple[tuple[str, str], ...]) -> glue.CfnTable.StorageDescriptorProperty:
    return glue.CfnTable.StorageDescriptorProperty(
        location=location,
        columns=[glue.CfnTable.ColumnProperty(name=name, type=kind) for name, kind in columns],
        input_format=f"{_PARQUET_CLASSES}.MapredParquetInputFormat",
        output_format=f"{_PARQUET_CLASSES}.MapredParquetOutputFormat",
        serde_info=glue.CfnTable.SerdeInfoProperty(serialization_library=f"{_PARQUET_CLASSES}.serde.ParquetHiveSerDe"),
    )
