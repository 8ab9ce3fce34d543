"""The scheduled function that brings experiments from GrowthBook to where the edge looks for them.

It fetches the payload, checks and reduces it, refuses what would move people between arms, and publishes it in a signed
envelope: where it changed, and once a day where it did not, so that it does not become too old. Whatever stands in the
way raises a named error, which the alarm on the function's errors reports; what served before goes on, for a week. To
publish a change that moves people, invoke it with `{"force": true}`. AWS calls it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from contracts.environment import from_variables, to_variables
from contracts.errors import SettingsInvalid
from experiments.growthbook_api import fetch_payload
from experiments.publishing import following
from stores.experiments import S3Experiments
from stores.experiments_key import secret_key

_PREFIX: Final = "TANDEM_"


@dataclass(frozen=True)
class FetchSettings:
    """What the function can be told."""

    releases_bucket: str = ""
    """S3 bucket whose `experiments/current.json` the edge reads."""
    experiments_key_secret: str = ""
    """Secrets Manager id of the key that envelopes are signed with."""
    growthbook_host: str = "https://cdn.growthbook.io"
    """Or that of a GrowthBook of your own, or of its proxy."""
    growthbook_client_key_secret: str = ""
    """Secrets Manager id whose text is the client key of an SDK connection, unencrypted."""

    def __post_init__(self) -> None:
        if missing := [variable for variable, value in self.to_env().items() if not value]:
            raise SettingsInvalid(f"{', '.join(missing)} is not set.", fix="Deploy with the stack of this repository.")

    @classmethod
    def from_env(cls, environment: Mapping[str, str] | None = None) -> FetchSettings:
        """Read the variables. Raises SettingsInvalid, naming one that is not set."""
        return from_variables(cls, _PREFIX, os.environ if environment is None else environment)

    def to_env(self) -> dict[str, str]:
        """The variables that `from_env` reads back equal."""
        return to_variables(self, _PREFIX)


def handler(event: Mapping[str, Any], _: object = None) -> dict[str, Any]:
    """Publish what GrowthBook says; returns sequence, whether it was written now, and the experiments.

    Raises SettingsInvalid, ExperimentsUnavailable, PayloadInvalid, EnvelopeRefused; nothing is written then.
    """
    settings = FetchSettings.from_env()
    payload = fetch_payload(settings.growthbook_host, secret_key(settings.growthbook_client_key_secret).decode())
    store = S3Experiments(settings.releases_bucket)
    kept = store.read()
    envelope = following(
        None if kept is None else kept.data,
        payload,
        secret_key(settings.experiments_key_secret),
        int(time.time()),
        force=event.get("force") is True,
    )
    if envelope.data is not None:
        store.write(envelope.data, None if kept is None else kept.etag)
    return {
        "sequence": envelope.sequence,
        "published": envelope.data is not None,
        "experiments": list(payload.experiments),
    }
