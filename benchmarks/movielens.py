"""The whole of ML-1M in one dataset: the order of everybody's films, demographics, titles, genres and years.

Timestamps are there for half of the users only, so time is order. Nothing of it may be kept: whoever calls writes it to
a temporary folder.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from data_sources.dataset import open_dataset, write_dataset
from data_sources.importers.movielens import import_movielens
from data_sources.importers.sequences import import_sequences


def import_whole_movielens(source: Path, out: Path) -> None:
    """Write the 6,040 users and 3,883 films of the folder `source` (ml-1m with sequences.txt) as a dataset."""
    with tempfile.TemporaryDirectory() as folder:
        import_movielens(source, Path(folder) / "films")
        import_sequences(source / "sequences.txt", Path(folder) / "orders")
        films, orders = open_dataset(Path(folder) / "films"), open_dataset(Path(folder) / "orders")
    schema = msgspec.structs.replace(films.schema, time=orders.schema.time)
    write_dataset(out, schema, orders.events, films.users, films.items)
