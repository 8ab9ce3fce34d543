"""A table of a dataset in canonical types, with what was noticed on the way.

Reads every part of a table, converts the columns that the schema promises and keeps every row where it was: a value
that cannot be read turns null and becomes a finding. Knows what columns are wanted, not why. `dataset` raises the first
fatal finding; `doctor` reports them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from contracts.errors import DatasetError
from contracts.schema import EVENT_COLUMNS, DatasetSchema, FeatureKind
from data_sources.columns import CANONICAL, ColumnKind, Role, convert, is_missing, time_zones
from data_sources.findings import Finding, FindingKind, Place, place_of
from data_sources.tables import find_table, read_raw

TABLES: Final = ("events", "users", "items")
ID_OF: Final = {"users": "user_id", "items": "item_id"}
SPLITS: Final = ("train", "test")

_EXPECTED: Final[dict[ColumnKind, str]] = {
    Role.ID: "an id (text or a whole number)",
    Role.WORD: "text",
    FeatureKind.CATEGORICAL: "a category",
    FeatureKind.TEXT: "text",
    FeatureKind.NUMERIC: "a finite number",
    FeatureKind.TIMESTAMP: "Unix seconds or an ISO 8601 time",
    FeatureKind.MULTI_CATEGORICAL: "a list of categories, or one text joined by |",
}


@dataclass(frozen=True)
class Table:
    """A table as read: `frame` [n rows of the files] in canonical types, null where a value is bad."""

    name: str
    frame: pl.DataFrame
    columns: tuple[str, ...]
    """All columns that the files have."""
    parts: tuple[tuple[str, int], ...]
    """(file, rows) of each part."""
    findings: tuple[Finding, ...]

    def place(self, column: str | None, mask: pl.Series) -> Place:
        """Where the rows [n] lie in which `mask` holds: rows of the first file that has any."""
        values = self.frame[column] if column else mask
        start = 0
        for file, length in self.parts:
            part = mask.slice(start, length)
            if part.any():
                found = place_of(file, column or "", values.slice(start, length), part)
                examples = found.examples if column else ()
                return Place(file, column, int(mask.sum()), found.rows, examples)
            start += length
        return Place(self.parts[0][0] if self.parts else self.name, column)


def wanted_columns(schema: DatasetSchema, name: str) -> dict[str, ColumnKind]:
    """The columns of a table that mean something under a schema, ids first."""
    if name != "events":
        features: Mapping[str, FeatureKind] = getattr(schema, name)
        return {ID_OF[name]: Role.ID, **{key: kind for key, kind in features.items() if key != ID_OF[name]}}
    kinds: dict[str, ColumnKind] = dict.fromkeys(EVENT_COLUMNS, Role.WORD)
    kinds |= {"user_id": Role.ID, "item_id": Role.ID, "value": FeatureKind.NUMERIC}
    if schema.ordered:
        kinds["timestamp"] = FeatureKind.TIMESTAMP
    else:
        del kinds["timestamp"]
    if not schema.given_split:
        del kinds["split"]
    return kinds


def required_columns(schema: DatasetSchema, name: str) -> tuple[str, ...]:
    """The columns without which a table cannot be opened."""
    if name != "events":
        return tuple(wanted_columns(schema, name))
    time = ("timestamp",) if schema.timed else ()
    return ("user_id", "item_id", *time, *(("split",) if schema.given_split else ()))


def filled_columns(schema: DatasetSchema, name: str) -> tuple[str, ...]:
    """The columns that may hold no null."""
    if name != "events":
        return (ID_OF[name],)
    return required_columns(schema, name) + (("timestamp",) if schema.ordered and not schema.timed else ())


def empty_table(schema: DatasetSchema, name: str) -> pl.DataFrame:
    """A table without rows."""
    return pl.DataFrame(schema={key: CANONICAL[kind] for key, kind in wanted_columns(schema, name).items()})


def read_table(folder: Path, schema: DatasetSchema, name: str, only: Sequence[str] | None = None) -> Table:
    """Read a table of a dataset folder; `only` limits optional columns. Never raises for bad data."""
    kinds = wanted_columns(schema, name)
    if only is not None:
        kinds = {key: kind for key, kind in kinds.items() if key in only or key in required_columns(schema, name)}
    try:
        files = find_table(folder, name)
    except DatasetError as error:
        finding = Finding(FindingKind.UNREADABLE, error.message.rstrip("."), Place(name), error.fix)
        return Table(name, empty_table(schema, name), (), (), (finding,))
    if files is None:
        return Table(name, empty_table(schema, name), (), (), tuple(_missing_file(folder, schema, name)))
    parts = [_read_part(folder, path, schema, name, kinds) for path in files.parts]
    return _join_parts(schema, name, parts)


def _missing_file(folder: Path, schema: DatasetSchema, name: str) -> list[Finding]:
    if name != "events" and not getattr(schema, name):
        return []
    message = f"there is no table {name}: expected {name}.parquet, .csv or .jsonl, or a folder {name} of such parts"
    needs = (
        "Put it there." if name == "events" else f"Put it there, or take the features out of [{name}] in schema.toml."
    )
    return [Finding(FindingKind.MISSING_FILE, message, Place(str(folder)), needs)]


def _read_part(folder: Path, path: Path, schema: DatasetSchema, name: str, kinds: Mapping[str, ColumnKind]) -> Table:
    file = path.relative_to(folder).as_posix()
    texts = [key for key, kind in kinds.items() if CANONICAL[kind] == pl.String]
    try:
        raw = read_raw(path, kinds, texts)
    except DatasetError as error:
        finding = Finding(FindingKind.UNREADABLE, error.message.rstrip("."), Place(file), error.fix)
        return Table(name, empty_table(schema, name).select(list(kinds)), (), ((file, 0),), (finding,))
    frame, findings = conform(raw.frame, schema, name, file, kinds, raw.columns)
    findings += [
        Finding(
            FindingKind.EXTRA_COLUMN,
            "the schema does not name this column; it is not read",
            Place(file, column),
            fatal=False,
        )
        for column in raw.columns
        if column not in wanted_columns(schema, name)
    ]
    return Table(name, frame, raw.columns, ((file, len(frame)),), tuple(findings))


def conform(
    raw: pl.DataFrame,
    schema: DatasetSchema,
    name: str,
    file: str,
    kinds: Mapping[str, ColumnKind] | None = None,
    present: Sequence[str] = (),
) -> tuple[pl.DataFrame, list[Finding]]:
    """The columns of a raw frame in canonical types, and what was noticed; rows stay as they are.

    `kinds`: the columns that are wanted, all that mean something by default; `present`: the columns that the file has
    besides, for the message.
    """
    kinds = kinds or wanted_columns(schema, name)
    findings: list[Finding] = []
    columns = []
    for column, kind in kinds.items():
        if column not in raw.columns:
            if column in required_columns(schema, name):
                findings.append(_missing_column(file, column, present or raw.columns))
                columns.append(pl.Series(column, [None] * len(raw), dtype=CANONICAL[kind]))
            continue
        converted = convert(raw[column], kind)
        findings += _column_findings(raw[column], converted.values, converted.bad, kind, file)
        if column in filled_columns(schema, name):
            findings += _null_findings(raw[column], kind, file)
        columns.append(converted.values)
    return pl.DataFrame(columns), findings


def _missing_column(file: str, column: str, present: Sequence[str]) -> Finding:
    message = f"the column is missing; the file has {', '.join(map(repr, present[:20]))}"
    fix = f"Add the column {column}, or correct its name or the schema."
    if len(present) == 1 and any(mark in present[0] for mark in ";\t|"):
        fix = "Separate the fields with commas: this file uses another separator."
    return Finding(FindingKind.MISSING_COLUMN, message, Place(file, column), fix)


def _column_findings(raw: pl.Series, values: pl.Series, bad: pl.Series, kind: ColumnKind, file: str) -> list[Finding]:
    findings = []
    if bad.any():
        place = place_of(file, raw.name, raw, bad)
        message = f"{place.count} value{'s are' if place.count > 1 else ' is'} not {_EXPECTED[kind]}"
        findings.append(Finding(FindingKind.MISTYPED, message, place, _FIX_TYPE))
    if kind is FeatureKind.TIMESTAMP and len(zones := time_zones(raw)) > 1:
        told = ", ".join(f"{zone}: {count}" for zone, count in zones.items())
        place = Place(file, raw.name, sum(zones.values()))
        findings.append(Finding(FindingKind.TIME_ZONES, f"times name several zones ({told})", place, fatal=False))
    if raw.name == "split" and kind is Role.WORD:
        odd = ~values.is_in(SPLITS).fill_null(True)
        if odd.any():
            message = f"split must be {' or '.join(SPLITS)}"
            findings.append(Finding(FindingKind.SPLIT_VALUE, message, place_of(file, raw.name, raw, odd), _FIX_SPLIT))
    return findings


_FIX_TYPE: Final = "Correct these values, leave them empty, or give the feature another kind in schema.toml."
_FIX_SPLIT: Final = "Write train or test in every row, or take given_split out of schema.toml."


def _null_findings(raw: pl.Series, kind: ColumnKind, file: str) -> list[Finding]:
    missing = is_missing(raw, kind)
    if not missing.any():
        return []
    place = place_of(file, raw.name, raw, missing)
    message = f"{place.count} of {len(raw)} rows have no {raw.name}"
    return [Finding(FindingKind.MISSING_VALUE, message, place, "Fill the column in these rows or remove the rows.")]


def _join_parts(schema: DatasetSchema, name: str, parts: Sequence[Table]) -> Table:
    frame = pl.concat([part.frame for part in parts], how="diagonal") if len(parts) > 1 else parts[0].frame
    if name == "events":
        frame = _complete_events(frame, schema)
    columns = tuple(dict.fromkeys(column for part in parts for column in part.columns))
    files = tuple(file for part in parts for file in part.parts)
    table = Table(name, frame, columns, files, tuple(finding for part in parts for finding in part.findings))
    repeated = repeated_ids(table) if name != "events" else []
    return Table(name, frame, columns, files, (*table.findings, *repeated))


def _complete_events(frame: pl.DataFrame, schema: DatasetSchema) -> pl.DataFrame:
    """Add what the files need not say: the type, and the time where it is a position or means nothing."""
    if "event_type" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, pl.String).alias("event_type"))
    if "timestamp" not in frame.columns:
        position = pl.int_range(pl.len(), dtype=pl.Int64).over("user_id") if schema.ordered else pl.lit(0, pl.Int64)
        frame = frame.with_columns(position.alias("timestamp"))
    return frame


def repeated_ids(table: Table) -> list[Finding]:
    """Ids that a users or items table has more than once."""
    ids = table.frame[ID_OF[table.name]]
    repeated = ids.is_duplicated() & ids.is_not_null()
    if not repeated.any():
        return []
    place = table.place(ids.name, repeated)
    message = f"{place.count} rows share their id with another row"
    return [Finding(FindingKind.REPEATED_ID, message, place, "Keep one row for each id.")]
