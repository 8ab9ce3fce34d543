"""Settings of a training as SageMaker carries them: strings that are typed in one place."""

from __future__ import annotations

import json

import pytest

from contracts.errors import SettingsInvalid
from training_job.settings import Effort, TrainingSettings

CHOSEN = TrainingSettings(Effort.BEST, 7, True, "cpu", 3, 1.5, 9, "temperature=0.1,hidden=128")


def _by_the_toolkit(hyperparameters):
    """What sagemaker-training 5.1.4 makes of them: JSON where they parse as such, in one variable and in one each."""
    values = {}
    for name, text in hyperparameters.items():
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    each = {
        f"SM_HP_{name.upper()}": text if isinstance(text, str) else json.dumps(text) for name, text in values.items()
    }
    return {"SM_HPS": json.dumps(values)} | each


@pytest.mark.parametrize("settings", [CHOSEN, TrainingSettings()])
def test_settings_survive_every_way_that_they_are_carried(settings):
    carried = settings.to_hyperparameters()
    assert all(isinstance(value, str) for value in carried.values())
    assert TrainingSettings.from_hyperparameters(carried) == settings
    assert TrainingSettings.from_env(_by_the_toolkit(carried)) == settings
    assert TrainingSettings.from_env(settings.to_env()) == settings


def test_what_is_the_toolkits_is_left_alone():
    given = {"sagemaker_program": "train.py", "sagemaker_submit_directory": "s3://code/x", "sagemaker_job_name": "n"}
    assert TrainingSettings.from_hyperparameters(given) == TrainingSettings()


def test_an_unknown_one_is_refused_with_those_there_are():
    with pytest.raises(SettingsInvalid) as error:
        TrainingSettings.from_hyperparameters({"learning_rate": "0.1", "efort": "best", "seed": "1"})
    assert "there is no efort, learning_rate" in error.value.message
    assert "effort, seed, deterministic, device, threads, checkpoint_seconds, head_items" in error.value.fix


@pytest.mark.parametrize(
    "given",
    [
        {"seed": "-1"},
        {"seed": "many"},
        {"threads": "-2"},
        {"checkpoint_seconds": "-0.5"},
        {"checkpoint_seconds": "nan"},
        {"head_items": "0"},
        {"device": "tpu"},
        {"effort": "heroic"},
        {"deterministic": "perhaps"},
        {"tuned": "temperature=9"},
        {"tuned": "temperature"},
        {"tuned": "learning_rate=0.1"},
    ],
)
def test_a_value_that_makes_no_sense_is_named(given):
    with pytest.raises(SettingsInvalid, match=next(iter(given))):
        TrainingSettings.from_hyperparameters(given)


@pytest.mark.parametrize("value", ["[1]", '{"seed": "many"}', "{"])
def test_hyperparameters_that_are_none_are_refused(value):
    with pytest.raises(SettingsInvalid):
        TrainingSettings.from_env({"SM_HPS": value})
