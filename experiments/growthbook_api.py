"""The payload as GrowthBook hands it out: one GET of its SDK endpoint, checked and reduced.

The client key is in the address, so no message carries the address. Called by the function that fetches on a schedule,
never on a request of somebody who is served.
"""

from __future__ import annotations

import re
from typing import Any, Final

from contracts.errors import ExperimentsUnavailable, PayloadInvalid, SettingsInvalid
from experiments.payload import MAX_SOURCE_BYTES, Payload, read_payload

CONNECT_SECONDS: Final = 3.0
READ_SECONDS: Final = 10.0
"""Of silence: the endpoint is a cache in front of a file."""
TRIES: Final = 2
"""After the first, for what passes: no connection, too many requests, a server that restarts. Within 45 s all told."""

_PASSING: Final = (429, 500, 502, 503, 504)
_CLIENT_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


def fetch_payload(host: str, client_key: str, *, wait_seconds: float = 2.0) -> Payload:
    """The payload of an SDK connection.

    `host`: such as https://cdn.growthbook.io. `wait_seconds`: before the last try; the second one follows the first at
    once. Raises ExperimentsUnavailable where the API does not answer with a payload, PayloadInvalid, SettingsInvalid.
    """
    host, client_key = host.strip().rstrip("/"), client_key.strip()
    if not re.match("https?://", host):
        raise SettingsInvalid(
            "The host of GrowthBook has no scheme.", fix="Give https://cdn.growthbook.io or your own."
        )
    if not _CLIENT_KEY.fullmatch(client_key):
        raise SettingsInvalid("The client key is no client key.", fix="Copy it from the SDK connection: sdk-….")
    return read_payload(_body(host, f"{host}/api/features/{client_key}", wait_seconds))


def _body(host: str, url: str, wait_seconds: float) -> bytes:
    """At most MAX_SOURCE_BYTES, unpacked."""
    from urllib3 import PoolManager, Retry, Timeout
    from urllib3.exceptions import HTTPError

    retries = Retry(
        TRIES,
        backoff_factor=wait_seconds / 2,  # urllib3 doubles it before it waits for the first time
        status_forcelist=_PASSING,
        raise_on_status=False,
        respect_retry_after_header=False,  # a server may ask for hours there
    )
    timeout = Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    try:
        with PoolManager(retries=retries, timeout=timeout) as pool:
            headers = {"Accept": "application/json"}
            answer = pool.request("GET", url, preload_content=False, redirect=False, headers=headers)
            try:
                return _read(host, answer)
            finally:
                answer.close()
    except HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise ExperimentsUnavailable(
            f"GrowthBook at {host} does not answer: {type(reason).__name__}.",
            fix="Look at the host, and whether the function's network lets it out; what served before goes on.",
        ) from None  # the error has the address in it


def _read(host: str, answer: Any) -> bytes:
    if answer.status != 200:
        raise ExperimentsUnavailable(
            f"GrowthBook at {host} answers {answer.status}.",
            fix="Look whether the SDK connection of this client key is there; what served before goes on.",
        )
    data = b""
    while len(data) <= MAX_SOURCE_BYTES:
        chunk: bytes = answer.read(1 << 20)
        if not chunk:
            return data
        data += chunk
    raise PayloadInvalid(
        f"GrowthBook at {host} answers with more than {MAX_SOURCE_BYTES} bytes.",
        fix="Limit the SDK connection to the project that has the experiments.",
    )
