"""The alarms that somebody should be woken by: when each goes off, and what to do then.

Conditions only; `observability.py` makes alarms of them and says whom they reach. Each has a section in
docs/operations.md, under its name: a test holds both to each other.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_opensearchservice as opensearch

from infra.events import ParquetLog
from infra.experiments import EVERY_MINUTES, ExperimentsFetch
from infra.measures import FRESHNESS, HOUR, MAXIMUM, MINIMUM, MINUTE, MINUTES, SUM, Measures
from infra.night_measures import NightMeasures
from infra.profiles import SearchSize

SERVER_ERROR_PERCENT: Final = 1
"""More answers of 500 and above than these are no single accident."""
SLOW_MS: Final = 1_000
"""A request has 150 ms, a restored process its first second; one in a hundred may be that, not more."""
DEGRADED_PERCENT: Final = 5
"""A degraded answer is full, but poorer: a few while an index is replaced are as designed."""
FULL_PERCENT: Final = 75
"""Of a search volume: from 85 % on OpenSearch puts no more shards on a node, at 95 % it stops writing."""
MIB_OF_A_GB: Final = 1_024
LATE_BUFFERS: Final = 3
"""The oldest event in Firehose may wait for one buffer and a slow delivery, not for three."""
RELEASE_HOURS: Final = 72
"""Of its data. A night makes it a day and some hours old at most; one that found nothing new, two. After the third,
nights end well and nothing arrives: somewhere a feed has stopped."""
NO_NIGHT_HOURS: Final = 36
"""A night a day, and half a day for one that began late, waited for a machine or was begun again."""
LONG_NIGHT_HOURS: Final = 6
"""Begun at three it ends when the day is under way; the next one is still far."""
BLOCKED_NIGHTS: Final = 2
"""Once is a bad draw or a bad day, which the gate is for; twice is something that lasts."""
PAGES: Final = "docs/operations.md"
FAILED_FETCHES: Final = 6
"""In a row: for half an hour nothing came, or nothing that could be served; what was fetched before goes on."""
_HOUR_SECONDS: Final = 3_600


class AlarmWhen(NamedTuple):
    """One alarm: the metric is beyond the threshold in `periods` of the last `out_of` periods."""

    name: str
    metric: cloudwatch.IMetric
    threshold: float
    what_to_do: str
    periods: int = 1
    out_of: int = 1
    below: bool = False
    """Whether less than the threshold is what alarms."""
    silence_alarms: bool = False
    """Whether no data is a breach; else nobody called, and nothing is wrong."""

    @property
    def description(self) -> str:
        """What to do, and the page that says it at length."""
        return f"{self.what_to_do} {PAGES}#{self.name.lower()}"


def alarms(measures: Measures) -> list[AlarmWhen]:
    """All alarms of a deployment."""
    deployment = measures.deployment
    made = [*_api(measures), *_functions(measures), *_tables(measures), _release(measures), _experiments(measures)]
    for log in measures.logs:
        made += _log(log, measures, deployment.stream_seconds)
    if measures.domain is not None and deployment.search is not None:
        made += _search(measures.domain, deployment.search)
    if measures.fetch is not None:
        made.append(_fetch(measures.fetch))
    if measures.night is not None:
        made += _night(measures.night)
    return made


def _api(measures: Measures) -> list[AlarmWhen]:
    return [
        AlarmWhen(
            "ServerErrors",
            measures.server_error_percent(),
            SERVER_ERROR_PERCENT,
            "Answers of 500 and above. Look for level ERROR in the functions' logs, by request_id; `no-release` means "
            "that nothing is published. If a deploy or a publication came just before, undo it.",
            3,
            5,
        ),
        AlarmWhen(
            "SlowAnswers",
            measures.latency("p99"),
            SLOW_MS,
            "One answer in a hundred takes over a second. Compare function_ms with ms in the access log, then look at "
            "the traces: cold starts, DynamoDB, or the search domain.",
            10,
            15,
        ),
        AlarmWhen(
            "DegradedAnswers",
            measures.degraded_percent(),
            DEGRADED_PERCENT,
            "Answers are full but poorer. `degraded` in the log of recommend names what was missing: mostly the search "
            "domain or DynamoDB, whose alarms say more.",
            10,
            15,
        ),
        AlarmWhen(
            "EventsNotTaken",
            measures.events_failed(),
            0,
            "Events were answered `not-written` or `profile-not-written`. Callers send them again, and they count "
            "once. If it lasts, look in the log of events for what Firehose or DynamoDB said; afterwards `tandem aws "
            "repair` makes profiles whole.",
            3,
            5,
        ),
    ]


def _functions(measures: Measures) -> list[AlarmWhen]:
    made = []
    for name, function in measures.functions.items():
        made += [
            AlarmWhen(
                f"{name.capitalize()}Throttled",
                function.metric_throttles(period=MINUTES),
                0,
                f"Lambda turned calls of {name} away. Raise the account's limit of concurrent executions, or lower "
                "the rate of the API (-c requests_per_second).",
            ),
            AlarmWhen(
                f"{name.capitalize()}Crashed",
                function.metric_errors(period=MINUTES),
                0,
                f"{name} died or ran out of time; every failure that it knows, it answers. Look at the REPORT lines "
                "with a status in its log, and at its memory.",
            ),
        ]
    return made


def _tables(measures: Measures) -> list[AlarmWhen]:
    return [
        AlarmWhen(
            "ProfilesThrottled",
            measures.profile_throttles(),
            0,
            "DynamoDB turned requests of profiles away: one user is written far too often, or the load more than "
            "doubled within half an hour. Look for `too-many` among the events; otherwise wait, capacity on demand "
            "grows.",
            2,
            3,
        ),
        AlarmWhen(
            "LiveThrottled",
            measures.live_throttles(),
            0,
            "DynamoDB turned requests of live data away: more than 1,000 items a second are told. Send the catalogue "
            "more slowly, or let the night have it (`tandem aws seed`); what was refused was answered `not-written`.",
            2,
            3,
        ),
    ]


def _log(log: ParquetLog, measures: Measures, stream_seconds: int) -> list[AlarmWhen]:
    late_seconds = LATE_BUFFERS * stream_seconds
    return [
        AlarmWhen(
            f"{log.name.capitalize()}Late",
            measures.stream(log, FRESHNESS, MAXIMUM),
            late_seconds,
            f"The oldest record of {log.name} has waited for more than {late_seconds} s. Look at Firehose's error log: "
            "S3, Glue or the role. Firehose keeps records for 24 hours; nothing is lost yet.",
            3,
            3,
        ),
        AlarmWhen(
            f"{log.name.capitalize()}NotConverted",
            measures.stream(log, "FailedConversion.Records", SUM),
            0,
            f"Records of {log.name} do not fit the columns of the table. They lie below errors/ in the data bucket as "
            "they came; deploy code and table together, then send them again.",
        ),
    ]


def _search(domain: opensearch.IDomain, size: SearchSize) -> list[AlarmWhen]:
    return [
        AlarmWhen(
            "SearchRed",
            domain.metric_cluster_status_red(period=MINUTE),
            0,
            "A shard of the search domain is nowhere; answers come from the head of the catalogue. Publish the release "
            "again (`tandem aws publish`), which loads it anew: an index is made from its release and never the only "
            "copy.",
        ),
        AlarmWhen(
            "SearchFull",
            domain.metric_free_storage_space(period=MINUTES, statistic=MINIMUM),
            size.volume_gb * MIB_OF_A_GB * (100 - FULL_PERCENT) // 100,
            "A volume of the search domain is three quarters full. Delete the indexes that no kept publication names; "
            "where all are needed, enlarge the volume.",
            below=True,
        ),
        AlarmWhen(
            "SearchBlocked",
            domain.metric_cluster_index_writes_blocked(period=MINUTE),
            0,
            "The search domain takes no writes: no disk or no memory is left. What is published goes on serving, the "
            "next load fails. Delete indexes, or take a larger instance (-c search_instance).",
            5,
            5,
        ),
    ]


def _release(measures: Measures) -> AlarmWhen:
    return AlarmWhen(
        "ReleaseOld",
        measures.release_age(HOUR),
        RELEASE_HOURS * _HOUR_SECONDS,
        f"The data of what serves ended over {RELEASE_HOURS} hours ago. `tandem aws status` says how the last nights "
        "ended: paused, failing, or with nothing new, which means that no events arrive. A deployment that was seeded "
        "with old data is in this state until it has events of its own.",
        3,
        3,
    )


def _experiments(measures: Measures) -> AlarmWhen:
    return AlarmWhen(
        "ExperimentsFailing",
        measures.experiments_failing(),
        0,
        "Slates were served outside their variant, or inside and not counted. `degraded` in the log of recommend says "
        "which: `experiments_old`, push or fetch a payload again; `variant_not_served`, the release lacks a variant's "
        "model; `exposure_not_logged`, and the line `slates-dropped`, Firehose took no row.",
        3,
        3,
    )


def _fetch(fetch: ExperimentsFetch) -> AlarmWhen:
    return AlarmWhen(
        "ExperimentsNotFetched",
        fetch.function.metric_errors(period=Duration.minutes(EVERY_MINUTES)),
        0,
        f"{FAILED_FETCHES} fetches in a row have failed: GrowthBook does not answer, its client key is not in the "
        "secret, or its payload is refused, and its log names the feature and the field. What was fetched last goes on "
        "serving for seven days; then everybody is control.",
        FAILED_FETCHES,
        FAILED_FETCHES,
    )


def _night(night: NightMeasures) -> list[AlarmWhen]:
    return [
        AlarmWhen(
            "NightFailed",
            night.failed(),
            0,
            "A night has failed, and what served goes on serving. The night's own mail has the reason and "
            "what to do; `tandem aws status` has both again. Then begin at the step that failed: `tandem aws "
            "run-nightly --from STEP`.",
        ),
        AlarmWhen(
            "NoNight",
            night.succeeded(),
            1,
            f"No night has succeeded for {NO_NIGHT_HOURS} hours: it is paused and forgotten, the schedule does not "
            "start it, or it fails (NightFailed). A new deployment begins in this state, and its first night ends it.",
            NO_NIGHT_HOURS,
            NO_NIGHT_HOURS,
            below=True,
            silence_alarms=True,
        ),
        AlarmWhen(
            "NightLong",
            night.duration(),
            LONG_NIGHT_HOURS * _HOUR_SECONDS * 1_000,
            f"A night took more than {LONG_NIGHT_HOURS} hours. Which step grew is in the events of its execution. "
            "Mostly training waited for a spare machine, or the history has outgrown the instance.",
        ),
        AlarmWhen(
            "GateBlocked",
            night.own("GateBlocked", MINIMUM),
            0,
            f"The gate has refused the candidates of {BLOCKED_NIGHTS} days in a row; what served goes on serving and "
            "ages. The reasons are in gate.json of the night. Look at the data before the model.",
            BLOCKED_NIGHTS,
            BLOCKED_NIGHTS,
        ),
        AlarmWhen(
            "NightThrottled",
            night.throttles(),
            0,
            "Lambda turned calls of the nightly run away; the state machine tries again, and callers are turned away, "
            "too. Raise the account's limit of concurrent executions, or lower `parallel_loads`.",
        ),
    ]
