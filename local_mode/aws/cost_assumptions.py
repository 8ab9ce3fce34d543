"""What the cost of a deployment is reckoned with beside prices and load: each figure with its unit and its reason.

Measured where it could be measured (README, docs/index.md), else said to be assumed. `cost.py` multiplies them,
`tandem aws cost --explain` prints them; a test holds those of infra to the stacks.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Assumption(NamedTuple):
    """A figure that no price list has."""

    value: float
    unit: str
    why: str


EVENTS_PER_REQUEST: Final = Assumption(
    1.0, "events", "assumed where --events-per-day is not given: a click or a view for every slate"
)
EVENTS_PER_CALL: Final = Assumption(
    1.0, "events", "a browser sends each event as it happens; a back end that sends 500 at once pays a fraction"
)
RECOMMEND_MS: Final = Assumption(
    25.0,
    "ms",
    "4.7 ms of CPU and 3.4 of client for the profile (measured, README); the rest waits for DynamoDB",
)
EXPOSURE_MS: Final = Assumption(
    25.0, "ms", "an answer waits for its exposure; AWS speaks of tens of milliseconds for a call of Firehose"
)
SEARCH_MS: Final = Assumption(
    15.0, "ms", "on top where the domain is searched: 3 to 10 ms round trip (measured, docs/index.md), 3.3 ms of client"
)
EVENTS_MS: Final = Assumption(
    60.0, "ms", "8.3 ms of client CPU (measured, README), then three calls in turn: read, log, conditional write"
)
RESTORED_SHARE: Final = Assumption(
    0.01, "of calls", "AWS says that under 1 % of calls meet a new environment; each restores a whole snapshot"
)
SLATE_KB: Final = Assumption(1.2, "KB", "10 items with scores and `why`, with headers")
PROFILE_KB: Final = Assumption(2.0, "KB", "a record of 50 events is 1,925 bytes (measured)")
EVENT_RECORD_KB: Final = Assumption(0.25, "KB", "a line of the log is 232 bytes (measured)")
SLATE_RECORD_KB: Final = Assumption(0.7, "KB", "500 to 700 bytes with ten items (measured, short and long ids)")
EXPOSURE_RECORD_KB: Final = Assumption(0.21, "KB", "a line is 207 bytes (measured)")
EXPOSURES_PER_REQUEST: Final = Assumption(
    1.0, "rows", "the most that one experiment with everybody makes: one a user and day, from each process that asks"
)
FIREHOSE_STEP_KB: Final = Assumption(
    5.0,
    "KB",
    "AWS rounds every record up to it, and a row is one record; several in one are allowed, and save cents here",
)
EVENT_STORED_BYTES: Final = Assumption(80.0, "bytes", "76 of an event in Parquet (measured, random ids, snappy)")
SLATE_STORED_BYTES: Final = Assumption(
    250.0, "bytes", "of a slate in Parquet, in files of a minute (measured, random ids, snappy); 170 in large files"
)
EXPOSURE_STORED_BYTES: Final = Assumption(60.0, "bytes", "of an exposure, likewise; 6 in large files")
ITEM_RELEASE_BYTES: Final = Assumption(1_100.0, "bytes", "1.08 GB for 1,000,000 items (measured, docs/index.md)")
ITEM_INDEX_BYTES: Final = Assumption(700.0, "bytes", "673 MB for 1,000,000 items (measured, docs/index.md)")
KEPT_RELEASES: Final = Assumption(
    34.0, "releases", "four that one may go back to, and 30 days of old versions of what the sweep deleted"
)
KEPT_INDEXES: Final = Assumption(4.0, "indexes", "the three that one may go back to, and the next one")
KEPT_SNAPSHOTS: Final = Assumption(4.0, "snapshots", "of the dataset: those of the releases that are kept")
POINTER_SECONDS: Final = Assumption(1.0, "s", "a process looks at the pointer so often (TANDEM_POINTER_CHECK_SECONDS)")
EXPERIMENTS_SECONDS: Final = Assumption(
    60.0, "s", "a process looks for another payload so often (TANDEM_EXPERIMENTS_CHECK_SECONDS)"
)
LIVE_SECONDS: Final = Assumption(
    5.0, "s", "a process looks for live items so often (TANDEM_LIVE_CHECK_SECONDS); one read unit where nothing is new"
)
TOLD_SHARE: Final = Assumption(0.02, "of the items", "assumed: told anew, in and out of stock, in a day")
TOLD_UNITS: Final = Assumption(
    8.0, "write units", "a told item: 3 KB with the vectors of two releases, once in the table and once in its index"
)
COUNT_SECONDS: Final = Assumption(10.0, "s", "a process writes its counts of what is popular so often, at most")
COUNT_UNITS: Final = Assumption(4.0, "write units", "a hundred items of a bucket, once in the table")
PEAK: Final = Assumption(4.0, "times", "the busiest hour over the mean of the day, in shops and media")
LOG_KB: Final = Assumption(
    1.6, "KB", "of a call: 0.75 KB line and metrics (measured), the runtime's three lines, and the access log"
)
LOG_COMPRESSED: Final = Assumption(0.15, "of what is written", "AWS keeps logs compressed, and uses this figure itself")
TRACED_A_SECOND: Final = Assumption(1.0, "traces", "of each function in each second, by X-Ray's default rule")
TRACED_SHARE: Final = Assumption(0.05, "of calls", "of those beyond it, by the same rule")

NIGHTS: Final = Assumption(365 / 12, "nights a month", "one a day; fewer where nothing is new")
JOB_SECONDS: Final = Assumption(
    240.0, "s", "of each of the processing jobs: image, libraries, files, whatever the data"
)
JOB_EVENTS_PER_SECOND: Final = Assumption(
    400_000.0, "events/s", "assumed for reading, deduplicating and writing a history; the importers do more (README)"
)
PROCESSING_JOBS: Final = Assumption(4.0, "jobs a night", "snapshot, check, gate, backfill")
TRAIN_SECONDS: Final = Assumption(
    900.0, "s", "the recipe bounds a large data set to some four minutes of two cores; image, ALS and export beside it"
)
TRAIN_EVENTS_PER_SECOND: Final = Assumption(
    80_000.0, "events/s", "never fewer than three passes, at 245,000 positives/s (measured on two cores, README)"
)
LOAD_ITEMS_PER_SECOND: Final = Assumption(
    2_500.0, "items/s", "2,685 documents/s into an engine on two cores (measured, docs/index.md)"
)
LIGHT_SECONDS: Final = Assumption(
    120.0, "s", "of the other functions of a night together: seal, verify and publish, 65 s for 1,000,000 items"
)
TRANSITIONS: Final = Assumption(60.0, "transitions a night", "each state once, and some looks at a merge")

ALARM_METRICS: Final = Assumption(34.0, "metrics", "of all alarms without a search domain (infra/alarms.py)")
FETCHES: Final = Assumption(
    365 * 288 / 12, "fetches a month", "of experiments: one in five minutes (infra/experiments.py)"
)
FETCH_SECONDS: Final = Assumption(
    1.5, "s", "assumed: a cold start in half of them, GrowthBook's answer, three calls of AWS"
)
FETCH_MB: Final = Assumption(512.0, "MB", "of that function (infra/experiments.py)")
SECRETS: Final = Assumption(2.0, "secrets", "the keys of logs and of experiments (infra/storage.py)")
SEARCH_ALARM_METRICS: Final = Assumption(3.0, "metrics", "of the alarms of a search domain (infra/alarms.py)")
CUSTOM_METRICS: Final = Assumption(
    12.0, "metrics", "those that have data on an ordinary day: three of slates, four of events, five of a night"
)

LEFT_OUT: Final = (
    "tax, support, free tiers, discounts (savings plans, reserved nodes)",
    "keys of KMS, the catalogue of Glue, CodeDeploy, e-mails of alarms, checkpoints and volumes of jobs: cents",
    "questions to Logs Insights: half a cent a GB that is read, when somebody asks",
    "what is done by hand: seeding, training again, repairing",
)
"""What no line has."""

ALL: Final = {name.lower(): found for name, found in list(globals().items()) if isinstance(found, Assumption)}
"""Name → figure, for whoever wants to see them."""
