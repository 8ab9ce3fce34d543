"""The whole of ML-1M in one dataset: the order of everybody's films, demographics, titles, genres and years.

Timestamps are there for half of the users only, so time is order. Nothing of it may be kept: it is imported into a
temporary folder and read from there. The benchmarks of live quality call it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from data_sources.dataset import Dataset, open_dataset
from data_sources.importers.movielens import import_movielens
from data_sources.importers.sequences import import_sequences
from data_sources.indexed import IndexedDataset, index_dataset


def whole_movielens(data: Path) -> IndexedDataset:
    """6,040 users of `data`/ml-1m, the 3,883 films of its catalogue."""
    with tempfile.TemporaryDirectory() as folder:
        import_movielens(data / "ml-1m", Path(folder) / "films")
        import_sequences(data / "ml-1m" / "sequences.txt", Path(folder) / "orders")
        films, orders = open_dataset(Path(folder) / "films"), open_dataset(Path(folder) / "orders")
    schema = msgspec.structs.replace(films.schema, time=orders.schema.time)
    return index_dataset(Dataset(schema, orders.events, films.users, films.items))
