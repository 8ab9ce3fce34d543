"""Settings survive the environment, and a value that makes no sense is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from contracts.errors import SettingsInvalid
from lambda_user_tower.settings import IN_AWS, LambdaSettings
from reranking.settings import RerankSettings
from retrieval.settings import RetrievalSettings


def test_settings_are_read_back_equal() -> None:
    changed = LambdaSettings(
        home=Path("/somewhere else"),
        budget_ms=90,
        pointer_check_seconds=0.5,
        live_check_seconds=2.5,
        log_level="ERROR",
        log_key="k=1",
        promoted='{"genre": ["a", "b"]}',
        promoted_share=0.2,
        retrieval=RetrievalSettings(cold_user_events=3),
        rerank=RerankSettings(diversity="mmr"),
    )
    for settings in (LambdaSettings(), changed):
        assert LambdaSettings.from_env(settings.to_env()) == settings
    assert LambdaSettings.from_env({}) == LambdaSettings()


def test_the_environment_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "TANDEM_BUDGET_MS", "77")
    assert LambdaSettings.from_env().budget_ms == 77


def test_the_stores_are_in_aws_or_none_is() -> None:
    names = {f"TANDEM_{name.upper()}": "some name" for name in IN_AWS}
    assert LambdaSettings.from_env(names).in_aws
    for missing in names:
        with pytest.raises(SettingsInvalid, match=missing):
            LambdaSettings.from_env({name: value for name, value in names.items() if name != missing})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TANDEM_BUDGET_MS", "soon"),
        ("TANDEM_BUDGET_MS", "0"),
        ("TANDEM_BUDGET_MS", "30000"),
        ("TANDEM_POINTER_CHECK_SECONDS", "-1"),
        ("TANDEM_POINTER_CHECK_SECONDS", "nan"),
        ("TANDEM_LIVE_CHECK_SECONDS", "3601"),
        ("TANDEM_LOG_LEVEL", "debug"),
        ("TANDEM_PROMOTED", "genre=drama"),
        ("TANDEM_PROMOTED", '{"genre": 5}'),
        ("TANDEM_PROMOTED_SHARE", "25%"),
        ("TANDEM_PROMOTED_SHARE", "25"),
        ("TANDEM_RETRIEVAL_COLD_USER_EVENTS", "none"),
        ("TANDEM_RERANK_DIVERSITY", "chaos"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        LambdaSettings.from_env({variable: value})
    named = variable if "_RE" not in variable else variable[: variable.index("_", 8)]
    assert named in str(caught.value)
