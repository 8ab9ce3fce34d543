"""An AWS account as the environment or a named profile gives access to it, and AWS's failures by our names.

Credentials, region and endpoints are boto3's business (profiles, SSO, roles, AWS_ENDPOINT_URL); nothing here reads or
prints a secret. Every file of this package gets its clients here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from contracts.errors import AwsCallFailed, ExtraMissing, TandemError

DENIED: Final = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized")
"""How the services call a missing permission."""
_EXPIRED: Final = ("ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException")
_SIGN_IN: Final = "`aws configure`, `aws sso login`, or --profile of ~/.aws/config."


class Account:
    """Clients of one account in one region."""

    def __init__(self, profile: str | None = None, region: str | None = None) -> None:
        """`profile` and `region` as in ~/.aws/config; None: what the environment says.

        Raises ExtraMissing without boto3, AwsCallFailed for a profile that does not exist.
        """
        try:
            import boto3
            import botocore.session
        except ModuleNotFoundError as error:
            raise ExtraMissing(
                "`tandem aws` needs boto3, which is not installed.", fix="pip install 'tandem-recommender[aws]'"
            ) from error
        with naming_aws_failures():
            self._core = botocore.session.Session(profile=profile)
            self._core.get_scoped_config()  # a profile that does not exist is said now
            self._session = boto3.Session(botocore_session=self._core, region_name=region)
        self._clients: dict[str, Any] = {}

    @property
    def session(self) -> Any:
        """The session of boto3, for a library that makes its clients itself."""
        return self._session

    @property
    def region(self) -> str | None:
        """The region; None where nothing names one."""
        name: str | None = self._session.region_name
        return name

    def named_region(self) -> str:
        """The region. Raises AwsCallFailed where nothing names one."""
        if self.region is None:
            raise AwsCallFailed("no AWS region is set.", fix="Give --region, or set AWS_REGION.")
        return self.region

    def client(self, service: str) -> Any:
        """A client of a service, made once. Raises AwsCallFailed where no region is set."""
        if service not in self._clients:
            self._clients[service] = self._session.client(service, region_name=self.named_region())
        return self._clients[service]

    def credentials(self) -> Any:
        """What requests are signed with; for signing only. Raises AwsCallFailed where there are none."""
        with naming_aws_failures():
            found = self._session.get_credentials()
        if found is None:
            raise AwsCallFailed("there are no AWS credentials.", fix=_SIGN_IN)
        return found

    def http_session(self, url: str, timeout_seconds: float) -> Any:
        """Plain HTTP to `url` by the proxies and the certificates that the clients use, too; to be closed."""
        from botocore.httpsession import URLLib3Session
        from botocore.utils import get_environ_proxies

        certificates = self._core.get_config_variable("ca_bundle") or True
        return URLLib3Session(verify=certificates, proxies=get_environ_proxies(url), timeout=timeout_seconds)

    def close(self) -> None:
        """Close the connections of every client."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()


@contextmanager
def naming_aws_failures() -> Iterator[None]:
    """Turn what botocore raises into AwsCallFailed, saying which call it was and what would mend it."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError:  # the caller says so itself
        yield
        return
    try:
        yield
    except ClientError as error:
        raise refused(error) from error
    except BotoCoreError as error:
        raise unreached(error) from error


def error_code(error: Any) -> str:
    """The code in a ClientError."""
    return str(error.response.get("Error", {}).get("Code", ""))


def refused(error: Any) -> TandemError:
    """A ClientError by our name: the operation and the code of its refusal; the service's own words are kept."""
    code, operation = error_code(error), error.operation_name
    said = error.response.get("Error", {}).get("Message", "")
    if code in DENIED:
        fix = f"Allow the action of {operation} to this principal, or use --profile of another one."
    else:
        fix = f"Sign in again: {_SIGN_IN}" if code in _EXPIRED else ""
    return AwsCallFailed(f"{operation}: {code}: {said}", fix=fix)


def unreached(error: Any) -> TandemError:
    """A BotoCoreError by our name."""
    from botocore.exceptions import (
        NoCredentialsError,
        PartialCredentialsError,
        ProfileNotFound,
        SSOError,
        TokenRetrievalError,
    )

    sign_in = (NoCredentialsError, PartialCredentialsError, ProfileNotFound, SSOError, TokenRetrievalError)
    fix = f"Sign in: {_SIGN_IN}" if isinstance(error, sign_in) else "See whether this machine reaches the region."
    return AwsCallFailed(str(error), fix=fix)
