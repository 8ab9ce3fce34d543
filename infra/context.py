"""Context values of `cdk` (`-c name=value`, or `context` in cdk.json) into a Deployment.

Every value is checked, so that a wrong one fails at synth with the name of the value and what it may be; so does a
name that is misspelt. `app.py` calls it with all of the app's context; nothing here imports CDK.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final
from zoneinfo import available_timezones

from contracts.errors import DeploymentInvalid, SettingsInvalid
from infra.profiles import DEFAULT_PROFILE, FUNCTION_HOME, PROFILES, Deployment, NightSize
from lambda_user_tower.settings import LambdaSettings
from training_job.settings import Effort
from training_job.tuned import RecipeChanges

PREFIX_PATTERN: Final = "[a-z][a-z0-9-]{1,26}[a-z0-9]"
"""Of a domain name of OpenSearch, which has at most 28 characters and is the strictest of the names made with it."""
MAX_RETENTION_DAYS: Final = 3_650
"""Ten years; a larger figure is a typing error."""
MAX_HISTORY_DAYS: Final = 36_500
MAX_INSTANCES: Final = 20
"""Machines of one training; what SageMaker gives an account at most unless it asks."""
SYNTHESIS_SETS: Final = frozenset(
    {"home", "releases_bucket", "profiles_table", "live_table", "events_stream", "opensearch_url", "opensearch_region"}
    | {"log_key", "log_key_secret", "service", "exposures_stream", "slates_stream", "experiments_key_secret"}
)
"""Settings of the functions that the stacks fill; a key in clear text has no place in a template."""

_CDK_OWN: Final = frozenset({"acknowledged-issue-numbers", "cli-telemetry"})
"""Names without a colon or an @ that `cdk` itself keeps in the context."""
_ORIGIN: Final = r"https://[\w.-]+(:\d+)?|http://localhost(:\d+)?"
_ISSUER: Final = r"https://[\w.-]+(/[\w./-]*)?"
_EMAIL: Final = r"[^@\s]+@[^@\s]+\.[^@\s]+"
_SECRET: Final = r"arn:[a-z-]+:secretsmanager:[a-z0-9-]+:\d{12}:secret:[\w/+=.@-]+-\w{6}|[\w/+=.@-]{1,256}"
"""An ARN with the six characters that AWS adds to the name, or the name without them."""
_INSTANCE: Final = r"[a-z0-9]+\.[a-z0-9]+\.search"
_CPU_INSTANCE: Final = r"ml\.[cmrt]\d[a-z0-9-]*\.[a-z0-9]+"
_TRAINING_INSTANCE: Final = r"ml\.[cmrtgp]\d[a-z0-9-]*\.[a-z0-9]+"
"""What PyTorch of the default images knows: CPUs and GPUs of NVIDIA."""
_CRON: Final = r"cron\((?:[\dA-Z*?,/#-]+ ){5}[\dA-Z*?,/#-]+\)"
_IMAGE: Final = r"\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?/[\w./-]+(?::[\w.-]+|@sha256:[0-9a-f]{64})"
_DATASET: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"


def read_deployment(context: Mapping[str, Any]) -> Deployment:
    """The profile that the context names, with its other values in place. Raises DeploymentInvalid."""
    given = {name: value for name, value in context.items() if not (":" in name or "@" in name or name in _CDK_OWN)}
    if unknown := sorted(given.keys() - _READERS.keys()):
        raise DeploymentInvalid(
            f"-c {unknown[0]}: there is no such context value.", fix=f"There are {', '.join(_READERS)}."
        )
    values = {name: _READERS[name](name, value) for name, value in given.items()}
    profile = values.pop("profile", DEFAULT_PROFILE)
    deployment = PROFILES[profile](values.pop("prefix", f"tandem-{profile}"))
    deployment = _with_instance(deployment, values.pop("search_instance", ""))
    of_night = {each.name for each in fields(NightSize)} & values.keys()
    values["night"] = replace(deployment.night, **{name: values.pop(name) for name in of_night})
    return _consistent(replace(deployment, **values))


def _with_instance(deployment: Deployment, instance: str) -> Deployment:
    if not instance:
        return deployment
    if deployment.search is None:
        raise _wrong("search_instance", instance, "nothing with profile mini, which has no search domain")
    return replace(deployment, search=replace(deployment.search, instance=instance))


def _consistent(deployment: Deployment) -> Deployment:
    if bool(deployment.jwt_issuer) != bool(deployment.jwt_audience):
        missing = "jwt_audience" if deployment.jwt_issuer else "jwt_issuer"
        raise DeploymentInvalid(
            f"-c {missing} is missing: a token is checked for its issuer and its audience.", fix="Give both or none."
        )
    if deployment.growthbook_host and not deployment.growthbook_client_key_secret:
        raise DeploymentInvalid(
            "-c growthbook_client_key_secret is missing: nothing is fetched from -c growthbook_host without a key.",
            fix="Give both or none.",
        )
    night = deployment.night
    for name, path, sign, what in (
        ("bundle", deployment.bundle, "lambda_user_tower/handler.py", "bundle of the functions"),
        ("night_bundle", night.night_bundle, "index_loader/night/handler.py", "bundle of the functions of a night"),
        ("jobs", night.jobs, "", "archive of the jobs of a night"),
    ):
        if not (path / sign if sign else path).is_file():
            raise DeploymentInvalid(f"{path}: there is no {what}.", fix=f"Run `make build`, or name it: -c {name}=.")
    return deployment


def _wrong(name: str, value: object, expected: str) -> DeploymentInvalid:
    return DeploymentInvalid(f"-c {name} is {value!r}.", fix=f"Give {expected}.")


def _matching(pattern: str, expected: str) -> Callable[[str, Any], str]:
    def read(name: str, value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise _wrong(name, value, expected)
        return value

    return read


def _several(pattern: str, expected: str) -> Callable[[str, Any], tuple[str, ...]]:
    """A comma-separated string, or a list in cdk.json."""
    read_one = _matching(pattern, f"{expected}, or several separated by commas")

    def read(name: str, value: Any) -> tuple[str, ...]:
        parts = value if isinstance(value, list) else str(value).split(",")
        return tuple(read_one(name, part) for part in parts)

    return read


def _whole_number(least: int, most: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        if not re.fullmatch(r"\d{1,9}", str(value)) or not least <= int(value) <= most:
            raise _wrong(name, value, f"a whole number, {least} to {most}")
        return int(value)

    return read


def _yes_or_no(name: str, value: Any) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise _wrong(name, value, "true or false")
    return str(value).lower() == "true"


def _schedule(name: str, value: Any) -> str:
    """EventBridge takes an expression at deploy only, and says little about one that it does not take."""
    expected = "a cron expression of EventBridge, such as cron(0 3 * * ? *)"
    text = _matching(_CRON, expected)(name, value)
    _, _, day, _, weekday, _ = text[len("cron(") : -1].split(" ")
    if (day == "?") == (weekday == "?"):
        raise _wrong(name, value, f"{expected}: one of day and weekday is `?`")
    return text


def _time_zone(name: str, value: Any) -> str:
    known = available_timezones()  # empty where this machine has no time zone database
    if not isinstance(value, str) or not value or (known and value not in known):
        raise _wrong(name, value, "a time zone such as Europe/Berlin")
    return value


def _profile(name: str, value: Any) -> str:
    if value not in PROFILES:
        raise _wrong(name, value, f"one of {', '.join(PROFILES)}")
    return str(value)


def _path(name: str, value: Any) -> Path:
    if not isinstance(value, str) or not value:
        raise _wrong(name, value, "what `make build` made")
    return Path(value)


def _settings(name: str, value: Any) -> LambdaSettings:
    """JSON of TANDEM_ variables: what a team tunes without touching code."""
    expected = 'JSON such as {"TANDEM_RERANK_DIVERSITY": "mmr"}'
    try:
        variables = json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError as error:
        raise _wrong(name, value, expected) from error
    if not isinstance(variables, dict):
        raise _wrong(name, value, expected)
    fixed = {f"TANDEM_{setting.upper()}" for setting in SYNTHESIS_SETS}
    if unknown := sorted(variables.keys() - (LambdaSettings().to_env().keys() - fixed)):
        raise DeploymentInvalid(f"-c {name}: {unknown[0]} is no setting to give here.", fix="See docs/deploy.md.")
    try:
        return replace(LambdaSettings.from_env({key: str(text) for key, text in variables.items()}), home=FUNCTION_HOME)
    except SettingsInvalid as error:
        raise DeploymentInvalid(f"-c {name}: {error.message}", fix=error.fix) from error


def _tuned(name: str, value: Any) -> str:
    """What `tandem tune` prints; the data are not known here, so an entry of another kind of data fails in the job."""
    try:
        return RecipeChanges.of_text(str(value)).text
    except SettingsInvalid as error:
        raise DeploymentInvalid(f"-c {name}: {error.message}", fix=error.fix) from error


_READERS: Final[dict[str, Callable[[str, Any], Any]]] = {
    "profile": _profile,
    "prefix": _matching(PREFIX_PATTERN, "3 to 28 lower-case letters, digits and hyphens, a letter first"),
    "jwt_issuer": _matching(_ISSUER, "the https address of the issuer"),
    "jwt_audience": _several(r"[^\s,]+", "the audience of the tokens"),
    "cors_origins": _several(_ORIGIN, "an origin such as https://shop.example (a page on every site is none)"),
    "retention_days": _whole_number(1, MAX_RETENTION_DAYS),
    "requests_per_second": _whole_number(1, 10_000),  # AWS's own default limit of a region
    "alarm_email": _matching(_EMAIL, "an e-mail address"),
    "growthbook_client_key_secret": _matching(_SECRET, "the name or the whole ARN of a secret"),
    "growthbook_host": _matching(_ORIGIN, "an origin such as https://growthbook.shop.example"),
    "search_instance": _matching(_INSTANCE, "an instance type such as r7g.large.search"),
    "bundle": _path,
    "settings": _settings,
    "night_enabled": _yes_or_no,
    "night_schedule": _schedule,
    "time_zone": _time_zone,
    "dataset": _matching(_DATASET, "the name of a dataset (`tandem aws seed --name`)"),
    "history_days": _whole_number(0, MAX_HISTORY_DAYS),
    "few_events_percent": _whole_number(0, 100),
    "engine_above": _whole_number(1, 100_000_000),
    "effort": _matching("|".join(Effort), f"one of {', '.join(Effort)}"),
    "tuned": _tuned,
    "training_instance": _matching(_TRAINING_INSTANCE, "an instance type such as ml.m5.xlarge or ml.g5.xlarge"),
    "training_instances": _whole_number(1, MAX_INSTANCES),
    "training_image": _matching(_IMAGE, "the address of an image in ECR, with its tag"),
    "processing_instance": _matching(_CPU_INSTANCE, "an instance type such as ml.m5.xlarge"),
    "processing_image": _matching(_IMAGE, "the address of an image in ECR, with its tag"),
    "spot": _yes_or_no,
    "capacity_tries": _whole_number(1, 50),
    "capacity_wait_seconds": _whole_number(1, 7_200),
    "poll_seconds": _whole_number(1, 600),
    "night_bundle": _path,
    "jobs": _path,
}
