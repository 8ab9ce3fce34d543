"""The dataset contract: what the columns of `events`, `users` and `items` mean, and what time means here.

A dataset is a folder with `schema.toml` and the tables `events`, `users` and `items`, each as Parquet, CSV or JSON
Lines. This module types the schema and checks that it does not contradict itself; reading files is the work of
`data_sources`. Everyone who touches a dataset or a release calls it.
"""

from __future__ import annotations

import tomllib
from enum import StrEnum
from typing import Any

import msgspec

from contracts.errors import SchemaError

CURRENT_VERSION = 1
OLDEST_READABLE_VERSION = 1

MAX_ID_BYTES = 128
"""Longest id in UTF-8 bytes: a DynamoDB profile and an OpenSearch document key both hold it with room to spare."""

EVENT_COLUMNS = ("user_id", "item_id", "event_type", "timestamp", "value", "session_id", "event_id", "split")
REQUIRED_EVENT_COLUMNS = ("user_id", "item_id")
DEFAULT_EVENT_TYPE = "interaction"


class FeatureKind(StrEnum):
    """How a feature is read and encoded."""

    CATEGORICAL = "categorical"
    """One string of a small vocabulary."""
    MULTI_CATEGORICAL = "multi_categorical"
    """A list of strings (in CSV: joined by `|`)."""
    NUMERIC = "numeric"
    """A number; encoded by quantile bucket."""
    TEXT = "text"
    """Free text; encoded by TF-IDF terms."""
    TIMESTAMP = "timestamp"
    """Unix seconds; encoded by quantile bucket."""


class TimeMeaning(StrEnum):
    """What the `timestamp` column of events means."""

    TIMESTAMP = "timestamp"
    """Unix seconds (UTC): order, decay, recency and time cuts all work."""
    ORDER = "order"
    """Position within the user's own events: order is known, ages are not."""
    NONE = "none"
    """Nothing: events of a user are a set."""


class EventWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much one event of a type says about taste; types that are not listed weigh `default`."""

    default: float = 1.0
    types: dict[str, float] = {}

    def of(self, event_type: str | None) -> float:
        return self.types.get(event_type or DEFAULT_EVENT_TYPE, self.default)


class DatasetSchema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A parsed and checked `schema.toml`."""

    version: int = CURRENT_VERSION
    time: TimeMeaning = TimeMeaning.TIMESTAMP
    given_split: bool = False
    """The events carry a column `split` with the values `train` and `test`."""
    users: dict[str, FeatureKind] = {}
    items: dict[str, FeatureKind] = {}
    segment: tuple[str, ...] = ()
    """User features (categorical) that form the demographic segment, broadest first: fallback drops from the end."""
    category: str | None = None
    """Item feature (categorical, or multi-categorical whose first value counts) for diversity and category lists."""
    title: str | None = None
    """Item feature (text or categorical) that names an item to a person."""
    published: str | None = None
    """Item feature (timestamp): when the item appeared; recency decay and `prefer: new` use it."""
    expires: str | None = None
    """Item feature (timestamp): after it the item is not served."""
    available: str | None = None
    """Item feature (categorical `true`/`false`): false at training time means not served until live data says so."""
    event_weights: EventWeights = EventWeights()

    @property
    def ordered(self) -> bool:
        """Whether the events of a user have an order (the training objective depends on it)."""
        return self.time is not TimeMeaning.NONE

    @property
    def timed(self) -> bool:
        """Whether ages exist: decay, recency and time cuts need it."""
        return self.time is TimeMeaning.TIMESTAMP


_ROLE_KINDS: dict[str, tuple[FeatureKind, ...]] = {
    "category": (FeatureKind.CATEGORICAL, FeatureKind.MULTI_CATEGORICAL),
    "title": (FeatureKind.TEXT, FeatureKind.CATEGORICAL),
    "published": (FeatureKind.TIMESTAMP,),
    "expires": (FeatureKind.TIMESTAMP,),
    "available": (FeatureKind.CATEGORICAL,),
}


def parse_schema(text: str, source: str = "schema.toml") -> DatasetSchema:
    """Parse and check a schema.

    Raises SchemaError, naming `source` and the key, for TOML that does not parse, unknown keys, a version outside
    [OLDEST_READABLE_VERSION, CURRENT_VERSION], or a role that names a feature which is missing or of another kind.
    """
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SchemaError(
            f"{source}: not valid TOML: {error}.", fix="Correct the line that the message names."
        ) from error
    _check_version(raw.get("version", CURRENT_VERSION), source)
    _check_kinds(raw, source)
    try:
        schema = msgspec.convert(raw, DatasetSchema)
    except msgspec.ValidationError as error:
        raise SchemaError(f"{source}: {error}.", fix="See docs/dataset.md for every key and its values.") from error
    _check_roles(schema, source)
    return schema


def _check_version(version: object, source: str) -> None:
    if not isinstance(version, int) or not OLDEST_READABLE_VERSION <= version <= CURRENT_VERSION:
        raise SchemaError(
            f"{source}: version {version!r} is outside the readable range "
            f"{OLDEST_READABLE_VERSION} to {CURRENT_VERSION}.",
            fix="Rewrite the schema for this version, or use the Tandem that wrote it.",
        )


def _check_kinds(raw: dict[str, Any], source: str) -> None:
    for side in ("users", "items"):
        features = raw.get(side, {})
        for name, kind in features.items() if isinstance(features, dict) else ():
            if kind not in list(FeatureKind):
                raise SchemaError(
                    f"{source}: [{side}] {name} = {kind!r} is no kind of feature.",
                    fix=f"Use one of {', '.join(FeatureKind)}.",
                )


def _check_roles(schema: DatasetSchema, source: str) -> None:
    for role, kinds in _ROLE_KINDS.items():
        feature = getattr(schema, role)
        if feature is not None and schema.items.get(feature) not in kinds:
            raise SchemaError(
                f"{source}: {role} = {feature!r} must name an item feature of kind {' or '.join(kinds)}, "
                f"found {schema.items.get(feature, 'no such feature')}.",
                fix=f"Add it under [items] or correct {role}.",
            )
    for feature in schema.segment:
        if schema.users.get(feature) is not FeatureKind.CATEGORICAL:
            raise SchemaError(
                f"{source}: segment names {feature!r}, which must be a categorical user feature, "
                f"found {schema.users.get(feature, 'no such feature')}.",
                fix="Add it under [users] as categorical or take it out of segment.",
            )


def schema_toml(schema: DatasetSchema) -> str:
    """Write a schema as TOML that `parse_schema` reads back equal."""
    lines = [f"version = {schema.version}", f'time = "{schema.time}"']
    if schema.given_split:
        lines.append("given_split = true")
    if schema.segment:
        lines.append(f"segment = {_toml_list(schema.segment)}")
    roles = ((role, getattr(schema, role)) for role in _ROLE_KINDS)
    lines += [f"{role} = {_toml_string(feature)}" for role, feature in roles if feature is not None]
    for side in ("users", "items"):
        features: dict[str, FeatureKind] = getattr(schema, side)
        if features:
            lines += ["", f"[{side}]", *(f'{_toml_string(name)} = "{kind}"' for name, kind in features.items())]
    lines += ["", "[event_weights]", f"default = {schema.event_weights.default}"]
    if schema.event_weights.types:
        lines.append("[event_weights.types]")
        lines += [f"{_toml_string(name)} = {weight}" for name, weight in schema.event_weights.types.items()]
    return "\n".join(lines) + "\n"


def _toml_string(value: str) -> str:
    """A TOML basic string; TOML escapes are JSON's, plus DEL, which JSON leaves bare."""
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def _toml_list(values: tuple[str, ...]) -> str:
    return "[" + ", ".join(_toml_string(value) for value in values) + "]"
