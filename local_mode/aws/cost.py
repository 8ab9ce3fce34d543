"""What a deployment costs a month: a load times the sizes of a profile times the prices of a file, line by line.

Pure arithmetic over `cost_assumptions.py`; it asks no account, knows no free tier and no discount, and takes the day as
even (a quiet night and a busy evening cost the same where use is paid). Sizes come from `infra/profiles.py` through
`cli/aws_cost.py`. `cost_fit.py` says where a load does not fit a profile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from local_mode.aws import cost_assumptions as assumed
from local_mode.aws.prices import Prices

HOURS: Final = 730
"""Of a month, as AWS counts."""
DAYS: Final = HOURS / 24
SECONDS: Final = HOURS * 3_600
DAY_SECONDS: Final = 86_400
_MB_OF_A_GB: Final = 1_024
_KB_OF_A_GB: Final = 1e6
"""Decimal: what moves and is stored is counted so here, the difference to binary is under the guesses."""


@dataclass(frozen=True)
class Load:
    """What is asked of a deployment."""

    users: int
    """With a profile."""
    items: int
    requests_per_day: float
    events_per_day: float

    @property
    def event_calls_per_day(self) -> float:
        return self.events_per_day / assumed.EVENTS_PER_CALL.value


@dataclass(frozen=True)
class SearchNodes:
    """The search domain."""

    instance: str
    nodes: int
    volume_gb: int
    masters: int
    master_instance: str


@dataclass(frozen=True)
class NightMachines:
    """What a night runs on."""

    training_instance: str
    processing_instance: str
    training_instances: int = 1
    spot: bool = True
    function_mb: int = 1_769


@dataclass(frozen=True)
class Sizes:
    """What a profile deploys."""

    profile: str
    recommend_mb: int
    events_mb: int
    search: SearchNodes | None
    night: NightMachines
    engine_above: int = 50_000
    """A catalogue of more items than this is searched in the domain."""
    endpoint_zones: int = 0
    """Interface endpoints, times zones."""
    fetches_experiments: bool = False
    """Whether a function brings experiments from GrowthBook."""
    restorable: bool = False
    """Whether the table can be restored to any second of 35 days."""
    retention_days: int = 30
    """Of events in the data bucket."""
    history_days: int = 730
    """Of events in a snapshot."""
    log_days: int = 14
    requests_per_second: int = 50
    """Above which the API answers 429."""

    def history_events(self, load: Load) -> float:
        """Events that a night trains on, once a deployment is as old as its history."""
        return load.events_per_day * self.history_days

    def searched(self, load: Load) -> bool:
        """Whether requests search the domain."""
        return self.search is not None and load.items > self.engine_above


@dataclass(frozen=True)
class Line:
    """One line of a bill."""

    part: str
    what: str
    amount: float
    unit: str
    usd_per_unit: float
    usd: float
    estimate: bool
    """Whether the price is one."""


@dataclass(frozen=True)
class _Use:
    """So much of something, before it has a price."""

    part: str
    what: str
    amount: float
    price: str
    share: float = 1.0
    """Of the price, where it is lower."""


def monthly(load: Load, sizes: Sizes, prices: Prices) -> list[Line]:
    """The lines of a month, those of nothing left out. Raises RequestInvalid where the file has no price of one."""
    uses = [*_serving(load, sizes), *_profiles(load, sizes), *_live(load), *_logs(load), *_kept(load, sizes)]
    uses += [*_experiments(sizes), *_search(sizes), *_night(load, sizes, prices), *_watching(load, sizes)]
    return [_line(use, prices) for use in uses if use.amount]


def _line(use: _Use, prices: Prices) -> Line:
    price = prices.of(use.price)
    usd = price.usd * use.share
    return Line(use.part, use.what, use.amount, price.unit, usd, use.amount * usd, price.estimate)


def _serving(load: Load, sizes: Sizes) -> Iterator[_Use]:
    recommends, events = load.requests_per_day * DAYS, load.event_calls_per_day * DAYS
    calls = recommends + events
    waits = assumed.EXPOSURES_PER_REQUEST.value * assumed.EXPOSURE_MS.value
    seconds = (assumed.RECOMMEND_MS.value + waits + sizes.searched(load) * assumed.SEARCH_MS.value) / 1_000
    recommend_gb, events_gb = sizes.recommend_mb / _MB_OF_A_GB, sizes.events_mb / _MB_OF_A_GB
    restored = (recommends * recommend_gb + events * events_gb) * assumed.RESTORED_SHARE.value
    yield _Use("serving", "calls of the API", calls / 1e6, "api.requests")
    yield _Use("serving", "calls of functions", calls / 1e6, "lambda.requests")
    yield _Use("serving", "recommend, running", recommends * seconds * recommend_gb, "lambda.gb_seconds")
    yield _Use("serving", "events, running", events * assumed.EVENTS_MS.value / 1_000 * events_gb, "lambda.gb_seconds")
    yield _Use("serving", "snapshots, kept", (recommend_gb + events_gb) * SECONDS, "lambda.snapshot_cache")
    yield _Use("serving", "snapshots, restored", restored, "lambda.snapshot_restore")
    yield _Use("serving", "answers to the internet", calls * assumed.SLATE_KB.value / _KB_OF_A_GB, "data_out.gb")
    yield _Use("serving", "endpoints of the network", sizes.endpoint_zones * HOURS, "network.endpoint")


def _profiles(load: Load, sizes: Sizes) -> Iterator[_Use]:
    """Consistent reads of 4 KB, writes of 1 KB; the night reads once whoever did something that day."""
    kb = assumed.PROFILE_KB.value
    seen_by_night = min(load.users, load.events_per_day) * assumed.NIGHTS.value
    reads = (load.requests_per_day + load.events_per_day) * DAYS + seen_by_night
    stored_gb = load.users * kb / _KB_OF_A_GB
    yield _Use("profiles", "reads", reads * math.ceil(kb / 4) / 1e6, "dynamodb.reads")
    yield _Use("profiles", "writes", load.events_per_day * DAYS * math.ceil(kb) / 1e6, "dynamodb.writes")
    yield _Use("profiles", "stored", stored_gb, "dynamodb.storage")
    yield _Use("profiles", "kept restorable", stored_gb * sizes.restorable, "dynamodb.restorable")


def _live(load: Load) -> Iterator[_Use]:
    """What serving looks at beside a release, what is told of items, and what is counted of them."""
    looks = _looks(load.requests_per_day, assumed.RECOMMEND_MS.value, assumed.LIVE_SECONDS.value)
    counts = _looks(load.event_calls_per_day, assumed.EVENTS_MS.value, assumed.COUNT_SECONDS.value)
    told = load.items * assumed.TOLD_SHARE.value * assumed.TOLD_UNITS.value
    yield _Use("live data", "reads", looks * DAYS / 1e6, "dynamodb.reads")
    yield _Use("live data", "writes", (told + counts * assumed.COUNT_UNITS.value) * DAYS / 1e6, "dynamodb.writes")


class _Log(NamedTuple):
    """One log on its way through Firehose."""

    part: str
    rows_per_day: float
    record_kb: float
    stored_bytes: float


def _all_logs(load: Load) -> list[_Log]:
    exposures = load.requests_per_day * assumed.EXPOSURES_PER_REQUEST.value
    slates = load.requests_per_day
    return [
        _Log("events", load.events_per_day, assumed.EVENT_RECORD_KB.value, assumed.EVENT_STORED_BYTES.value),
        _Log("exposures", exposures, assumed.EXPOSURE_RECORD_KB.value, assumed.EXPOSURE_STORED_BYTES.value),
        _Log("slates", slates, assumed.SLATE_RECORD_KB.value, assumed.SLATE_STORED_BYTES.value),
    ]


def _logs(load: Load) -> Iterator[_Use]:
    step = assumed.FIREHOSE_STEP_KB.value
    for log in _all_logs(load):
        gb = log.rows_per_day * DAYS * math.ceil(log.record_kb / step) * step / _KB_OF_A_GB
        yield _Use(log.part, "through Firehose", gb, "firehose.in")
        yield _Use(log.part, "made Parquet", gb, "firehose.conversion")


def _kept(load: Load, sizes: Sizes) -> Iterator[_Use]:
    """Buckets, and what is asked of them: one file of a log a minute at most, the pointer, the experiments."""
    logs = sum(log.rows_per_day * log.stored_bytes for log in _all_logs(load)) * sizes.retention_days
    snapshots = sizes.history_events(load) * assumed.EVENT_STORED_BYTES.value * assumed.KEPT_SNAPSHOTS.value
    releases = load.items * assumed.ITEM_RELEASE_BYTES.value * assumed.KEPT_RELEASES.value
    files = sum(min(log.rows_per_day, DAY_SECONDS / 60) for log in _all_logs(load)) * DAYS
    yield _Use("buckets", "stored", (logs + snapshots + releases) / 1e9, "s3.storage")
    yield _Use("buckets", "written", files / 1e3, "s3.writes")
    yield _Use("buckets", "looks at the pointer", _pointer_looks(load) * DAYS / 1e3, "s3.reads")
    looks = _looks(load.requests_per_day, assumed.RECOMMEND_MS.value, assumed.EXPERIMENTS_SECONDS.value)
    yield _Use("buckets", "looks at experiments", looks * DAYS / 1e3, "s3.reads")


def _pointer_looks(load: Load) -> float:
    """A day's, of both functions."""
    every = assumed.POINTER_SECONDS.value
    recommends = _looks(load.requests_per_day, assumed.RECOMMEND_MS.value, every)
    return recommends + _looks(load.event_calls_per_day, assumed.EVENTS_MS.value, every)


def _experiments(sizes: Sizes) -> Iterator[_Use]:
    """What fetches them, where something does: the function, its schedule, its alarm and the secret of its key."""
    if not sizes.fetches_experiments:
        return
    fetches = assumed.FETCHES.value
    gb_seconds = fetches * assumed.FETCH_SECONDS.value * assumed.FETCH_MB.value / _MB_OF_A_GB
    yield _Use("experiments", "fetches, running", gb_seconds, "lambda.gb_seconds")
    yield _Use("experiments", "fetches, scheduled", fetches / 1e6, "scheduler.calls")
    yield _Use("experiments", "looks at what is published", fetches / 1e3, "s3.reads")
    yield _Use("experiments", "alarm", 1, "metrics.alarms")
    yield _Use("experiments", "secret of the client key", 1, "secrets.secrets")


def _looks(calls_per_day: float, ms: float, every_seconds: float) -> float:
    """A day's: one a call, and at most one every so often of each process that runs."""
    processes = math.ceil(assumed.PEAK.value * calls_per_day / DAY_SECONDS * ms / 1_000)
    return min(calls_per_day, processes * DAY_SECONDS / every_seconds)


def _search(sizes: Sizes) -> Iterator[_Use]:
    if (search := sizes.search) is None:
        return
    yield _Use("search", "data nodes", search.nodes * HOURS, f"search.{search.instance}")
    yield _Use("search", "masters", search.masters * HOURS, f"search.{search.master_instance}")
    yield _Use("search", "volumes", search.nodes * search.volume_gb, "search.volume")


def training_hours(load: Load, sizes: Sizes) -> float:
    """Of one night, on one machine; several share the part that grows."""
    grows = sizes.history_events(load) / assumed.TRAIN_EVENTS_PER_SECOND.value / sizes.night.training_instances
    return (assumed.TRAIN_SECONDS.value + grows) / 3_600


def processing_hours(load: Load, sizes: Sizes) -> float:
    """Of one night's four jobs; two of them go through the whole history, two through a part."""
    whole = 2 * sizes.history_events(load) / assumed.JOB_EVENTS_PER_SECOND.value
    return (assumed.PROCESSING_JOBS.value * assumed.JOB_SECONDS.value + whole) / 3_600


def _night(load: Load, sizes: Sizes, prices: Prices) -> Iterator[_Use]:
    night, nights = sizes.night, assumed.NIGHTS.value
    share = prices.of("sagemaker.spot").usd if night.spot else 1.0
    training = training_hours(load, sizes) * night.training_instances
    light = assumed.LIGHT_SECONDS.value
    if sizes.searched(load):
        light += load.items / assumed.LOAD_ITEMS_PER_SECOND.value
    spot = "training, spot" if night.spot else "training"
    processing = f"sagemaker.{night.processing_instance}"
    yield _Use("night", "processing", processing_hours(load, sizes) * nights, processing)
    yield _Use("night", spot, training * nights, f"sagemaker.{night.training_instance}", share)
    yield _Use("night", "functions", light * nights * night.function_mb / _MB_OF_A_GB, "lambda.gb_seconds")
    yield _Use("night", "state machine", assumed.TRANSITIONS.value * nights / 1e3, "stepfunctions.transitions")
    yield _Use("night", "schedule", nights / 1e6, "scheduler.calls")


def _watching(load: Load, sizes: Sizes) -> Iterator[_Use]:
    calls = (load.requests_per_day + load.event_calls_per_day) * DAYS
    written = calls * assumed.LOG_KB.value / _KB_OF_A_GB
    kept = written * sizes.log_days / DAYS * assumed.LOG_COMPRESSED.value
    alarms = assumed.ALARM_METRICS.value + (sizes.search is not None) * assumed.SEARCH_ALARM_METRICS.value
    traced = _traced(load.requests_per_day) + _traced(load.event_calls_per_day)
    yield _Use("watching", "logs, written", written, "logs.in")
    yield _Use("watching", "logs, kept", kept, "logs.kept")
    yield _Use("watching", "traces", traced * DAYS / 1e6, "traces.recorded")
    yield _Use("watching", "metrics of ours", assumed.CUSTOM_METRICS.value, "metrics.custom")
    yield _Use("watching", "alarms", alarms, "metrics.alarms")
    yield _Use("watching", "dashboard", 1, "metrics.dashboards")
    yield _Use("watching", "secrets of logs and experiments", assumed.SECRETS.value, "secrets.secrets")


def _traced(calls_per_day: float) -> float:
    """Traces that X-Ray records a day of one function."""
    always = min(calls_per_day, assumed.TRACED_A_SECOND.value * DAY_SECONDS)
    return always + (calls_per_day - always) * assumed.TRACED_SHARE.value
