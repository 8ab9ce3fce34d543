"""One way to reach a search engine: `opensearch-py` over urllib3, connections kept, requests signed where AWS wants it.

Importing the client takes most of a second, so nothing here does before `connect` is called: a process that searches
its own vectors never pays for it. Retries are the caller's business, for only it knows its deadline. Serving and the
index loader call it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contracts.errors import SettingsInvalid

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

AWS_SERVICE = "es"
"""The signature's name of managed OpenSearch domains."""


def connect(
    url: str, *, region: str | None = None, timeout_seconds: float = 10.0, pool: int = 10, compress: bool = False
) -> OpenSearch:
    """A client of the engine at `url`; nothing is sent yet.

    `region` makes it sign every request with the process's AWS credentials; `compress` sends bodies as gzip, for bulk
    work. Raises SettingsInvalid where a region is given and there are no credentials.
    """
    from opensearchpy import OpenSearch, Urllib3HttpConnection

    signing: dict[str, Any] = {} if region is None else {"http_auth": _signer(region)}
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


def _signer(region: str) -> Any:
    from botocore.session import Session  # part of the Lambda runtime
    from opensearchpy import Urllib3AWSV4SignerAuth

    credentials = Session().get_credentials()
    if credentials is None:
        raise SettingsInvalid(
            "requests to the search engine must be signed, and there are no AWS credentials.",
            fix="Give the process a role, or leave the region of the search engine empty.",
        )
    return Urllib3AWSV4SignerAuth(credentials, region, AWS_SERVICE)
