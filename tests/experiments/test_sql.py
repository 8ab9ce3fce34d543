"""The queries of docs/sql, word for word, on files that the real logs wrote and on Parquet as AWS keeps it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import polars as pl
import pytest
import sqlglot
import yaml

from batch_job.event_log_reading import EVENT_SCHEMA
from contracts.event import Event, encode_event
from contracts.event_columns import EVENT_COLUMNS, EXPOSURE_COLUMNS, SLATE_COLUMNS
from contracts.served import Exposure, ServedSlate, exposure_key
from experiments.analysis.event_files import read_events
from experiments.analysis.exposures import read_exposures
from experiments.analysis.user_metrics import user_table
from stores.event_log import LocalEventLog
from stores.served_log import LocalServedLog
from tests.stores.served_rows import exposure, slate, write_parquet

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
PRELUDE: Final = (DOCS / "sql" / "duckdb.sql").read_text()
QUERIES: Final = {path.stem: path.read_text() for path in (DOCS / "sql").glob("*.sql") if path.stem != "duckdb"}
START: Final = 1_788_220_800
"""2026-09-01, 00:00 UTC."""
DAY: Final = 86_400
DAYS: Final = 50
HOUR: Final = 20 * 3_600
"""Of a day, in which all come: every hour is a file for each query to open."""
FROM: Final = "DATE '2026-01-01'"


class Logs(NamedTuple):
    """What the three logs were told, in this order, repeated rows included."""

    exposures: list[Exposure]
    events: list[Event]
    slates: list[ServedSlate]


def world() -> Logs:
    """Fifty days of 60 users in one experiment, ten of them in another too, some in both variations."""
    draw = random.Random(11)
    exposures: list[Exposure] = []
    events: list[Event] = []
    slates: list[ServedSlate] = []
    for number in range(60):
        user, first = f"u{number}" if number % 7 else f"anonymous:s{number}", draw.randrange(DAYS)
        for day in sorted({first, *(d for d in range(first, DAYS) if draw.random() < 0.08)}):
            at = START + day * DAY + HOUR + draw.randrange(3_000)
            arm = "ab"[(number + (number < 3 and day != first)) % 2]
            told = {"route": draw.choice(("model", "popular")), "country": draw.choice((None, "de"))}
            exposures += [exposure(user, at, arm, **told), exposure(user, at + 60, arm, route="cold", country="fr")]
            exposures += [exposure(user, at, "x", experiment_id="tandem.other")] * (number < 10)
            slates.append(slate(f"r{number}-{day}", at, user_id=user, variants=[f"tandem.model:{arm}"]))
        for _ in range(draw.randrange(12)):
            at = START + draw.randrange(DAYS) * DAY + HOUR + draw.randrange(3_000)
            session = draw.choice((None, f"v{number}-{at // DAY}"))
            one = Event(
                event_id=f"e{len(events)}",
                user_id=user,
                item_id="i",
                event_type=draw.choice(("click", "view")),
                timestamp=at,
                received_at=at + 5,
                session_id=session,
            )
            events += [one] * draw.choice((1, 1, 2))
    slates += [
        slates[0],
        slate("drafted", START, teams=[1, -1], propensities=[1.0, 0.05]),
        slate("empty", START, items=[], scores=[], propensities=[]),
    ]
    return Logs(exposures, events, slates)


WORLD: Final = world()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs as a laptop has them, with a line that a kill cut and one that a forgetting blanked."""
    home = tmp_path_factory.mktemp("home")
    with closing(LocalServedLog(home / "exposures")) as log:
        log.append(WORLD.exposures)
    with closing(LocalServedLog(home / "slates")) as log:
        log.append(WORLD.slates)
    with closing(LocalEventLog(home / "events")) as events:
        events.append(WORLD.events)
    for kind in ("exposures", "slates", "events"):
        path = sorted((home / kind).rglob("*.jsonl"))[0]
        path.write_bytes(b" " * 300 + b"\n" + path.read_bytes() + b'{"user_id":"torn","event_id":"torn","recomm')
    return home


@pytest.fixture(scope="module")
def local(home: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with what the prelude makes of the files."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(PRELUDE.replace("'.tandem'", f"'{home}'"))
        yield connection


@pytest.fixture(scope="module")
def as_in_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB over Parquet of the columns of Glue's tables, by the day of arrival."""
    home = tmp_path_factory.mktemp("bucket")
    write_parquet(home / "exposures" / "dt=2026-10-21" / "x", WORLD.exposures)
    write_parquet(home / "slates" / "dt=2026-10-21" / "x", WORLD.slates)
    lines = b"".join(encode_event(one) + b"\n" for one in WORLD.events)
    (home / "events" / "dt=2026-10-21").mkdir(parents=True)
    pl.read_ndjson(lines, schema=EVENT_SCHEMA).write_parquet(home / "events" / "dt=2026-10-21" / "x")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE MACRO from_unixtime(seconds) AS to_timestamp(seconds)")
        for table in ("exposures", "slates", "events"):
            connection.read_parquet(f"{home}/{table}/*/*", hive_partitioning=True).create_view(table)
        yield connection


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return sorted(connection.execute(query).fetchall(), key=repr)


def columns(connection: duckdb.DuckDBPyConnection, query: str) -> list[str]:
    return [name for name, *_ in connection.execute(query).description or ()]


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


# --- every query -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUERIES)
def test_files_of_a_laptop_and_parquet_of_aws_give_the_same_rows(
    name: str, local: duckdb.DuckDBPyConnection, as_in_aws: duckdb.DuckDBPyConnection
) -> None:
    found = rows(local, QUERIES[name])
    assert len(found) > 50
    assert found == rows(as_in_aws, QUERIES[name])


@pytest.mark.parametrize("name", QUERIES)
def test_athena_would_parse_it_and_mean_the_same(name: str, as_in_aws: duckdb.DuckDBPyConnection) -> None:
    """As far as sqlglot knows Athena: read in its dialect and written in DuckDB's, a query gives the same rows."""
    (parsed,) = sqlglot.parse(QUERIES[name], read="athena")
    assert parsed is not None
    assert rows(as_in_aws, parsed.sql(dialect="duckdb")) == rows(as_in_aws, QUERIES[name])
    assert ";" not in QUERIES[name]  # GrowthBook puts it into a query of its own


def test_the_tables_of_the_prelude_have_the_columns_of_those_in_aws(local: duckdb.DuckDBPyConnection) -> None:
    types = {"string": "VARCHAR", "bigint": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN", "int": "INTEGER"}
    for table, wanted in (("exposures", EXPOSURE_COLUMNS), ("slates", SLATE_COLUMNS), ("events", EVENT_COLUMNS)):
        found = {name: kind for name, kind, *_ in local.execute(f"DESCRIBE {table}").fetchall()}
        assert found.pop("dt") == "DATE"
        hive = {name: kind.removeprefix("array<").removesuffix(">") for name, kind in wanted}
        assert found == {name: types[hive[name]] + ("[]" if kind.startswith("array") else "") for name, kind in wanted}
        days = local.table(table).aggregate("MIN(dt), MAX(dt)").fetchall()
        assert [f"{day:%Y-%m}" for day in days[0]] == ["2026-09", "2026-10"]


# --- what each one means -----------------------------------------------------------------------------------------


def test_assignments_are_the_first_of_each_user_experiment_variation_and_day(
    local: duckdb.DuckDBPyConnection, home: Path
) -> None:
    firsts: dict[str, Exposure] = {}
    for one in WORLD.exposures:
        first = firsts.setdefault(exposure_key(one), one)
        if one.timestamp < first.timestamp:
            firsts[exposure_key(one)] = one
    assert len(firsts) < len(WORLD.exposures)
    found = rows(local, QUERIES["assignments"])
    wanted = [
        (one.user_id, moment(one.timestamp), one.experiment_id, one.variation_id, one.country, one.route)
        for one in firsts.values()
    ]
    assert found == sorted(wanted, key=repr)
    assert columns(local, QUERIES["assignments"]) == [
        *("user_id", "timestamp", "experiment_id", "variation_id", "country", "route")
    ]
    assert len(found) == len(read_exposures(home / "exposures"))


def test_events_are_there_once(local: duckdb.DuckDBPyConnection) -> None:
    once = {one.event_id: one for one in WORLD.events}
    assert len(once) < len(WORLD.events)
    found = rows(local, QUERIES["clicks"])
    assert Counter(row[:3] for row in found) == Counter(
        (one.user_id, moment(one.timestamp), one.event_type) for one in once.values()
    )


def test_users_are_counted_as_the_report_counts_them(local: duckdb.DuckDBPyConnection, home: Path) -> None:
    table = user_table(read_exposures(home / "exposures"), read_events(home / "events"), "tandem.model")
    names = ["user_id", "variation_id", "first_exposure", "clicks", "sessions", "active_days", "retained"]
    wanted = table.with_columns(pl.col("retained").cast(pl.Int64)).select(names).rows()
    found = rows(local, QUERIES["users"])
    assert found == sorted(wanted, key=repr)
    assert columns(local, QUERIES["users"]) == names
    assert 50 < len(found) < 60  # some were seen in both variations
    assert {row[-1] for row in found} == {None, 0, 1}


def told(*seconds: tuple[str, int, str | None]) -> list[Event]:
    return [
        Event(event_id=f"{n}", user_id=u, item_id="i", event_type="t", timestamp=s, received_at=s, session_id=v)
        for n, (u, s, v) in enumerate(seconds)
    ]


def test_visits_and_days_are_those_of_events_and_of_exposures(tmp_path: Path) -> None:
    """u: one session over midnight, an event without one, a day with nothing but an exposure. w: an exposure only."""
    noon = START + DAY // 2
    with closing(LocalEventLog(tmp_path / "events")) as events:
        events.append(told(("u", START - 9, "v"), ("u", START + 9, "v"), ("u", noon, None), ("u", noon, "v")))
    with closing(LocalServedLog(tmp_path / "exposures")) as log:
        log.append([exposure("u", noon), exposure("u", noon + DAY), exposure("u", noon + DAY + 1), exposure("w", noon)])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        (tmp_path / "slates" / "x").mkdir(parents=True)
        (tmp_path / "slates" / "x" / "x.jsonl").touch()
        connection.execute(PRELUDE.replace("'.tandem'", f"'{tmp_path}'"))
        visits = rows(connection, QUERIES["sessions"])
        days = rows(connection, QUERIES["active_days"])
    assert visits == sorted(
        [
            ("u", moment(noon), "v"),
            ("u", moment(noon), str(START)),
            ("u", moment(noon + DAY + 1), str(START + DAY)),
            ("w", moment(noon), str(START)),
        ],
        key=repr,
    )
    assert days == sorted(
        [
            ("u", moment(START - 9), 1),
            ("u", moment(noon), 4),
            ("u", moment(noon + DAY + 1), 2),
            ("w", moment(noon), 1),
        ],
        key=repr,
    )


def test_slates_come_apart_by_place(local: duckdb.DuckDBPyConnection) -> None:
    found = rows(local, QUERIES["slates"])
    once = {one.recommendation_id: one for one in WORLD.slates}
    wanted = [
        (
            one.recommendation_id,
            one.user_id,
            moment(one.timestamp),
            one.route,
            one.model,
            one.release,
            place,
            *facts,
            one.teams[place - 1] if one.teams else None,
        )
        for one in once.values()
        for place, facts in enumerate(zip(one.items, one.scores, one.propensities, strict=True), start=1)
    ]
    assert found == sorted(wanted, key=repr)
    assert [row[6:] for row in found if row[0] == "drafted"] == [(1, "a", 1.0, 1.0, 1), (2, "b", 0.5, 0.05, -1)]


# --- GrowthBook --------------------------------------------------------------------------------------------------


def test_the_data_source_asks_what_the_query_says(as_in_aws: duckdb.DuckDBPyConnection) -> None:
    source = yaml.safe_load((DOCS / "growthbook" / "config.yml").read_text())["datasources"]["tandem"]
    (asked,) = source["settings"]["queries"]["exposure"]
    template = "DATE '{{date startDateISO \"yyyy-MM-dd\"}}'"
    plain = "".join(line for line in QUERIES["assignments"].splitlines(keepends=True) if not line.startswith("--"))
    assert asked["query"] == plain.replace(FROM, template)
    assert asked["userIdType"] == source["settings"]["userIdTypes"][0]["userIdType"] == "user_id"
    assert {"user_id", "timestamp", "experiment_id", "variation_id", *asked["dimensions"]} == set(
        columns(as_in_aws, asked["query"].replace(template, FROM))
    )


def test_the_page_names_every_query_and_each_can_be_narrowed() -> None:
    page = (DOCS / "growthbook" / "README.md").read_text()
    for name, query in QUERIES.items():
        assert f"../sql/{name}.sql" in page
        assert query.count(FROM) >= 1
