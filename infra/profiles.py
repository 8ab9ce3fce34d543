"""The three context profiles: what is deployed in which size, every figure with its reason.

`context.py` picks one by `-c profile=` and lets other context values replace single knobs; the constructs read what
comes out. Nothing here knows CDK, an account or a region.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from contracts.fitted import HEAD_ITEMS
from contracts.training_image import CPU_INSTANCE, GPU_INSTANCE
from lambda_user_tower.settings import LambdaSettings
from training_job.settings import Effort

HOUR: Final = 3_600
FUNCTION_HOME: Final = Path("/tmp/tandem")  # noqa: S108  # the one folder that a function can write, its own
"""Where a process keeps the files of the releases that it has opened."""


@dataclass(frozen=True)
class SearchSize:
    """The OpenSearch domain."""

    instance: str
    """Type of a data node."""
    nodes: int
    """Data nodes, spread evenly over the zones."""
    volume_gb: int
    """gp3 volume of each."""
    masters: int
    """Dedicated masters; 0: data nodes do it. Never 1 or 2, which are no quorum."""
    slow_logs: bool
    """Slow queries and errors in CloudWatch Logs."""
    master_instance: str = "m7g.large.search"
    """What AWS advises for up to ten data nodes, in the family that the data nodes are of."""


@dataclass(frozen=True)
class NightSize:
    """The nightly retrain: when, on what, and how long at most. The defaults are those of `dev`."""

    night_enabled: bool = True
    """Whether the schedule starts nights; `tandem aws pause` and `resume` change it without a deploy."""
    night_schedule: str = "cron(0 3 * * ? *)"
    """When few are awake, and the day before is in the log."""
    time_zone: str = "UTC"
    """Of the schedule."""
    training_instance: str = CPU_INSTANCE
    """No GPU by itself: a new account may not have one, and the first night would fail on that."""
    training_instances: int = 1
    training_image: str = ""
    """Address of an image in ECR; empty: AWS's own of the region, for a CPU or a GPU."""
    training_seconds: int = 4 * HOUR
    """Longest that a training runs: an hour is usual, and what hangs costs no more than this."""
    processing_instance: str = "ml.m5.xlarge"
    """Four CPUs, 16 GB: the jobs read in streams; one bucket of users of 64 is in memory at a time."""
    processing_image: str = ""
    """Likewise; always for a CPU."""
    processing_seconds: int = 2 * HOUR
    volume_gb: int = 50
    """Disk of a job: dataset, checkpoints and release of 100,000 items, many times over."""
    spot: bool = True
    """Whether trainings take spare machines, at most 90 % cheaper, which can be taken away: checkpoints go on."""
    capacity_tries: int = 3
    """Trainings on spare machines that are begun in vain before one is paid in full."""
    capacity_wait_seconds: int = 600
    """Between these: spare machines come back within minutes, or not this night."""
    poll_seconds: int = 30
    """Between two looks at the merge of an index, which takes minutes."""
    dataset: str = ""
    """Name of the seeded dataset; empty: the only one there is."""
    engine_above: int = HEAD_ITEMS
    """A catalogue of more items than this is searched in the domain."""
    effort: str = Effort.STANDARD.value
    tuned: str = ""
    """What `tandem tune` found better than the derived recipe, as `RecipeChanges.text`."""
    few_events_percent: int = 20
    """A day with fewer events than this part of a usual one is refused. 0: never."""
    history_days: int = 0
    """Older events leave the dataset; 0: none do, for what is seeded may be from years ago."""
    parallel_loads: int = 2
    """Parts of an index that are loaded at once: one CPU of the domain each."""
    night_memory_mb: int = 1_769
    """Of the functions that handle a whole release: one whole CPU, and ten times the 70 MB of 100,000 items."""
    night_storage_mb: int = 1_024
    """Files of theirs: the candidate, and the release that it is compared with."""
    night_bundle: Path = Path("build/night")
    """What `make build` made for the functions of a night."""
    jobs: Path = Path("build/jobs/sourcedir.tar.gz")
    """And for its jobs."""


@dataclass(frozen=True)
class Deployment:
    """Everything that constructs ask; the defaults are those of `dev`."""

    profile: str
    prefix: str
    """Of the names of both stacks and of the search domain."""
    keep_data: bool = False
    """Buckets, table, domain and secret outlive their stack, which cannot be deleted by mistake; the table can be
    restored to any second of 35 days."""
    in_vpc: bool = False
    """The domain has no public endpoint, and the function that searches it runs beside it."""
    search: SearchSize | None = None
    """None: no domain; every release is searched in the function (at most 50,000 items, `tandem index --help`)."""
    recommend_memory_mb: int = 1769
    """One whole CPU (AWS gives CPU by memory): the ranking of 50,000 items is one thread of arithmetic."""
    events_memory_mb: int = 1024
    """It opens the release for its schema and its ids, and waits for DynamoDB most of the time."""
    recommend_timeout_seconds: int = 10
    """A request's budget is 150 ms; the rest is for a cold process that opens its first publication (2 s, measured with
    50,000 items), with room for a slow day of S3."""
    events_timeout_seconds: int = 25
    """500 events of 500 users are 500 conditional writes; under the 30 s after which API Gateway hangs up."""
    stream_seconds: int = 60
    """Longest that an event waits in Firehose before it is a file: somebody is watching."""
    retention_days: int = 30
    """Events older than this are deleted from the data bucket."""
    log_days: int = 14
    """Retention of log groups; one of the values that CloudWatch Logs knows."""
    requests_per_second: int = 50
    """Above it, API Gateway answers 429: a loop in a caller costs little."""
    burst: int = 100
    """Requests at once, for two seconds of the rate."""
    jwt_issuer: str = ""
    """Address of the tokens' issuer; empty: callers sign with IAM."""
    jwt_audience: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    """Origins of web pages that may call; empty: none."""
    growthbook_client_key_secret: str = ""
    """Secret, by name or ARN, that holds a client key of GrowthBook; empty: experiments are pushed, not fetched."""
    growthbook_host: str = ""
    """Of GrowthBook's API; empty: its own cloud."""
    alarm_email: str = ""
    """Who is told of alarms; empty: nobody, and the topic can be subscribed later."""
    bundle: Path = Path("build/serving")
    """What `make build` made."""
    settings: LambdaSettings = field(default_factory=lambda: LambdaSettings(home=FUNCTION_HOME))
    """Of the functions, less what only the stacks know."""
    night: NightSize = NightSize()


def mini(prefix: str) -> Deployment:
    """No search domain: what is left is paid by use, but for the snapshots of the functions' versions."""
    return Deployment("mini", prefix, night=NightSize(night_storage_mb=512))  # at most 50,000 items: 36 MB


def dev(prefix: str) -> Deployment:
    """A search domain of one small node, behind IAM at a public endpoint: a laptop can load and query it."""
    return Deployment(
        "dev",
        prefix,
        search=SearchSize(
            instance="t3.small.search",  # 2 GB of memory: an index of 100,000 items is 70 MB
            nodes=1,
            volume_gb=10,  # the least of a gp3 volume there; four indexes of 100,000 items are 0.3 GB
            masters=0,
            slow_logs=False,
        ),
    )


def prod(prefix: str) -> Deployment:
    """Two zones, masters, no way in or out but the API; data outlives the stacks."""
    return Deployment(
        "prod",
        prefix,
        keep_data=True,
        in_vpc=True,
        search=SearchSize(
            instance="r7g.large.search",  # 16 GB: half is page cache, for four indexes of 1,000,000 items (0.7 GB each)
            nodes=2,  # one a zone, each with a copy of the shard
            volume_gb=40,  # four indexes and the merge of the next, ten times over
            masters=3,  # the least that survives the loss of one
            slow_logs=True,
        ),
        recommend_memory_mb=3008,  # old and new publication of 1,000,000 items side by side; a new account's limit
        recommend_timeout_seconds=20,  # opening that much takes longer
        stream_seconds=300,  # larger Parquet files; the nightly run does not care
        retention_days=400,  # a season and the one before
        log_days=90,
        requests_per_second=1_000,
        burst=2_000,  # AWS itself gives a region 5,000
        night=NightSize(
            training_instance=GPU_INSTANCE,  # a million items on CPUs is most of a night
            training_seconds=6 * HOUR,
            processing_instance="ml.m5.2xlarge",  # 32 GB: gate and check read a million items with their texts
            processing_seconds=4 * HOUR,
            volume_gb=100,  # many times what a million items need; less than the GPU machine's own disk of 125 GB
            parallel_loads=4,  # two nodes of two CPUs
            night_memory_mb=3_008,  # a release of 700 MB whole, and the arrays made of it; a new account's limit
            night_storage_mb=4_096,  # the candidate and what a warm process still has of the night before, twice
        ),
    )


PROFILES: Final = {make.__name__: make for make in (mini, dev, prod)}
DEFAULT_PROFILE: Final = "dev"
