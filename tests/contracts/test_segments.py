"""Segment keys fall back from the end and never collide."""

from __future__ import annotations

from contracts.segments import GLOBAL_KEY, category_key, segment_key, segment_keys, segment_label
from contracts.trending import trending_key


def test_keys_go_from_the_most_specific_to_everybody() -> None:
    keys = segment_keys(["gender", "age"], {"gender": "F", "age": "25", "zip": "1"})
    assert keys == [segment_key(["gender", "age"], ["F", "25"]), segment_key(["gender"], ["F"]), GLOBAL_KEY]


def test_a_gap_ends_the_segment() -> None:
    assert segment_keys(["gender", "age"], {"age": "25"}) == [GLOBAL_KEY]
    assert segment_keys([], {"gender": "F"}) == [GLOBAL_KEY]


def test_values_of_any_type_and_text_do_not_collide() -> None:
    assert segment_key(["a"], [3.0]) == segment_key(["a"], ["3"])
    assert segment_key(["a", "b"], ["x", "y"]) != segment_key(["a"], ["x, b=y"])
    assert category_key("global") != GLOBAL_KEY


def test_labels_are_for_people() -> None:
    assert segment_label(segment_key(["gender", "age"], ["F", 25])) == "gender=F, age=25"
    assert segment_label(trending_key("1d")) == "trending:1d"
