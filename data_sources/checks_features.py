"""Checks of features: filled, varied, spelt one way, seen in training, segments that are large enough.

`doctor` runs them.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from contracts.schema import FeatureKind
from data_sources.checks import (
    FEW,
    MANY,
    Check,
    Examined,
    Needs,
    Outcome,
    failed,
    is_empty,
    listed,
    passed,
    share,
    warned,
)
from data_sources.findings import Place
from data_sources.reading import ID_OF

_CATEGORICAL: Final = (FeatureKind.CATEGORICAL, FeatureKind.MULTI_CATEGORICAL)

_ID_LIKE: Final = 0.5
_ID_LIKE_VALUES: Final = 50
"""A category with more values than these, for at least half of its rows a value of its own, is an id in disguise."""

_SMALL_SEGMENT: Final = 20
"""Users under which the popularity of a segment is the taste of a few people."""
_SMALL_SHARE: Final = 0.05


def _declared(examined: Examined) -> Outcome:
    without = [side for side in ID_OF if not getattr(examined.schema, side)]
    if without:
        return warned(f"the schema names no features of {' and '.join(without)}; training and serving work without")
    return passed(f"{len(examined.schema.users)} user features, {len(examined.schema.items)} item features")


def _filled(examined: Examined) -> Outcome:
    found, places, lost = [], [], False
    for side in ID_OF:
        table = examined.table(side)
        for name in examined.features(side):
            empty = is_empty(table.frame[name])
            if len(empty) and empty.sum() > MANY * len(empty):
                found.append(f"{side}.{name}: {share(int(empty.sum()), len(empty))} empty")
                places.append(table.place(name, empty))
                lost = lost or bool(empty.all())
    if not found:
        return passed("every feature is filled for most rows")
    return (failed if lost else warned)("; ".join(found), places)


def _varied(examined: Examined) -> Outcome:
    constant = []
    for side in ID_OF:
        table = examined.table(side)
        for name in examined.features(side):
            values = table.frame[name].filter(~is_empty(table.frame[name]))
            if len(values) > 1 and name != examined.schema.available and values.n_unique() == 1:
                constant.append(Place(table.parts[0][0], name, len(values)))
    if constant:
        return warned(f"{len(constant)} features have one value only", constant)
    return passed("every feature tells rows apart")


def _words(examined: Examined, side: str, name: str) -> pl.Series:
    """Every value of a categorical feature, lists taken apart."""
    column = examined.table(side).frame[name]
    return column.explode(empty_as_null=False) if isinstance(column.dtype, pl.List) else column


def _id_like(examined: Examined) -> Outcome:
    found, places = [], []
    for side in ID_OF:
        for name in examined.features(side, *_CATEGORICAL):
            words = _words(examined, side, name).drop_nulls()
            distinct = words.n_unique()
            if name != examined.schema.title and distinct > max(_ID_LIKE_VALUES, _ID_LIKE * len(words)):
                found.append(f"{side}.{name}: {distinct:,} values in {len(words):,} rows")
                places.append(Place(examined.table(side).parts[0][0], name, distinct))
    return warned("; ".join(found), places) if found else passed("no category is an id in disguise")


def _spelling(examined: Examined) -> Outcome:
    found, places = [], []
    for side in ID_OF:
        for name in examined.features(side, *_CATEGORICAL):
            words = _words(examined, side, name).drop_nulls().unique().alias("word").to_frame()
            form = pl.col("word").str.normalize("NFKC").str.strip_chars().str.to_lowercase()
            alike = words.filter(form.is_duplicated())["word"].sort().to_list()
            if alike:
                found.append(f"{side}.{name}: {listed(alike)}")
                places.append(Place(examined.table(side).parts[0][0], name, len(alike)))
    return warned("; ".join(found), places) if found else passed("no category is spelt in two ways")


def _seen(examined: Examined) -> Outcome:
    """Categories that occur only on users or items without an event to train on."""
    found, places = [], []
    for side, key in ID_OF.items():
        table, events = examined.table(side), examined.per(side)
        trained = events.filter(pl.col("train") > 0) if examined.has(Needs.SPLIT) else events
        active = table.frame[key].is_in(trained["id"].implode()).fill_null(False)
        for name in examined.features(side, *_CATEGORICAL):
            unseen, rows = _unseen(table.frame[name], active)
            if unseen and int(rows.sum()) > FEW * len(rows):
                rare = f"{len(unseen):,} values ({listed(unseen)})"
                found.append(f"{side}.{name}: {rare} in {share(int(rows.sum()), len(rows))} rows")
                places.append(table.place(name, rows))
    return warned("; ".join(found), places) if found else passed("events touch every category that matters")


def _unseen(column: pl.Series, active: pl.Series) -> tuple[list[str], pl.Series]:
    """Values that no active row has, and the rows [n] that have one of them."""
    listed_column = (
        column if isinstance(column.dtype, pl.List) else column.to_frame().select(pl.concat_list(pl.all()))[column.name]
    )
    frame = pl.DataFrame({"value": listed_column, "active": active}).with_row_index("row")
    flat = frame.explode("value", empty_as_null=False).drop_nulls("value")
    unseen = flat.group_by("value").agg(pl.col("active").any()).filter(~pl.col("active"))["value"].sort()
    rows = flat.filter(pl.col("value").is_in(unseen.implode()))["row"].unique()
    return unseen.to_list(), pl.int_range(len(column), eager=True).is_in(rows.cast(pl.Int64).implode())


def _described(examined: Examined) -> Outcome:
    return _without(
        examined, examined.features("items", *(k for k in FeatureKind if k is not FeatureKind.TEXT)), "attribute"
    )


def _texts(examined: Examined) -> Outcome:
    return _without(examined, examined.features("items", FeatureKind.TEXT), "text")


def _without(examined: Examined, features: list[str], what: str) -> Outcome:
    """Items, known from anywhere, that have none of some features."""
    if not features:
        return warned(f"the schema names no {what} of items")
    table = examined.items
    empty = pl.select(pl.all_horizontal([pl.lit(is_empty(table.frame[name])) for name in features])).to_series()
    total = len(examined.all_ids["items"])
    bare = int(empty.sum()) + total - table.frame["item_id"].n_unique()
    found = f"{share(bare, total)} items have no {what}"
    if bare <= FEW * total:
        return passed(found)
    return warned(found, [table.place(features[0], empty)] if empty.any() else [Place(table.name)])


def _segments(examined: Examined) -> Outcome:
    segment = [name for name in examined.schema.segment if name in examined.users.frame.columns]
    if not segment:
        return warned("the schema names no segment: cold users get what everybody gets")
    users = examined.users.frame.filter(pl.col("user_id").is_in(examined.per("users")["id"].implode()))
    sizes = users.group_by(segment).len(name="n").sort("n", *segment)
    small = sizes.filter(pl.col("n") < _SMALL_SEGMENT)
    inside, total = int(small["n"].sum()), int(sizes["n"].sum())
    found = f"{len(sizes)} segments by {' and '.join(segment)}, {len(small)} of them with under {_SMALL_SEGMENT} users"
    if inside <= _SMALL_SHARE * total:
        return passed(found)
    names = [" ".join(map(str, row[:-1])) for row in small.iter_rows()]
    return warned(
        f"{found} ({listed(names)}), together {share(inside, total)} users", [Place(examined.users.parts[0][0])]
    )


def _available(examined: Examined) -> Outcome:
    name = examined.schema.available
    if name is None or name not in examined.items.frame.columns:
        return passed("no feature says what is available")
    values = examined.items.frame[name]
    odd = ~values.is_in(["true", "false"]).fill_null(True)
    if odd.any():
        return failed(f"{name} must be true or false", [examined.items.place(name, odd)])
    gone = int((values == "false").sum())
    return (
        warned("no item is available")
        if len(values) and gone == len(values)
        else passed(f"{gone:,} items are not available")
    )


def _expired(examined: Examined) -> Outcome:
    name = examined.schema.expires
    if name is None or name not in examined.items.frame.columns:
        return passed("no item expires")
    over = (examined.items.frame[name] < examined.now).fill_null(False)
    found = f"{share(int(over.sum()), len(over))} items have expired"
    return warned(found, [examined.items.place(name, over)]) if over.sum() > MANY * len(over) else passed(found)


CHECKS: Final = (
    Check(
        "features-declared",
        "Features are what is known of a user or an item before any event: without them cold ones get popularity.",
        "Name features under [users] and [items] in schema.toml.",
        _declared,
        (Needs.SCHEMA,),
    ),
    Check(
        "features-filled",
        "A feature that is mostly empty teaches little; one that is empty (or NaN) everywhere is a broken export.",
        "Fill it at its source, or take it out of the schema.",
        _filled,
        (Needs.READ,),
    ),
    Check(
        "features-varied",
        "A feature that is the same everywhere says nothing, and costs a slot of every vector.",
        "Take it out of the schema, or find out why the export lost its values.",
        _varied,
        (Needs.READ,),
    ),
    Check(
        "categories-size",
        "A category with a value for each row learns rows by heart and knows nothing of new ones.",
        "Make it text, group its values, or take it out.",
        _id_like,
        (Needs.READ,),
    ),
    Check(
        "categories-spelling",
        "Values that differ in case or blanks only are one category for people and several for the model.",
        "Write each category one way.",
        _spelling,
        (Needs.READ,),
    ),
    Check(
        "categories-seen",
        "A category on which there is no event has no vector that was learned: it adds noise or nothing.",
        "Group rare values, or collect events that touch them.",
        _seen,
        (Needs.EVENTS,),
    ),
    Check(
        "items-described",
        "A cold item is found through its attributes; without any it waits for its first events unseen.",
        "Fill category, brand or whatever the catalogue knows.",
        _described,
        (Needs.ITEMS,),
    ),
    Check(
        "items-text",
        "Words of a title or a description are the finest content there is for items without events.",
        "Add a text feature, or fill it for these items.",
        _texts,
        (Needs.ITEMS,),
    ),
    Check(
        "segments-size",
        "A cold user is served what their segment likes; in a segment of a few people that is a few people's taste.",
        "Use fewer or coarser features in segment, the broadest first.",
        _segments,
        (Needs.EVENTS, Needs.USERS),
    ),
    Check(
        "available-values",
        "What is not clearly true or false would be served by accident, or never.",
        "Write true or false.",
        _available,
        (Needs.ITEMS,),
    ),
    Check(
        "items-expired",
        "Expired items are not served: a catalogue that is mostly over leaves little to recommend.",
        "Load the current catalogue, or correct the times.",
        _expired,
        (Needs.ITEMS,),
    ),
)
