"""The data doctor: every named check over a dataset folder, each with what, where, why and the fix.

Never raises for bad data: what cannot be opened is what it is for. Where the schema is missing it examines what can be
examined without one. Many events are read slice by slice, three times: for bad values, for figures, and, as far as
needed, for the rows to show. The CLI prints a diagnosis, the nightly run keeps it as a verdict.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from contracts.errors import DatasetError, SchemaError
from contracts.schema import DatasetSchema
from data_sources import checks_events, checks_features, checks_files, checks_ids, checks_time
from data_sources.checks import Check, Examined, Needs, Outcome, Status, failed
from data_sources.dataset import read_schema
from data_sources.event_log import EventLog, Sought, log_of_files, log_of_table
from data_sources.findings import Place
from data_sources.folders import living_folder
from data_sources.reading import read_table
from data_sources.streamed import streams
from data_sources.tables import find_table

CHECKS: Final[tuple[Check, ...]] = (
    *checks_files.CHECKS,
    *checks_ids.CHECKS,
    *checks_events.CHECKS,
    *checks_time.CHECKS,
    *checks_features.CHECKS,
)


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one check says."""

    name: str
    status: Status
    found: str
    where: list[Place]
    why: str
    fix: str


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """Every check over one dataset."""

    dataset: str
    status: Status
    """The worst of all."""
    events: int
    users: int
    items: int
    counts: dict[str, int]
    """PASS, WARN, FAIL → number of checks."""
    checks: list[CheckResult]
    not_applicable: list[str]
    """Checks that make no sense here (no users table, no times, no split), or that nothing could be read for."""

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return self.status is not Status.FAIL


def diagnose(path: Path, now: int | None = None, *, stream_above: int | None = None) -> Diagnosis:
    """Run every check that makes sense over the dataset in the folder `path`; `now` in Unix seconds.

    More events than `stream_above` (default: what `streamed.streams` says) are read slice by slice, for the same
    diagnosis. Raises DatasetError for files that change meanwhile, StorageFull.
    """
    examined = _examine(living_folder(Path(path)), int(time.time()) if now is None else now, stream_above)
    sensible = [check for check in CHECKS if all(examined.has(need) for need in check.needs)]
    outcomes = [_run(check, examined) for check in sensible]
    sought = [place for outcome in outcomes for place in outcome.places if isinstance(place, Sought)]
    places = iter(examined.events.places(sought))
    results = [_result(check, outcome, places) for check, outcome in zip(sensible, outcomes, strict=True)]
    counts = {status.value: sum(result.status is status for result in results) for status in Status}
    worst = Status.FAIL if counts["FAIL"] else Status.WARN if counts["WARN"] else Status.PASS
    has_events = examined.has(Needs.EVENTS)
    return Diagnosis(
        dataset=str(path),
        status=worst,
        events=examined.events.rows,
        users=len(examined.all_ids["users"]) if has_events else examined.users.rows,
        items=len(examined.all_ids["items"]) if has_events else examined.items.rows,
        counts=counts,
        checks=results,
        not_applicable=[check.name for check in CHECKS if check not in sensible],
    )


def _examine(path: Path, now: int, stream_above: int | None) -> Examined:
    schema, schema_error = DatasetSchema(), None
    try:
        schema = read_schema(path)
    except (SchemaError, DatasetError) as error:
        schema_error = str(error)
    except OSError as error:
        schema_error = f"{path} cannot be read: {error}"
    users, items = (read_table(path, schema, name) for name in ("users", "items"))
    return Examined(path, schema, schema_error, _events(path, schema, stream_above), users, items, now)


def _events(path: Path, schema: DatasetSchema, stream_above: int | None) -> EventLog:
    if streams(path, stream_above) and (files := find_table(path, "events")):
        return log_of_files(path, files, schema)
    return log_of_table(read_table(path, schema, "events"))


def _run(check: Check, examined: Examined) -> Outcome:
    try:
        return check.run(examined)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        return failed(f"the data is so odd that the check could not be made: {error}", [Place(str(examined.folder))])


def _result(check: Check, outcome: Outcome, found: Iterator[Place]) -> CheckResult:
    return CheckResult(
        name=check.name,
        status=outcome.status,
        found=outcome.found,
        where=[next(found) if isinstance(place, Sought) else place for place in outcome.places],
        why=check.why,
        fix=check.fix if outcome.status is not Status.PASS else "",
    )
