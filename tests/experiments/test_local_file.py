"""`experiments.toml`: the payload that GrowthBook would hand out, and mistakes by name and line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from contracts.errors import PayloadInvalid
from contracts.treatment import Treatment
from experiments.local_file import compile_file
from experiments.payload import MAX_SOURCE_BYTES, Payload, read_payload
from tests.experiments.payloads import RICH, feature, rule, text_of

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "experiments.md").read_text(encoding="utf-8")

ARMS = '[[experiments.a.arms]]\nkey = "control"\n[[experiments.a.arms]]\nkey = "als"\nmodel = "als"\n'


def compiled(folder: Path, text: str, name: str = "experiments.toml") -> Payload:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return compile_file(path)


def test_it_is_what_growthbook_would_hand_out(tmp_path: Path) -> None:
    text = f"""
[experiments.a]
hypothesis = "ALS is enough."
coverage = 0.5
where = {{ country = ["DE", "AT"], features.plan = "pro" }}
{ARMS}
"""
    arms = [{"key": "control"}, {"key": "als"}]
    condition = {"country": {"$in": ["DE", "AT"]}, "features.plan": {"$in": ["pro"]}}
    same = rule({}, {"model": "als"}, key="a", seed="a", coverage=0.5, meta=arms, condition=condition, id=...)
    assert compiled(tmp_path, text).encode() == read_payload(text_of(a=feature(same))).encode()


def test_another_phase_is_another_seed(tmp_path: Path) -> None:
    assert compiled(tmp_path, f"[experiments.a]\n{ARMS}").rules[0].seed == "a"
    second = compiled(tmp_path, f"[experiments.a]\nphase = 2\n{ARMS}").rules[0]
    assert (second.seed, second.phase) == ("a:2", "2")
    assert compiled(tmp_path, f'[experiments.a]\nseed = "s"\nphase = 2\n{ARMS}').rules[0].seed == "s"


def test_weights_and_every_field_of_a_treatment(tmp_path: Path) -> None:
    fields = 'model = "als"\nnum_items = 5\nexploration_share = 0.2\ndiversity = "mmr"\nrecency_half_life_days = 3\n'
    text = f'[[experiments.a.arms]]\nkey = "x"\nweight = 0.3\n{fields}[[experiments.a.arms]]\nkey = "y"\nweight = 0.7\n'
    first, second = compiled(tmp_path, text).rules[0].arms
    assert (first.weight, second.weight) == (0.3, 0.7)
    assert first.treatment == Treatment(
        model="als", num_items=5, exploration_share=0.2, diversity="mmr", recency_half_life_days=3.0
    )


def test_an_empty_file_ends_all_tests(tmp_path: Path) -> None:
    assert compiled(tmp_path, "").experiments == ()


def test_json_is_a_payload_of_the_api(tmp_path: Path) -> None:
    assert compiled(tmp_path, RICH, "payload.json") == read_payload(RICH)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[experiments.a\n", "no TOML.*line 1"),
        ("[experiment.a]", r"the file has the unknown key 'experiment' \(line 1\)"),
        ("experiments = 3", "experiments is 3"),
        ("[experiments]\na = 3", r"experiments\.a is 3"),
        ('[experiments."a b"]', "'a b'"),
        ("[experiments.a]\n\ncoverag = 0.5\n" + ARMS, r"experiments\.a has the unknown key 'coverag' \(line 3\)"),
        (f"[experiments.a]\n{ARMS}modle = 1\n", r"experiments\.a, arm 2 has the unknown key 'modle' \(line 7\)"),
        ('[experiments.a]\narms = [{key = "x", modle = 1}, {key = "y"}]', "arm 1 has the unknown key 'modle'"),
        ("[experiments.a]", "fewer than two arms"),
        ("[experiments.a]\narms = [1, 2]", "fewer than two arms"),
        ('[[experiments.a.arms]]\nkey = "x"\n[[experiments.a.arms]]\nmodel = "als"', "arm 2 has no key"),
        (ARMS.replace('"control"', '"control"\nweight = 0.5'), "with a weight and arms without"),
        (ARMS.replace('"als"\nmodel = "als"', '"als"\nmodel = "gpt"'), r"variation 2 \(als\) is no treatment"),
        (ARMS.replace('"als"\nmodel = "als"', '"als"\nnum_items = 2026-11-20'), "num_items"),
        (ARMS.replace('"als"\n', '"als"\nsession_weight = nan\n', 1), "NaN"),
        (f"[experiments.a]\ncoverage = 1.5\n{ARMS}", "coverage is 1.5"),
        (f"[experiments.a]\nseed = 5\n{ARMS}", "seed is 5"),
        (f'[experiments.a]\nwhere = "DE"\n{ARMS}', "where is 'DE'"),
        (f'[experiments.a]\nwhere = {{ browser = "x" }}\n{ARMS}', "where has 'browser'"),
        (f"[experiments.a]\nwhere = {{ country = [] }}\n{ARMS}", "country"),
        (f"[experiments.a]\nwhere = {{ country = 49 }}\n{ARMS}", "country"),
        (ARMS + ARMS.replace("experiments.a", "experiments.b"), "both change model"),
        ("x = " + "9" * 5_000, "no TOML"),
        ("x = " + "[" * 5_000, "no TOML"),
    ],
)
def test_mistakes_are_named(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(PayloadInvalid, match=named) as caught:
        compiled(tmp_path, text)
    assert str(tmp_path / "experiments.toml") in caught.value.message
    assert caught.value.fix


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(PayloadInvalid, match="No such file"):
        compile_file(tmp_path / "missing.toml")
    with pytest.raises(PayloadInvalid, match="Is a directory"):
        compile_file(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(PayloadInvalid, match="no TOML"):
        compile_file(tmp_path / "latin.toml")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(MAX_SOURCE_BYTES + 1)
    with pytest.raises(PayloadInvalid, match=f"{MAX_SOURCE_BYTES + 1} bytes"):
        compile_file(tmp_path / "large.json")


def test_the_files_of_the_document_compile(tmp_path: Path) -> None:
    files = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert files
    assert all(compiled(tmp_path, text).experiments for text in files)
    for text in re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL):
        if "features" in json.loads(text):
            assert compiled(tmp_path, text, "payload.json").experiments
    for name in Treatment.__struct_fields__:
        assert f"`{name}`" in DOCUMENT, name
