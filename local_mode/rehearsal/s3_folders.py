"""Prefixes of S3 as folders of a container: what SageMaker does before and after one, with the role of the job.

`sagemaker.py` and `processing.py` call it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def place(uri: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` URI."""
    parts = urlsplit(uri)
    return parts.netloc, parts.path.lstrip("/")


def bring_down(uri: str, folder: Path, s3: Any) -> int:
    """Every object whose key begins with the URI's goes below `folder`; how many there were.

    A prefix is no folder: `…/n1` takes `…/n1.json` and `…/n10/…` too, named from the last slash on.
    """
    bucket, prefix = place(uri)
    folder.mkdir(parents=True, exist_ok=True)
    found = 0
    for key in _keys(bucket, prefix, s3):
        path = folder / _name_below(key, prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, key, str(path))
        found += 1
    return found


def send_up(folder: Path, uri: str, s3: Any) -> None:
    """Every file below `folder`, under its own name below the URI."""
    bucket, prefix = place(uri)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        s3.upload_file(str(path), bucket, f"{prefix.rstrip('/')}/{path.relative_to(folder).as_posix()}")


def _keys(bucket: str, prefix: str, s3: Any) -> Iterator[str]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        yield from (entry["Key"] for entry in page.get("Contents", ()) if not entry["Key"].endswith("/"))


def _name_below(key: str, prefix: str) -> str:
    if prefix.endswith("/") or key.startswith(f"{prefix}/"):
        return key.removeprefix(prefix).lstrip("/")
    return key[prefix.rfind("/") + 1 :]
