"""Checks of files and columns: is everything there that the schema promises, whole and of its type.

`doctor` runs them.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from data_sources.checks import Check, Examined, Needs, Outcome, failed, passed, warned
from data_sources.findings import Finding, FindingKind, Place, place_of
from data_sources.tables import READ_FAILURES, odd_csv_lines


def _schema(examined: Examined) -> Outcome:
    if examined.schema_error is not None:
        return failed(examined.schema_error, [Place("schema.toml")])
    schema = examined.schema
    return passed(
        f"version {schema.version}, time = {schema.time}, {len(schema.users)} user features, "
        f"{len(schema.items)} item features"
    )


def _from_findings(examined: Examined, kind: FindingKind, fine: str) -> Outcome:
    """FAIL with every finding of a kind, else PASS."""
    findings = examined.findings(kind)
    if not findings:
        return passed(fine)
    return failed("; ".join(f"{finding.place.file}: {finding.message}" for finding in findings), _places(findings))


def _places(findings: list[Finding]) -> list[Place]:
    return [finding.place for finding in findings]


def _tables_present(examined: Examined) -> Outcome:
    there = ", ".join(f"{table.name}: {table.rows:,} rows" for table in examined.tables if table.parts)
    return _from_findings(examined, FindingKind.MISSING_FILE, there or "no table is needed")


def _files_readable(examined: Examined) -> Outcome:
    files = sum(len(table.parts) for table in examined.tables)
    return _from_findings(examined, FindingKind.UNREADABLE, f"{files} files were read to their end")


def _rows_complete(examined: Examined) -> Outcome:
    files = [file for table in examined.tables for file, _ in table.parts if file.endswith(".csv")]
    places = [place for file in files if (place := _odd_rows(examined, file)) is not None]
    if places:
        return failed(f"lines have another number of fields than the header in {len(places)} files", places)
    return passed(f"every line of {len(files)} CSV files has all its fields" if files else "there is no CSV file")


def _odd_rows(examined: Examined, file: str) -> Place | None:
    try:
        lines = pl.read_lines(examined.folder / file)["line"]
    except READ_FAILURES:
        return None  # files-readable tells
    odd = odd_csv_lines(lines)
    return place_of(file, "", lines, odd) if odd.any() else None


def _columns_present(examined: Examined) -> Outcome:
    return _from_findings(examined, FindingKind.MISSING_COLUMN, "every column that the schema names is there")


def _columns_typed(examined: Examined) -> Outcome:
    return _from_findings(examined, FindingKind.MISTYPED, "every value is of the kind of its column")


def _columns_expected(examined: Examined) -> Outcome:
    extra = examined.findings(FindingKind.EXTRA_COLUMN)
    if not extra:
        return passed("there is no column that the schema does not name")
    names = dict.fromkeys(f"{finding.place.file}: {finding.place.column}" for finding in extra)
    return warned(f"{len(names)} columns are not read ({', '.join(list(names)[:10])})", _places(extra))


CHECKS: Final = (
    Check(
        "schema",
        "The schema says what the columns mean; without it nothing else can be trusted.",
        "Write or correct schema.toml; docs/dataset.md shows every key.",
        _schema,
    ),
    Check(
        "tables-present",
        "Events are what is learned from; features that the schema promises are expected by the encoder.",
        "Put the table into the folder, or take its features out of the schema.",
        _tables_present,
    ),
    Check(
        "files-readable",
        "A file that is cut, empty or of another format than its name holds less than you think.",
        "Write or copy the file again; text must be UTF-8.",
        _files_readable,
    ),
    Check(
        "rows-complete",
        "A line with too few fields comes from a writer that was killed; its missing fields would be read as empty.",
        "Write the file again, or quote fields that contain commas.",
        _rows_complete,
        (Needs.READ,),
    ),
    Check(
        "columns-present",
        "A column that is missing or misspelt would silently be an empty feature.",
        "Add the column, or correct its name in the file or in schema.toml.",
        _columns_present,
        (Needs.READ,),
    ),
    Check(
        "columns-typed",
        "A value that is not what its column promises cannot be encoded; the dataset is not opened with it.",
        "Correct the values, leave them empty, or give the feature another kind.",
        _columns_typed,
        (Needs.READ,),
    ),
    Check(
        "columns-expected",
        "A column that the schema does not name is not read: perhaps a feature was forgotten.",
        "Name it under [users] or [items] in schema.toml, or leave it out of the file.",
        _columns_expected,
        (Needs.READ,),
    ),
)
