"""Settings survive the environment and name what makes no sense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.treatment import OF_RERANK, Treatment
from reranking.settings import DIVERSITIES, RerankSettings

shares = st.floats(0, 1)


@given(
    st.builds(
        RerankSettings, st.sampled_from(DIVERSITIES), shares, shares, shares, st.floats(1e-3, 1e6), st.integers(0, 100)
    )
)
def test_the_environment_holds_them(settings):
    assert RerankSettings.from_env(settings.to_env()) == settings


def test_an_empty_environment_gives_the_defaults():
    assert RerankSettings.from_env({}) == RerankSettings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("diversity", "magic"),
        ("category_penalty", "1.5"),
        ("mmr_relevance", "nan"),
        ("recency_weight", "-1"),
        ("recency_half_life_days", "0"),
        ("category_cap", "-1"),
    ],
)
def test_nonsense_is_named(name, value):
    with pytest.raises(ValueError, match=name):
        RerankSettings.from_env({"TANDEM_RERANK_" + name.upper(): value})


def test_a_variant_changes_what_it_names():
    changes = {
        "diversity": "mmr",
        "category_penalty": 0.3,
        "mmr_relevance": 0.0,
        "recency_weight": 0.0,
        "recency_half_life_days": 2.0,
        "category_cap": 4,
    }
    assert set(changes) == set(OF_RERANK) == set(RerankSettings().__dataclass_fields__)
    assert RerankSettings().treated(Treatment(model="als", **changes)) == RerankSettings(**changes)
    settings = RerankSettings(category_cap=2)
    assert settings.treated(Treatment()) is settings
    assert settings.treated(Treatment(recency_weight=0.0)) == RerankSettings(category_cap=2, recency_weight=0.0)
