"""The data sets of the quality table: from raw files, or generated, to a dataset in a temporary folder.

Nothing of the raw files may be kept, so a folder lives as long as a part is measured. Written in a process of its own,
whose memory is nobody's; each training opens it as a user's job opens a dataset.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.movielens import import_whole_movielens
from benchmarks.quality_process import alone
from benchmarks.quality_rows import Options
from data_sources.generator import generate
from data_sources.importers.lightgcn import import_lightgcn
from data_sources.importers.movielens import import_movielens
from data_sources.importers.sequences import import_sequences


@dataclass(frozen=True)
class RawSet:
    """Where a data set comes from."""

    name: str
    """For people."""
    source: str | None = None
    """Below the folder of the data; None: generated."""
    importer: Callable[[Path, Path], object] | None = None


SETS: Final = {
    "gowalla": RawSet("Gowalla", "gowalla", import_lightgcn),
    "ml-1m-sequences": RawSet("ML-1M, order only", "ml-1m/sequences.txt", import_sequences),
    "ml-1m-half": RawSet("ML-1M, the half with times", "ml-1m", import_movielens),
    "ml-1m-whole": RawSet("ML-1M", "ml-1m", import_whole_movielens),
    "ml-100k": RawSet("ML-100K", "ml-100k", import_movielens),
    "world": RawSet("generated world"),
}


@contextmanager
def prepared(name: str, options: Options) -> Iterator[Path]:
    """The folder of a dataset, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        alone(_write, name, options, Path(folder) / "dataset")
        yield Path(folder) / "dataset"


def _write(name: str, options: Options, out: Path) -> None:
    raw = SETS[name]
    if raw.source is None or raw.importer is None:
        generate(out, options.world)
    else:
        raw.importer(options.data / raw.source, out)


def named(name: str, options: Options) -> str:
    """What to call a set in the table; a generated world by its size."""
    raw = SETS[name]
    return raw.name if raw.source else f"{raw.name}, {options.world.users:,} users, {options.world.items:,} items"
