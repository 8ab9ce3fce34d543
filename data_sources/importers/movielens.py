"""MovieLens as GroupLens ships it: the folder of ML-100K, of ML-1M (`::`), or of the later CSV form.

Every rating is an event of type `rating` and of weight 1, whatever its stars: what people chose to watch and rate is
the signal, and the stars stay in `value`. Users without ratings are kept. The parsers of the lines are in
`movielens_lines`; this module knows which file means what. The CLI calls it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from contracts.errors import DatasetError
from contracts.schema import DatasetSchema, FeatureKind
from data_sources.importers import movielens_lines as ml
from data_sources.importers.imported import DEFAULT_MAX_REJECTED, Imported, ImportReport, write_imported
from data_sources.importers.lines import Rows, read_rows

USER_FEATURES: Final = {
    "gender": FeatureKind.CATEGORICAL,
    "age_group": FeatureKind.CATEGORICAL,
    "occupation": FeatureKind.CATEGORICAL,
    "zip_area": FeatureKind.CATEGORICAL,
}
ITEM_FEATURES: Final = {
    "title": FeatureKind.TEXT,
    "genres": FeatureKind.MULTI_CATEGORICAL,
    "year": FeatureKind.NUMERIC,
}
SEGMENT: Final = ("gender", "age_group")

TAGS_PER_ITEM: Final = 20
"""The most frequent tags of a film; the tail of a popular film is one person's word each."""


def import_movielens(source: Path, out: Path, max_rejected: float = DEFAULT_MAX_REJECTED) -> ImportReport:
    """Import a MovieLens folder. Raises DatasetError, ImportRejected, NotEnoughData, StorageFull."""
    for file, read in (("u.data", _read_100k), ("ratings.dat", _read_1m), ("ratings.csv", _read_csv)):
        if (source / file).is_file():
            return write_imported(read(source), out, max_rejected)
    raise DatasetError(
        f"{source}: this is no MovieLens folder: none of u.data, ratings.dat, ratings.csv is in it.",
        fix="Unpack the archive and name the folder that holds one of these files.",
    )


def _read_100k(source: Path) -> Imported:
    ratings = read_rows(source / "u.data", ml.parse_ratings_100k)
    users = read_rows(source / "u.user", ml.parse_users_100k, latin1=True, key="user_id")
    items = read_rows(source / "u.item", ml.parse_items_100k, latin1=True, key="item_id")
    schema = _schema(USER_FEATURES, {**ITEM_FEATURES, "release_date": FeatureKind.TIMESTAMP}, "release_date")
    return Imported(schema, _events(ratings), users.fields, items.fields, [ratings, users, items])


def _read_1m(source: Path) -> Imported:
    ratings = read_rows(source / "ratings.dat", ml.parse_ratings_1m)
    items = read_rows(source / "movies.dat", ml.parse_items_1m, latin1=True, key="item_id")
    if not (source / "users.dat").is_file():  # ML-10M has the same form without demographics
        return Imported(_schema({}, ITEM_FEATURES), _events(ratings), None, items.fields, [ratings, items])
    users = read_rows(source / "users.dat", ml.parse_users_1m, latin1=True, key="user_id")
    schema = _schema(USER_FEATURES, ITEM_FEATURES)
    return Imported(schema, _events(ratings), users.fields, items.fields, [ratings, users, items])


def _read_csv(source: Path) -> Imported:
    ratings = read_rows(source / "ratings.csv", ml.parse_ratings_csv, header="userId")
    items = read_rows(source / "movies.csv", ml.parse_items_csv, header="movieId", key="item_id")
    sources, features, table = [ratings, items], ITEM_FEATURES, items.fields
    if (source / "tags.csv").is_file():
        tags = read_rows(source / "tags.csv", ml.parse_tags_csv, header="userId")
        sources, features = [*sources, tags], {**features, "tags": FeatureKind.MULTI_CATEGORICAL}
        table = _with_lists(table, _frequent_tags(tags.fields))
    if (source / "links.csv").is_file():
        links = read_rows(source / "links.csv", ml.parse_links_csv, header="movieId")
        sources = [*sources, links]
    return Imported(_schema({}, features), _events(ratings), None, table, sources)


def _schema(
    users: dict[str, FeatureKind], items: dict[str, FeatureKind], published: str | None = None
) -> DatasetSchema:
    return DatasetSchema(
        users=users,
        items=items,
        segment=SEGMENT if users else (),
        category="genres",
        title="title",
        published=published,
    )


def _events(ratings: Rows) -> pl.DataFrame:
    return ratings.fields.with_columns(pl.lit(ml.EVENT_TYPE).alias("event_type"))


def _frequent_tags(tags: pl.DataFrame) -> pl.DataFrame:
    """item_id and `tags`, its most frequent ones, ties in alphabetical order."""
    word = pl.col("tag").str.strip_chars().str.to_lowercase()
    counts = tags.select("item_id", word).filter(pl.col("tag") != "").group_by("item_id", "tag").len()
    ordered = counts.sort("item_id", "len", "tag", descending=[False, True, False])
    return ordered.group_by("item_id", maintain_order=True).agg(pl.col("tag").head(TAGS_PER_ITEM).alias("tags"))


def _with_lists(items: pl.DataFrame, lists: pl.DataFrame) -> pl.DataFrame:
    return items.join(lists, on="item_id", how="left", maintain_order="left")
