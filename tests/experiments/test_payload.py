"""What a payload may say: everything else is refused by name, and nothing makes the reader raise otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import PayloadInvalid
from contracts.experiment import MAX_PAYLOAD_BYTES
from contracts.treatment import Treatment
from experiments.payload import MAX_RULES, MAX_SOURCE_BYTES, read_payload
from tests.experiments.payloads import RICH, feature, payload_texts, rule, running_payload, text_of

ALS = {"model": "als"}


def deep(depth: int) -> dict[str, Any]:
    condition: dict[str, Any] = {"country": "DE"}
    for _ in range(depth):
        condition = {"$not": condition}
    return condition


def test_what_growthbook_hands_out_is_read_and_reduced() -> None:
    text = text_of(model=feature(rule({}, ALS, weights=[0.25, 0.75]), {"force": ALS, "id": "fr_2"}, metadata={"a": 1}))
    document = json.loads(text)
    document["features"]["checkout"] = {"defaultValue": 1, "rules": "another team's"}
    document |= {"dateUpdated": "2026-11-20T12:00:00Z", "experiments": [], "savedGroups": {}}
    payload = read_payload(json.dumps(document).encode())
    assert list(payload.features) == ["tandem.model"]
    assert payload.experiments == ("exp",)
    (experiment,) = payload.rules
    assert [(arm.key, arm.weight, arm.treatment) for arm in experiment.arms] == [
        ("0", 0.25, Treatment()),
        ("1", 0.75, Treatment(model="als")),
    ]
    assert (experiment.feature, experiment.seed, experiment.phase) == ("tandem.model", "exp", "0")
    kept = payload.features["tandem.model"]["rules"]
    assert "bucketVersion" not in kept[0]
    assert kept[1] == {"force": ALS, "hashAttribute": "id", "id": "fr_2"}


def test_defaults_of_sdks_are_written_out() -> None:
    bare = rule({}, ALS, {}, key=..., seed=..., weights=..., coverage=..., meta=..., phase=..., hashAttribute=...)
    (experiment,) = read_payload(text_of(model=feature(bare))).rules
    assert (experiment.key, experiment.seed, experiment.coverage) == ("tandem.model", "tandem.model", 1.0)
    assert [(arm.key, arm.weight) for arm in experiment.arms] == [("0", 1 / 3), ("1", 1 / 3), ("2", 1 / 3)]


def test_nothing_of_ours_is_a_payload_too() -> None:
    assert read_payload('{"features": {"checkout": null}}').experiments == ()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        ("null", "None"),
        ("[]", "a list of 0"),
        ("{}", "features is None"),
        ('{"features": null}', "features is None"),
        ('{"features": []}', "features is a list"),
        ('{"features": {}, "features": {}}', "'features' is there twice"),
        ('{"features": {"tandem.a": {"defaultValue": {}, "defaultValue": {}}}}', "'defaultValue' is there twice"),
        ('{"features": {"x": NaN}}', "NaN"),
        ('{"features": {"x": -Infinity}}', "-Infinity"),
        ('{"features": {"tandem.a": ' + "9" * 5_000 + "}}", "no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"encryptedFeatures": "abc.def"}', "encrypted"),
        ('{"features": {}, "encryptedFeatures": "abc.def"}', "encrypted"),
        (" " * (MAX_SOURCE_BYTES + 1), f"{MAX_SOURCE_BYTES + 1} bytes"),
        ('{"features": {"tandem.\\ud800": {}}}', "its key"),
        ('{"features": {"tandem.a": {"defaultValue": {}, "x": "\\ud800"}}}', "cannot be written"),
    ],
)
def test_no_payload_at_all_is_refused(text: str | bytes, named: str) -> None:
    with pytest.raises(PayloadInvalid, match=named) as caught:
        read_payload(text)
    assert caught.value.fix
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("definition", "named"),
    [
        (None, "is None"),
        (feature(defaultValue=None), "defaultValue is no treatment"),
        (feature(defaultValue="als"), "defaultValue is no treatment"),
        (feature(rules="x"), "rules is 'x'"),
        (feature(rules={}), "rules is an empty object"),
        (feature(7), "rule 1 is 7"),
        (feature(rule({}, ALS), {}), "rule 2 has none of variations and force"),
        (feature(rule({}, ALS, force={})), "or both"),
        (feature({"force": None}), "none of variations and force"),
        (feature({"force": {"model": "gpt"}}), "force is no treatment"),
        (feature({"force": ALS, "hashVersion": 3}), "hashVersion 3"),
        (feature({"force": ALS, "namespace": ["n", 0, 1]}), "'namespace'"),
        (feature({"force": ALS, "tracks": [{"experiment": {}}]}), "'tracks'"),
        (feature(rule(ALS)), "variations is a list of 1"),
        (feature(rule({}, ALS, variations="ab")), "variations is 'ab'"),
        (feature(rule({}, "als")), r"variation 2 \(1\) is no treatment"),
        (feature(rule({}, {"model": "gpt"})), r"Invalid enum value 'gpt' - at `\$.model`"),
        (feature(rule({}, {"modell": "als"})), "unknown field `modell`"),
        (feature(rule({}, {"num_items": 0})), "num_items"),
        (feature(rule({}, {"num_items": "20"})), "num_items"),
        (feature(rule({}, {"num_items": True})), "num_items"),
        (feature(rule({}, {"exploration_share": 1.5})), "exploration_share"),
        (feature(rule({}, {"session_weight": 1e300})), "session_weight"),
        (feature(rule({}, {"model": "x" * 50_000})), "is no treatment"),
        (feature(rule({}, ALS, weights=[0.5, 0.6])), "weights sum to 1.1"),
        (feature(rule({}, ALS, weights=[0.5, 0.4])), "weights sum to 0.9"),
        (feature(rule({}, ALS, weights=[0, 0])), "weights sum to 0"),
        (feature(rule({}, ALS, weights=[1.5, -0.5])), r"weights\[1\] is 1.5"),
        (feature(rule({}, ALS, weights=[1, True])), r"weights\[2\] is True"),
        (feature(rule({}, ALS, weights=[1])), "Give one for each of the 2"),
        (feature(rule({}, ALS, weights="1")), "weights is '1'"),
        (feature(rule({}, ALS, weights=[10**400, 0])), r"weights\[1\] is an integer beyond"),
        (feature(rule({}, ALS, coverage=-0.1)), "coverage is -0.1"),
        (feature(rule({}, ALS, coverage=1.1)), "coverage is 1.1"),
        (feature(rule({}, ALS, coverage="1")), "coverage is '1'"),
        (feature(rule({}, ALS, hashVersion=1)), "hashVersion 1"),
        (feature(rule({}, ALS, hashVersion=...)), "hashVersion None"),
        (feature(rule({}, ALS, hashVersion="2")), "hashVersion '2'"),
        (feature(rule({}, ALS, hashAttribute="session_id")), "hashAttribute 'session_id'"),
        (feature(rule({}, ALS, fallbackAttribute="session_id")), "'fallbackAttribute'"),
        (feature(rule({}, ALS, ranges=[[0, 1]])), "'ranges'"),
        (feature(rule({}, ALS, parentConditions=[{"id": "x"}])), "'parentConditions'"),
        (feature(rule({}, ALS, contextualBanditRef="b")), "'contextualBanditRef'"),
        (feature(rule({}, ALS, urlPatterns=[{}])), "'urlPatterns'"),
        (feature(rule({}, ALS, somethingNew=1)), "'somethingNew'"),
        (feature(rule({}, ALS, key="")), "share the key 'tandem.a'"),
        (feature(rule({}, ALS, key="a\nb")), "key is 'a.*nb'"),
        (feature(rule({}, ALS, key="k" * 200)), "key is"),
        (feature(rule({}, ALS, seed=7)), "seed is 7"),
        (feature(rule({}, ALS, phase=["0"])), "phase is a list"),
        (feature(rule({}, ALS, meta=[{}])), "meta is a list of 1"),
        (feature(rule({}, ALS, meta=[{}, 1])), "meta is a list of 2"),
        (feature(rule({}, ALS, meta=[{"key": "a"}, {"key": "a"}])), "two variations alike"),
        (feature(rule({}, ALS, meta=[{"key": 1}, {}])), "key is 1"),
        (feature(rule({}, ALS, meta=[{}, {"passthrough": True}])), "pass through"),
        (feature(rule({}, ALS, namespace=["n", 0.5])), "namespace is a list of 2"),
        (feature(rule({}, ALS, namespace=["n", 0.5, 0.1])), "goes from 0.5 to 0.1"),
        (feature(rule({}, ALS, filters={"seed": "s"})), "filters is an object"),
        (feature(rule({}, ALS, filters=[{"seed": "s"}])), "ranges None"),
        (feature(rule({}, ALS, filters=[{"seed": "s", "ranges": [[0, 2]]}])), "is 2"),
        (feature(rule({}, ALS, filters=[{"seed": "s", "ranges": [[0]]}])), "list of 1"),
        (feature(rule({}, ALS, filters=[{"seed": "s", "ranges": [[0, 1]], "attribute": "x"}])), "attribute"),
        (feature(rule({}, ALS, filters=[{"seed": "s", "ranges": [[0, 1]], "hashVersion": 1}])), "hashVersion"),
    ],
)
def test_a_feature_that_is_wrong_is_refused_by_name(definition: Any, named: str) -> None:
    features: dict[str, Any] = {"a": definition}
    if "share the key" in named:  # an empty key is the feature's: two of them are too many
        features["a"]["rules"] *= 2
    with pytest.raises(PayloadInvalid, match=named) as caught:
        read_payload(text_of(**features))
    assert "'tandem.a'" in caught.value.message or "tandem.a and" in caught.value.message
    assert caught.value.fix
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "condition",
    [
        {"browser": "firefox"},
        {"features": {"plan": "pro"}},
        {"features.plan.name": "pro"},
        {"country": 49},
        {"country": None},
        {"country": ["DE"]},
        {"country": {}},
        {"country": {"$regex": "^D"}},
        {"country": {"$gt": "A"}},
        {"country": {"$in": "DE"}},
        {"country": {"$in": []}},
        {"country": {"$in": [1]}},
        {"country": {"$inGroup": "grp_1"}},
        {"country": {"$exists": 1}},
        {"country": {"$veq": "1"}},
        {"events": "5"},
        {"events": {"$gte": True}},
        {"events": {"$gte": 10**400}},
        {"$nor": [{"country": "DE"}]},
        {"$or": []},
        {"$or": {"country": "DE"}},
        {"$and": [1]},
        {"$savedGroups": ["grp_1"]},
        {"$not": 1},
        deep(30),
        {"country": {"$not": deep(15)}},
    ],
)
def test_targeting_on_which_sdks_differ_is_refused(condition: dict[str, Any]) -> None:
    with pytest.raises(PayloadInvalid, match=r"rule 1, condition"):
        read_payload(text_of(a=feature(rule({}, ALS, condition=condition))))


def test_features_must_not_meddle_with_each_other() -> None:
    alike = {"a": feature(rule({}, ALS)), "b": feature(rule({}, {"num_items": 5}, seed="other"))}
    with pytest.raises(PayloadInvalid, match=r"tandem\.a and tandem\.b share the key 'exp'"):
        read_payload(text_of(**alike))
    alike["b"]["rules"][0] |= {"key": "other", "seed": "exp"}
    with pytest.raises(PayloadInvalid, match="share the seed 'exp'"):
        read_payload(text_of(**alike))
    alike["b"]["rules"] = [{"force": {"model": "popularity"}}]
    with pytest.raises(PayloadInvalid, match=r"'tandem\.a' and 'tandem\.b' both change model"):
        read_payload(text_of(**alike))
    alike["b"] = feature(defaultValue={"model": "popularity"})
    with pytest.raises(PayloadInvalid, match="both change model"):
        read_payload(text_of(**alike))


def test_there_is_an_end_to_sizes() -> None:
    many = feature(*({"force": {}} for _ in range(MAX_RULES + 1)))
    with pytest.raises(PayloadInvalid, match=f"{MAX_RULES + 1} rules"):
        read_payload(text_of(a=many))
    audience = {"id": {"$in": ["u" * 1_000] * 500}}
    with pytest.raises(PayloadInvalid, match=f"{MAX_PAYLOAD_BYTES} bytes are the most|has 5\\d+ bytes"):
        read_payload(text_of(a=feature(rule({}, ALS, condition=audience))))
    assert len(running_payload(10).encode()) < MAX_PAYLOAD_BYTES / 10


@settings(max_examples=60, deadline=None)
@given(payload_texts())
def test_what_is_read_is_written_and_read_equal(text: str) -> None:
    payload = read_payload(text)
    again = read_payload(payload.encode())
    assert again == payload
    assert again.encode() == payload.encode()


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([2**64, 10**400, 1e308]),
    st.text(st.characters(), max_size=5),
    st.sampled_from(["id", "als", "$in", "country", "tandem.a", "1", "\ud800"]),
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$not", "$or", "$in", "country", "key", "seed", "ranges", "model"]), inner)
    ),
    max_leaves=5,
)
_PLACES = ("defaultValue", "rules", "0", "condition", *rule({}, ALS), "force", "namespace", "filters")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(_PLACES), _JSON)
def test_no_value_anywhere_raises_anything_else(place: str, value: Any) -> None:
    """A good payload with something else in one place."""
    document = json.loads(RICH)
    definition = document["features"]["tandem.model"]
    if place in ("defaultValue", "rules"):
        definition[place] = value
    elif place == "0":
        definition["rules"][0] = value
    else:
        definition["rules"][0][place] = value
    try:
        payload = read_payload(json.dumps(document))
    except PayloadInvalid:
        return
    assert read_payload(payload.encode()) == payload


@pytest.mark.parametrize("put", [b"", b"\x00", b"9", b'"', b"{", b"]", b"\xff", b"\\", b"-1e999"])
def test_no_broken_text_raises_anything_else(put: bytes) -> None:
    """Each byte of a good payload cut or replaced, and something put before it."""
    data, refused = RICH.encode(), 0
    for position in range(len(data)):
        for behind in (position, position + 1):
            try:
                read_payload(data[:position] + put + data[behind:])
            except PayloadInvalid as error:
                refused += bool(error.fix)
    assert refused > len(data) / 2
