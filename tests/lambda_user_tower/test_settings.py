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
        exposures_stream="exposures",
        slates_stream="slates",
        slates_share=0.25,
        experiments_check_seconds=30.0,
        experiments_key_secret="tandem-experiments",  # noqa: S106
        experiments_packaged=Path("packaged/experiments.json"),
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


def test_in_aws_no_experiment_runs_whose_exposures_are_not_logged() -> None:
    names = {f"TANDEM_{name.upper()}": "some name" for name in IN_AWS} | {"TANDEM_EXPERIMENTS_KEY_SECRET": "secret"}
    with pytest.raises(SettingsInvalid, match="TANDEM_EXPOSURES_STREAM"):
        LambdaSettings.from_env(names)
    assert LambdaSettings.from_env(names | {"TANDEM_EXPOSURES_STREAM": "exposures"}).in_aws
    assert not LambdaSettings.from_env({"TANDEM_EXPERIMENTS_KEY_SECRET": "secret"}).in_aws


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TANDEM_BUDGET_MS", "soon"),
        ("TANDEM_BUDGET_MS", "0"),
        ("TANDEM_BUDGET_MS", "30000"),
        ("TANDEM_POINTER_CHECK_SECONDS", "-1"),
        ("TANDEM_POINTER_CHECK_SECONDS", "nan"),
        ("TANDEM_LIVE_CHECK_SECONDS", "3601"),
        ("TANDEM_EXPERIMENTS_CHECK_SECONDS", "-1"),
        ("TANDEM_SLATES_SHARE", "1.5"),
        ("TANDEM_SLATES_SHARE", "nan"),
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
