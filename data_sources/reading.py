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
from data_sources.columns import CANONICAL, ColumnKind, Role, convert
from data_sources.findings import Finding, FindingKind, Place, Rows, place_in
from data_sources.noticed import Noticed
from data_sources.tables import find_table, read_raw

TABLES: Final = ("events", "users", "items")
ID_OF: Final = {"users": "user_id", "items": "item_id"}


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

    @property
    def rows(self) -> int:
        return len(self.frame)

    def place(self, column: str, mask: pl.Series) -> Place:
        """Where the rows [n] lie in which `mask` holds, which are some: rows of the first file that has any."""
        return place_in(self.parts, column, Rows.where(mask, self.frame[column]))


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
        nothing = empty_table(schema, name).select(required_columns(schema, name))
        return Table(name, nothing, (), ((file, 0),), (unreadable(file, error),))
    frame, findings = conform(raw.frame, schema, name, file, kinds, raw.columns)
    findings += unnamed_columns(file, raw.columns, schema, name)
    return Table(name, frame, raw.columns, ((file, len(frame)),), tuple(findings))


def unreadable(file: str, error: DatasetError) -> Finding:
    """A file that cannot be read, as a finding."""
    return Finding(FindingKind.UNREADABLE, error.message.rstrip("."), Place(file), error.fix)


def unnamed_columns(file: str, present: Sequence[str], schema: DatasetSchema, name: str) -> list[Finding]:
    """A finding for each column of a file that the schema does not name."""
    message = "the schema does not name this column; it is not read"
    return [
        Finding(FindingKind.EXTRA_COLUMN, message, Place(file, column), fatal=False)
        for column in present
        if column not in wanted_columns(schema, name)
    ]


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
    frame, noticed = notice(raw, schema, name, kinds or wanted_columns(schema, name))
    return frame, [finding for of in noticed for finding in of.findings(file, present or raw.columns)]


def notice(
    raw: pl.DataFrame, schema: DatasetSchema, name: str, kinds: Mapping[str, ColumnKind], before: int = 0
) -> tuple[pl.DataFrame, list[Noticed]]:
    """The same of a slice of a file that has `before` rows before it: what of two slices was noticed adds up."""
    required, filled = required_columns(schema, name), filled_columns(schema, name)
    noticed, columns = [], []
    for column, kind in kinds.items():
        if column in raw.columns:
            converted = convert(raw[column], kind)
            noticed.append(Noticed.of(raw[column], kind, converted, before, filled=column in filled))
            columns.append(converted.values)
        elif column in required:
            noticed.append(Noticed(column, kind, absent=True))
            columns.append(pl.Series(column, [None] * len(raw), dtype=CANONICAL[kind]))
    return pl.DataFrame(columns), noticed


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
