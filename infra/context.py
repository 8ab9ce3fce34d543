"""Context values of `cdk` (`-c name=value`, or `context` in cdk.json) into a Deployment.

Every value is checked, so that a wrong one fails at synth with the name of the value and what it may be; so does a
name that is misspelt. `app.py` calls it with all of the app's context; nothing here imports CDK.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from contracts.errors import DeploymentInvalid, SettingsInvalid
from infra.profiles import DEFAULT_PROFILE, FUNCTION_HOME, PROFILES, Deployment
from lambda_user_tower.settings import LambdaSettings

PREFIX_PATTERN: Final = "[a-z][a-z0-9-]{1,26}[a-z0-9]"
"""Of a domain name of OpenSearch, which has at most 28 characters and is the strictest of the names made with it."""
MAX_RETENTION_DAYS: Final = 3_650
"""Ten years; a larger figure is a typing error."""
SYNTHESIS_SETS: Final = frozenset(
    {"home", "releases_bucket", "profiles_table", "events_stream", "opensearch_url", "opensearch_region"}
    | {"log_key", "log_key_secret", "service"}
)
"""Settings of the functions that the stacks fill; a key in clear text has no place in a template."""

_CDK_OWN: Final = frozenset({"acknowledged-issue-numbers", "cli-telemetry"})
"""Names without a colon or an @ that `cdk` itself keeps in the context."""
_ORIGIN: Final = r"https://[\w.-]+(:\d+)?|http://localhost(:\d+)?"
_ISSUER: Final = r"https://[\w.-]+(/[\w./-]*)?"
_EMAIL: Final = r"[^@\s]+@[^@\s]+\.[^@\s]+"
_INSTANCE: Final = r"[a-z0-9]+\.[a-z0-9]+\.search"


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
    if not (deployment.bundle / "lambda_user_tower" / "handler.py").is_file():
        raise DeploymentInvalid(
            f"{deployment.bundle}: there is no bundle of the functions.",
            fix="Run `make build`, or name it: -c bundle=.",
        )
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


def _profile(name: str, value: Any) -> str:
    if value not in PROFILES:
        raise _wrong(name, value, f"one of {', '.join(PROFILES)}")
    return str(value)


def _path(name: str, value: Any) -> Path:
    if not isinstance(value, str) or not value:
        raise _wrong(name, value, "the folder that `make build` made")
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


_READERS: Final[dict[str, Callable[[str, Any], Any]]] = {
    "profile": _profile,
    "prefix": _matching(PREFIX_PATTERN, "3 to 28 lower-case letters, digits and hyphens, a letter first"),
    "jwt_issuer": _matching(_ISSUER, "the https address of the issuer"),
    "jwt_audience": _several(r"[^\s,]+", "the audience of the tokens"),
    "cors_origins": _several(_ORIGIN, "an origin such as https://shop.example (a page on every site is none)"),
    "retention_days": _whole_number(1, MAX_RETENTION_DAYS),
    "requests_per_second": _whole_number(1, 10_000),  # AWS's own default limit of a region
    "alarm_email": _matching(_EMAIL, "an e-mail address"),
    "search_instance": _matching(_INSTANCE, "an instance type such as r7g.large.search"),
    "bundle": _path,
    "settings": _settings,
}
