"""The rows that were measured, kept beside each other: parts run one after the other, the table is of what there is.

One JSON file of rows, and the generated half of a Markdown file between two marks. `quality` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.quality_rows import Row

BEGIN: Final = "<!-- figures: begin (written by make bench-quality) -->"
END: Final = "<!-- figures: end -->"


def read_rows(path: Path) -> list[Row]:
    """What was kept; nothing where there is no file."""
    return msgspec.json.decode(path.read_bytes(), type=list[Row]) if path.is_file() else []


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Keep all of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1) + b"\n")


def merged(kept: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """What was kept, with a part's new figures in place of its old ones.

    Other seeds of the part stay where they were made alike (effort, data sets and protocols): the table means over
    seeds, and must not mean over efforts or numbers of folds.
    """
    made = {(row.part, row.effort, row.dataset, row.protocol) for row in new}
    parts, seeds = {row.part for row in new}, {(row.part, row.seed) for row in new}

    def stays(row: Row) -> bool:
        alike = (row.part, row.effort, row.dataset, row.protocol) in made
        return row.part not in parts or (alike and (row.part, row.seed) not in seeds)

    return [*(row for row in kept if stays(row)), *new]


def write_between_marks(path: Path, text: str) -> None:
    """Replace what stands between the marks of a Markdown file. Raises ValueError where a mark is missing."""
    document = path.read_text(encoding="utf-8")
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: there is no {BEGIN!r} followed by {END!r}.")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")
