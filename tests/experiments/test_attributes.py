"""What requests say of people, and what conditions may say of that."""

from __future__ import annotations

from experiments.attributes import FEATURES, NUMBERS, TEXTS, attributes_of, is_text


def test_what_is_not_known_is_left_out() -> None:
    assert attributes_of("anonymous:s1", session_id="s1") == {"id": "anonymous:s1", "session_id": "s1", "events": 0}
    assert attributes_of("anna", features={}) == {"id": "anna", "events": 0}


def test_every_attribute_can_be_targeted() -> None:
    known = attributes_of("a", user_id="a", session_id="s", country="DE", segment="x", features={"plan": "pro"})
    assert set(known) == {*TEXTS, *NUMBERS, FEATURES}
    assert all(is_text(name) for name in TEXTS)
    assert is_text("features.plan")
    assert not any(is_text(name) for name in ("events", "features", "features.", "features.a.b", "browser", ""))
