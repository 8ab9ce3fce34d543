"""The lines of MovieLens' files: one parser a file and edition, from a batch of lines to columns and a fault.

Facts about the fields (codes of age and occupation, order of the genre flags) are from the READMEs that GroupLens ships
with the data. `movielens` calls it.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from data_sources.importers.lines import match

EVENT_TYPE: Final = "rating"

GENRE_FLAGS: Final = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""ML-100K: the flags of u.item, in the order of u.genre."""

NO_GENRE: Final = ("unknown", "(no genres listed)")

AGE_GROUPS: Final = {1: "under 18", 18: "18-24", 25: "25-34", 35: "35-44", 45: "45-49", 50: "50-55", 56: "56+"}
"""ML-1M: code → years. ML-100K gives years, which fall into the same groups."""

OCCUPATIONS: Final = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer",
    "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman",
    "unemployed", "writer",
)  # fmt: skip
"""ML-1M: position = code."""

_STARS = r"(?<value>\d+(?:\.\d+)?)"
_RATING_100K: Final = rf"^(?<user_id>[^\t]+)\t(?<item_id>[^\t]+)\t{_STARS}\t(?<timestamp>\d{{1,18}})$"
_RATING_1M: Final = rf"^(?<user_id>[^:]+)::(?<item_id>[^:]+)::{_STARS}::(?<timestamp>\d{{1,18}})$"
_RATING_CSV: Final = rf"^(?<user_id>[^,]+),(?<item_id>[^,]+),{_STARS},(?<timestamp>\d{{1,18}})$"
_USER_100K: Final = r"^(?<user_id>[^|]+)\|(?<age>\d{1,3})\|(?<gender>[MF])\|(?<occupation>[^|]+)\|(?<zip>[^|]*)$"
_USER_1M: Final = r"^(?<user_id>[^:]+)::(?<gender>[MF])::(?<age>\d{1,2})::(?<occupation>\d{1,2})::(?<zip>[^:]*)$"
_ITEM_100K: Final = r"^(?<item_id>[^|]+)\|(?<name>[^|]+)\|(?<date>[^|]*)\|[^|]*\|[^|]*\|(?<flags>[01](?:\|[01]){18})$"
_ITEM_1M: Final = r"^(?<item_id>[^:]+)::(?<name>.+)::(?<genres>[^:]*)$"
_FIELD = r'(?:"(?<quoted>(?:[^"]|"")*)"|(?<plain>[^",]*))'
_ITEM_CSV: Final = rf"^(?<item_id>[^,]+),{_FIELD},(?<genres>[^,]*)$"
_TAG_CSV: Final = rf"^(?<user_id>[^,]+),(?<item_id>[^,]+),{_FIELD},(?<timestamp>\d{{1,18}})$"
_LINK_CSV: Final = r"^(?<item_id>[^,]+),(?<imdb>\d*),(?<tmdb>\d*)$"
_NAME_AND_YEAR: Final = r"^(?<title>.*?)\s*\((?<year>\d{4})\)\s*$"

_FEWEST_STARS: Final = 0.5
_MOST_STARS: Final = 5.0


def parse_ratings_100k(batch: pl.DataFrame) -> pl.DataFrame:
    return _ratings(match(batch, _RATING_100K, "not `user TAB item TAB rating TAB timestamp`"))


def parse_ratings_1m(batch: pl.DataFrame) -> pl.DataFrame:
    return _ratings(match(batch, _RATING_1M, "not `user::movie::rating::timestamp`"))


def parse_ratings_csv(batch: pl.DataFrame) -> pl.DataFrame:
    return _ratings(match(batch, _RATING_CSV, "not `userId,movieId,rating,timestamp`"))


def _ratings(fields: pl.DataFrame) -> pl.DataFrame:
    stars = pl.col("value").cast(pl.Float64)
    odd = ~stars.is_between(_FEWEST_STARS, _MOST_STARS)
    outside = pl.when(odd).then(pl.lit(f"rating outside {_FEWEST_STARS} to {_MOST_STARS}"))
    return fields.with_columns(stars, pl.col("timestamp").cast(pl.Int64), pl.col("fault").fill_null(outside))


def parse_users_100k(batch: pl.DataFrame) -> pl.DataFrame:
    fields = match(batch, _USER_100K, "not `user|age|gender|occupation|zip`")
    number = pl.Series(list(AGE_GROUPS)).search_sorted(fields["age"].cast(pl.Int64), side="right")
    group = pl.Series(list(AGE_GROUPS.values())).gather(number.clip(1).cast(pl.Int64) - 1)
    return _users(fields.with_columns(group.set(fields["age"].is_null(), None).alias("age_group")))


def parse_users_1m(batch: pl.DataFrame) -> pl.DataFrame:
    fields = match(batch, _USER_1M, "not `user::gender::age::occupation::zip`")
    age, job = pl.col("age").cast(pl.Int32), pl.col("occupation").cast(pl.Int32)
    fields = fields.with_columns(
        age.replace_strict(list(AGE_GROUPS), list(AGE_GROUPS.values()), default=None).alias("age_group"),
        job.replace_strict(list(range(len(OCCUPATIONS))), list(OCCUPATIONS), default=None).alias("occupation"),
    )
    unknown = pl.when(pl.col("age_group").is_null() | pl.col("occupation").is_null())
    return _users(fields.with_columns(pl.col("fault").fill_null(unknown.then(pl.lit("unknown code of age or job")))))


def _users(fields: pl.DataFrame) -> pl.DataFrame:
    """Zip codes become their first digit: the ten areas of the United States, else `other`."""
    area = pl.col("zip").str.extract(r"^(\d)\d{4}").fill_null("other")
    return fields.select("user_id", "gender", "age_group", "occupation", area.alias("zip_area"), "fault")


def parse_items_100k(batch: pl.DataFrame) -> pl.DataFrame:
    fields = match(batch, _ITEM_100K, "not `movie|title|date|video date|URL|19 flags`")
    flags = fields["flags"].str.split("|").list
    genres = [
        pl.when(flags.get(i) == "1").then(pl.lit(name)) for i, name in enumerate(GENRE_FLAGS) if name not in NO_GENRE
    ]
    seconds = pl.col("date").str.to_date("%d-%b-%Y", strict=False).cast(pl.Datetime).dt.epoch("s")
    fields = fields.with_columns(
        pl.concat_list(genres).list.drop_nulls().alias("genres"), seconds.alias("release_date")
    )
    return _titles(fields, pl.col("name")).select("item_id", "title", "genres", "year", "release_date", "fault")


def parse_items_1m(batch: pl.DataFrame) -> pl.DataFrame:
    fields = match(batch, _ITEM_1M, "not `movie::title::genres`")
    return _films(fields, pl.col("name"))


def parse_items_csv(batch: pl.DataFrame) -> pl.DataFrame:
    return _films(match(batch, _ITEM_CSV, "not `movieId,title,genres`"), _csv_field())


def parse_tags_csv(batch: pl.DataFrame) -> pl.DataFrame:
    fields = match(batch, _TAG_CSV, "not `userId,movieId,tag,timestamp`")
    return fields.select("item_id", _csv_field().alias("tag"), "fault")


def parse_links_csv(batch: pl.DataFrame) -> pl.DataFrame:
    """Checked, and not kept: identifiers of other sites say nothing about taste."""
    return match(batch, _LINK_CSV, "not `movieId,imdbId,tmdbId`")


def _csv_field() -> pl.Expr:
    return pl.col("quoted").str.replace_all('""', '"', literal=True).fill_null(pl.col("plain"))


def _films(fields: pl.DataFrame, name: pl.Expr) -> pl.DataFrame:
    genre = pl.element()
    genres = pl.col("genres").str.split("|").list.eval(genre.filter((genre != "") & ~genre.is_in(NO_GENRE)))
    return _titles(fields.with_columns(genres), name).select("item_id", "title", "genres", "year", "fault")


def _titles(fields: pl.DataFrame, name: pl.Expr) -> pl.DataFrame:
    """The year that ends a name becomes a number of its own."""
    parts = fields.select(name.alias("name"))["name"].str.extract_groups(_NAME_AND_YEAR).struct.unnest()
    title = parts["title"].fill_null(fields.select(name.alias("name"))["name"].str.strip_chars())
    return fields.with_columns(title.alias("title"), parts["year"].cast(pl.Float64).alias("year"))
