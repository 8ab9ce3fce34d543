"""Calls of a deployed API, signed as its IAM authoriser wants them (Signature Version 4, service execute-api).

botocore signs and sends, so proxies, certificates and short-lived credentials work as in every AWS tool. `cli/aws.py`
asks for slates and sends events with it, `status.py` asks for the health.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from contracts.errors import AwsCallFailed, TandemError
from local_mode.aws.account import Account, naming_aws_failures

SERVICE: Final = "execute-api"
"""The signature's name of API Gateway."""
TIMEOUT_SECONDS: Final = 30.0
"""API Gateway itself hangs up after 30 s."""


@dataclass(frozen=True)
class Api:
    """The API at `url`, called with the credentials of an account."""

    url: str
    account: Account

    def recommend(self, body: dict[str, Any]) -> dict[str, Any]:
        """A slate, as `POST /v1/recommendations` answers it. Raises as `call`."""
        return self.call("POST", "/v1/recommendations", body)

    def send(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        """What became of each event, as `POST /v1/events` answers it. Raises as `call`."""
        return self.call("POST", "/v1/events", {"events": events})

    def health(self) -> dict[str, Any]:
        """What serves, as `GET /v1/health` answers it. Raises as `call`."""
        return self.call("GET", "/v1/health")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The decoded answer of a call.

        Raises TandemError with the code of the problem that was answered, AwsCallFailed where the API was not reached,
        did not let the caller in, or answered what is no JSON object.
        """
        status, content = self._send(method, path, msgspec.json.encode(body) if body is not None else b"")
        try:
            answer = msgspec.json.decode(content, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise AwsCallFailed(f"{self.url}{path} answered {status} and no JSON object.") from error
        if status >= 400 and "results" not in answer:  # of events that failed each has its answer in them
            raise _refusal(f"{method} {path}", status, answer)
        return answer

    def _send(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        headers = {"content-type": "application/json"} if body else {}
        request = AWSRequest(method=method, url=f"{self.url}{path}", data=body, headers=headers)
        credentials = self.account.credentials().get_frozen_credentials()
        SigV4Auth(credentials, SERVICE, self.account.named_region()).add_auth(request)
        session = self.account.http_session(self.url, TIMEOUT_SECONDS)
        try:
            with naming_aws_failures():
                response = session.send(request.prepare())
                return response.status_code, response.content
        finally:
            session.close()


def _refusal(call: str, status: int, answer: dict[str, Any]) -> TandemError:
    """A problem of ours keeps its code; what API Gateway answers itself has only a message."""
    if "type" in answer:
        error = TandemError(f"{call}: {answer.get('detail') or answer.get('title', '')}", fix=answer.get("fix", ""))
        error.code = str(answer["type"]).rpartition(":")[2]
        return error
    said = answer.get("message") or answer.get("Message") or ""
    fix = "Allow execute-api:Invoke on this API to the principal that signs." if status in (401, 403) else ""
    return AwsCallFailed(f"{call}: {status}: {said}", fix=fix)
