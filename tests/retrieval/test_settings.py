"""Settings survive the environment and name what makes no sense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.treatment import OF_RETRIEVAL, Treatment
from retrieval.settings import SERVED_MODELS, RetrievalSettings

sizes = st.integers(1, 10_000)
shares = st.floats(0, 1)


@given(
    st.builds(RetrievalSettings, st.sampled_from(SERVED_MODELS), *[sizes] * 6, shares, sizes, st.floats(0, 1e4), shares)
)
def test_the_environment_holds_them(settings):
    assert RetrievalSettings.from_env(settings.to_env()) == settings


def test_an_empty_environment_gives_the_defaults():
    assert RetrievalSettings.from_env({}) == RetrievalSettings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("served_model", "magic"),
        ("cold_user_events", "0"),
        ("tower_events", "0"),
        ("cold_item_events", "-3"),
        ("pool_per_place", "0"),
        ("min_pool", "0"),
        ("max_fetch", "0"),
        ("recent_items", "0"),
        ("cold_quota", "1.5"),
        ("index_share", "nan"),
        ("new_days", "-1"),
    ],
)
def test_nonsense_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        RetrievalSettings.from_env({"TANDEM_RETRIEVAL_" + name.upper(): value})


def test_the_pool_grows_with_the_slate():
    assert [RetrievalSettings().pool(places) for places in (1, 10, 100)] == [100, 100, 1_000]


def test_a_variant_changes_what_it_names():
    treatment = Treatment(
        model="als", cold_user_events=9, session_weight=4.0, exploration_share=0.5, diversity="mmr", num_items=3
    )
    treated = RetrievalSettings(min_pool=7).treated(treatment)
    expected = RetrievalSettings("als", 9, min_pool=7, session_weight=4.0, exploration_share=0.5)
    assert treated == expected
    settings = RetrievalSettings()
    assert settings.treated(Treatment()) is settings
    assert set(OF_RETRIEVAL) <= set(settings.__dataclass_fields__)
