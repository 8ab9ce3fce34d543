"""What an importer found becomes a dataset, or nothing: too many unreadable rows reject the whole import.

Knows tables and rejected lines, not where they came from. The importers hand it theirs, the CLI prints its report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from contracts.errors import ImportRejected, NotEnoughData
from contracts.schema import DatasetSchema
from data_sources.dataset import is_dataset, write_tables
from data_sources.findings import SHOWN, shown
from data_sources.folders import replace_folder
from data_sources.importers.lines import Rows

REJECTS_NAME: Final = "rejected.jsonl"

DEFAULT_MAX_REJECTED: Final = 0.01
"""Share of the lines of one file: stray damage passes, a file of another format does not."""


@dataclass(frozen=True)
class Imported:
    """Tables read from a source, and the rows of every file that was read."""

    schema: DatasetSchema
    events: pl.DataFrame
    users: pl.DataFrame | None
    items: pl.DataFrame | None
    sources: Sequence[Rows]


class RejectedLine(msgspec.Struct, frozen=True):
    """A line that is no row."""

    file: str
    line: int
    """Counted from 1."""
    text: str
    reason: str


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was imported and what was not."""

    dataset: str
    events: int
    users: int
    items: int
    lines: dict[str, int]
    """Source file → lines that are neither blank nor a header."""
    rejected: dict[str, int]
    """Source file → lines that could not be read."""
    first_rejected: list[RejectedLine]
    rejects_file: str | None
    """JSON Lines of every rejected line; None where there is none."""


def write_imported(imported: Imported, out: Path, max_rejected: float = DEFAULT_MAX_REJECTED) -> ImportReport:
    """Write a dataset folder and, where lines were rejected, `rejected.jsonl` in it.

    Raises ImportRejected where the share of unreadable lines of any one file is over `max_rejected`, NotEnoughData
    where no event was read; nothing is left behind then.
    """
    for rows in imported.sources:
        if rows.lines and len(rows.rejected) > max_rejected * rows.lines:
            raise _rejected(rows, max_rejected)
    if imported.events.is_empty():
        names = ", ".join(rows.file for rows in imported.sources)
        raise NotEnoughData(f"no event was found in {names}.", fix="Check that these are the files you meant.")
    rejected = pl.concat([rows.rejected for rows in imported.sources])
    tables = {"events": imported.events, "users": imported.users, "items": imported.items}
    with replace_folder(out, is_dataset) as folder:
        write_tables(folder, imported.schema, tables)
        if len(rejected):
            rejected.write_ndjson(folder / REJECTS_NAME)
    return _report(imported, rejected, out)


def _rejected(rows: Rows, max_rejected: float) -> ImportRejected:
    first = "; ".join(
        f"line {line} ({reason}): {shown(text)}"
        for line, text, reason in rows.rejected.head(SHOWN).select("line", "text", "reason").iter_rows()
    )
    return ImportRejected(
        f"{rows.file}: {len(rows.rejected)} of {rows.lines} lines cannot be read, over the allowed "
        f"{max_rejected:.2%}; nothing was written. {first}.",
        fix="Correct the file, or allow more with --max-rejected.",
    )


def _report(imported: Imported, rejected: pl.DataFrame, out: Path) -> ImportReport:
    users = [imported.events["user_id"], *([] if imported.users is None else [imported.users["user_id"]])]
    items = [imported.events["item_id"], *([] if imported.items is None else [imported.items["item_id"]])]
    return ImportReport(
        dataset=str(out),
        events=len(imported.events),
        users=pl.concat([ids.unique() for ids in users]).n_unique(),
        items=pl.concat([ids.unique() for ids in items]).n_unique(),
        lines={rows.file: rows.lines for rows in imported.sources},
        rejected={rows.file: len(rows.rejected) for rows in imported.sources},
        first_rejected=[RejectedLine(*row) for row in rejected.head(SHOWN).iter_rows()],
        rejects_file=str(out / REJECTS_NAME) if len(rejected) else None,
    )
