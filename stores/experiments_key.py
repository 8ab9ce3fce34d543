"""The key that envelopes are signed with: a file that only its owner reads, or a secret of AWS Secrets Manager.

It does not know what is signed (`experiments/envelope.py`). The Lambda edge reads it to check, `tandem experiments
push` and the function that fetches from GrowthBook to sign.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from contracts.errors import ExperimentsUnavailable, naming_full_disk
from stores.experiments import EXPERIMENTS_FOLDER
from stores.release_files import sync_folder

KEY_BYTES: Final = 32
"""As long as what HMAC-SHA256 makes of any longer one."""

_KEY_FILE: Final = "key"
_OWNER_ONLY: Final = 0o600
_SECRET_SECONDS: Final = 2
"""A cold start waits so long, twice."""

_FIXES: Final = {
    "ResourceNotFoundException": "Deploy the stack that has the secret, or correct TANDEM_EXPERIMENTS_KEY_SECRET.",
    "AccessDeniedException": "Allow secretsmanager:GetSecretValue on the secret to the role of the process.",
    "NoCredentialsError": "Give the process a role or credentials.",
}
_OTHER_FIX: Final = "Try again; if it lasts, look at Secrets Manager in this region and at the network between."


def local_key(home: Path, *, make: bool = False) -> bytes | None:
    """The key of a home; None where there is none, unless it is to be made: once, whoever else makes it too.

    Raises ExperimentsUnavailable where it cannot be read or made, or is not KEY_BYTES long; StorageFull.
    """
    path = home / EXPERIMENTS_FOLDER / _KEY_FILE
    try:
        if make and not path.exists():
            _make(path)
        key = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ExperimentsUnavailable(
            f"{path}: no key can be read or made there: {error.strerror}.",
            fix="Make the folder readable and writable for the process, or name another home.",
        ) from error
    if len(key) != KEY_BYTES:
        raise ExperimentsUnavailable(
            f"{path}: has {len(key)} bytes, a key has {KEY_BYTES}.", fix="Remove it and push the experiments again."
        )
    return key


def secret_key(secret_id: str, client: Any = None) -> bytes:
    """The key that a secret holds as text. `client`: of boto3 for "secretsmanager"; None makes one.

    Raises ExperimentsUnavailable where it cannot be read, or is empty.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        answer = (client or _secrets_client()).get_secret_value(SecretId=secret_id)
    except (BotoCoreError, ClientError) as error:
        response = getattr(error, "response", {})
        code = response.get("Error", {}).get("Code") or type(error).__name__
        message = f"the secret {secret_id!r} cannot be read: {error}."
        raise ExperimentsUnavailable(message, fix=_FIXES.get(code, _OTHER_FIX)) from error
    text: str = answer.get("SecretString", "")
    if not text:
        raise ExperimentsUnavailable(f"the secret {secret_id!r} holds no text.", fix="Let it be generated again.")
    return text.encode()


def _make(path: Path) -> None:
    """Write a new key beside it and give it its name, which works for one process only."""
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _OWNER_ONLY)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                return  # another process was faster: its key it is
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def _secrets_client() -> Any:
    from boto3.session import Session
    from botocore.config import Config

    patience = Config(connect_timeout=_SECRET_SECONDS, read_timeout=_SECRET_SECONDS, retries={"total_max_attempts": 2})
    return Session().client("secretsmanager", config=patience)
