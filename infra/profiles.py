"""The three context profiles: what is deployed in which size, every figure with its reason.

`context.py` picks one by `-c profile=` and lets other context values replace single knobs; the constructs read what
comes out. Nothing here knows CDK, an account or a region.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lambda_user_tower.settings import LambdaSettings

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
    alarm_email: str = ""
    """Who is told of alarms; empty: nobody, and the topic can be subscribed later."""
    bundle: Path = Path("build/serving")
    """What `make build` made."""
    settings: LambdaSettings = field(default_factory=lambda: LambdaSettings(home=FUNCTION_HOME))
    """Of the functions, less what only the stacks know."""


def mini(prefix: str) -> Deployment:
    """No search domain: what is left is paid by use, but for the snapshots of the functions' versions."""
    return Deployment("mini", prefix)


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
    )


PROFILES: Final = {make.__name__: make for make in (mini, dev, prod)}
DEFAULT_PROFILE: Final = "dev"
