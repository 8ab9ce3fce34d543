"""Payloads for tests: as GrowthBook hands them out, and drawn by hypothesis."""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import strategies as st

from experiments.payload import Payload, read_payload

VALUES: Final[dict[str, list[Any]]] = {
    "model": ["two_tower", "als", "popularity"],
    "interleave": ["als"],
    "num_items": [1, 20],
    "random_places": [0, 2],
    "cold_user_events": [3],
    "session_weight": [2.5],
    "exploration_share": [0.1],
    "diversity": ["mmr", "none"],
    "category_penalty": [0.5],
    "recency_weight": [0.25],
}
"""Field of a treatment → values for it."""

FIRST_TEN: Final = tuple(VALUES)[:10]


def rule(*variations: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A rule of an experiment as GrowthBook writes it."""
    weights = [1 / len(variations)] * len(variations)
    meta = [{"key": str(number), "name": f"Variation {number}"} for number in range(len(variations))]
    full = {
        "id": "fr_1",
        "key": "exp",
        "seed": "exp",
        "hashAttribute": "id",
        "hashVersion": 2,
        "bucketVersion": 1,
        "coverage": 1,
        "weights": weights,
        "variations": list(variations),
        "meta": meta,
        "phase": "0",
        "name": "An experiment",
    }
    return {name: value for name, value in (full | more).items() if value is not ...}


def feature(*rules: Any, **more: Any) -> dict[str, Any]:
    return {"defaultValue": {}, "rules": list(rules), **more}


def text_of(**features: Any) -> str:
    """The JSON of a payload; names get the prefix of ours."""
    return json.dumps({"status": 200, "features": {f"tandem.{name}": one for name, one in features.items()}})


def running_payload(number: int, **more: Any) -> Payload:
    """Experiments that change a field each, half the users in each arm."""
    changes = {name: VALUES[name][-1] for name in FIRST_TEN[:number]}
    features = {name: feature(rule({}, {name: value}, key=name, seed=name, **more)) for name, value in changes.items()}
    return read_payload(text_of(**features))


TEXTS: Final = st.sampled_from(["DE", "AT", "FR", "", "ä", "🙂", "free"])
IDS: Final = st.one_of(
    st.text(max_size=12),
    st.text(st.characters(min_codepoint=0x1F300, max_codepoint=0x1FAFF), min_size=1, max_size=3),  # emoji
    st.sampled_from(["\U0001f469\u200d\U0001f467", "\x00", "1", "anonymous:s1", "e\u0301"]),
    st.sampled_from(["\ud83d", "a\udc00b"]),  # halves of a surrogate pair, as no client can send them
)
ATTRIBUTES: Final = st.fixed_dictionaries(
    {"id": IDS, "events": st.integers(0, 50)},
    optional={
        "user_id": IDS,
        "country": TEXTS,
        "segment": TEXTS,
        "features": st.dictionaries(st.sampled_from(["plan", "vip"]), st.one_of(TEXTS, st.booleans(), st.lists(TEXTS))),
    },
)

_TEXT_VALUES = st.one_of(TEXTS, st.booleans())
_ON_TEXT = st.one_of(
    _TEXT_VALUES,
    st.builds(lambda operator, value: {operator: value}, st.sampled_from(["$eq", "$ne"]), _TEXT_VALUES),
    st.builds(
        lambda operator, values: {operator: values},
        st.sampled_from(["$in", "$nin"]),
        st.lists(_TEXT_VALUES, min_size=1, max_size=3),
    ),
    st.builds(lambda there: {"$exists": there}, st.booleans()),
)
_ON_NUMBER = st.dictionaries(
    st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), st.integers(0, 50), min_size=1, max_size=2
)
_LEAF = st.one_of(
    st.dictionaries(
        st.sampled_from(["id", "user_id", "country", "segment", "features.plan", "features.vip"]),
        st.one_of(_ON_TEXT, st.builds(lambda inner: {"$not": inner}, _ON_TEXT)),
        max_size=2,
    ),
    st.builds(lambda wanted: {"events": wanted}, _ON_NUMBER),
)
CONDITIONS: Final = st.recursive(
    _LEAF,
    lambda inner: st.one_of(
        st.builds(
            lambda operator, ones: {operator: ones},
            st.sampled_from(["$and", "$or"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda one: {"$not": one}, inner),
    ),
    max_leaves=4,
)
_SPANS = st.tuples(st.integers(0, 10), st.integers(0, 10)).map(lambda ends: [min(ends) / 10, max(ends) / 10])
_SHARES = st.one_of(st.sampled_from([0, 0.5, 1]), st.floats(0, 1))


RICH: Final = text_of(
    model=feature(
        rule(
            {},
            {"model": "als"},
            weights=[0.25, 0.75],
            coverage=0.5,
            condition={"$or": [{"country": {"$in": ["DE", "🙂"]}}, {"$not": {"events": {"$gte": 5}}}]},
            namespace=["ns", 0, 0.5],
            filters=[{"seed": "f", "ranges": [[0, 0.5]], "hashVersion": 2, "attribute": "id"}],
        ),
        {"force": {"model": "popularity"}, "coverage": 0.1, "hashVersion": 1},
    ),
    slate=feature(rule({}, {"num_items": 20}, key="slate", seed="slate")),
)
"""A bit of everything that is accepted."""


def _optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


@st.composite
def _experiments(draw: st.DrawFn, field: str, name: str) -> dict[str, Any]:
    values = [{}, *({field: value} for value in VALUES[field])]
    arms = draw(st.lists(st.sampled_from(values), min_size=2, max_size=4))
    shares = [draw(st.integers(0, 5)) for _ in arms]
    total = sum(shares)
    return rule(
        *arms,
        key=name,
        seed=draw(st.sampled_from([name, f"{name}🙂", ...])),
        weights=draw(st.sampled_from([..., [share / total for share in shares]])) if total else ...,
        meta=draw(st.sampled_from([..., [{"key": f"v{number}"} for number in range(len(arms))]])),
        **draw(
            _optional(
                coverage=_SHARES,
                condition=CONDITIONS,
                namespace=_SPANS.map(lambda span: ["ns", *span]),
                filters=st.lists(_SPANS.map(lambda span: {"seed": "f", "ranges": [span]}), max_size=2),
            )
        ),
    )


def _forces(field: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda value, more: {"force": {field: value}, **more},
        st.sampled_from(VALUES[field]),
        _optional(coverage=_SHARES, condition=CONDITIONS, seed=st.just("r"), hashVersion=st.sampled_from([1, 2])),
    )


@st.composite
def payload_texts(draw: st.DrawFn) -> str:
    """JSON of payloads that are accepted: up to three features, each of up to three rules."""
    features = {}
    for field in draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=3, unique=True)):
        rules = [
            draw(st.one_of(_experiments(field, f"{field}-{number}"), _forces(field)))
            for number in range(draw(st.integers(0, 3)))
        ]
        features[field] = feature(*rules, defaultValue=draw(st.sampled_from([{}, {field: VALUES[field][0]}])))
    return text_of(**features)
