"""One way to reach a search engine: `opensearch-py` over urllib3, connections kept, requests signed where AWS wants it.

Importing the client takes most of a second, so nothing here does before `connect` is called: a process that searches
its own vectors never pays for it. Retries are the caller's business, for only it knows its deadline. Serving and the
index loader call it.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from contracts.errors import SettingsInvalid

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

AWS_SERVICE: Final = "es"
"""The signature's name of managed OpenSearch domains."""

LOADER_SECONDS: Final = 120.0
"""A bulk request of a thousand documents, on a machine that merges beside it."""


def loader_client(url: str, *, region: str | None = None, credentials: Any = None) -> OpenSearch:
    """A client for bulk work: patient, and gzip only where bodies cross a network. The rest as in `connect`.

    On the loopback gzip took nine tenths of the loader's CPU and 40 % of the time of a load; over a network it makes a
    body of a thousand documents half as long.
    """
    far = not _on_this_machine(url)
    return connect(url, region=region, credentials=credentials, timeout_seconds=LOADER_SECONDS, compress=far)


def _on_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def connect(
    url: str,
    *,
    region: str | None = None,
    credentials: Any = None,
    timeout_seconds: float = 10.0,
    pool: int = 10,
    compress: bool = False,
) -> OpenSearch:
    """A client of the engine at `url`; nothing is sent yet.

    `region` makes it sign every request, with `credentials` of botocore or those of the process; `compress` sends
    bodies as gzip, for bulk work. Raises SettingsInvalid where a region is given and there are no credentials.
    """
    from opensearchpy import OpenSearch, Urllib3HttpConnection

    signing: dict[str, Any] = {} if region is None else {"http_auth": _signer(region, credentials)}
    return OpenSearch(
        hosts=[url],
        connection_class=Urllib3HttpConnection,
        pool_maxsize=pool,
        timeout=timeout_seconds,
        http_compress=compress,
        max_retries=0,
        retry_on_timeout=False,
        **signing,
    )


def _signer(region: str, credentials: Any) -> Any:
    from botocore.session import Session  # part of the Lambda runtime
    from opensearchpy import Urllib3AWSV4SignerAuth

    credentials = credentials or Session().get_credentials()
    if credentials is None:
        raise SettingsInvalid(
            "requests to the search engine must be signed, and there are no AWS credentials.",
            fix="Give the process a role, or leave the region of the search engine empty.",
        )
    return Urllib3AWSV4SignerAuth(credentials, region, AWS_SERVICE)
