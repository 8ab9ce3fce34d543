"""What an index really holds, read back and held against its release: every id, and a sample of whole documents.

The release was verified against the hashes of its manifest when it was opened, so what equals it is what was trained.
`verify.py` calls it.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from contracts.errors import VerificationFailed
from contracts.ids import IdTable
from contracts.release import MODELS
from index_loader.documents import Documents
from index_loader.load import Progress

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

PAGE: Final = 10_000
"""Ids read at once: the most that a search gives."""
SAMPLE: Final = 1_000
"""Documents compared whole: an error in one of a hundred shows with certainty."""
_MGET: Final = 200
"""Documents fetched at once: 0.3 MB."""
_SECONDS: Final = 60
_FIX: Final = "Load the release into a new index."


def check_ids(client: OpenSearch, name: str, ids: IdTable, progress: Progress | None = None) -> str:
    """sha256 over all ids in row order, as the index holds them.

    Raises VerificationFailed, naming the first row, where one is missing, doubled or another item's.
    """
    seen, done, page = sha256(), 0, _page(client, name, -1)
    while page:
        rows = [hit["fields"]["row"][0] for hit in page]
        texts = [hit["fields"]["item_id"][0] for hit in page]
        last = min(done + len(page), len(ids))
        expected = list(zip(range(done, last), ids.texts(np.arange(done, last)), strict=True))
        found = list(zip(rows, texts, strict=True))
        if found != expected:
            raise VerificationFailed(f"{name}: {_first_difference(expected, found)}.", fix=_FIX)
        for text in texts:
            seen.update(text.encode() + b"\0")
        done = last
        if progress is not None:
            progress(done, len(ids), f"reading the ids of {name} back")
        page = _page(client, name, rows[-1])
    if done != len(ids):
        raise VerificationFailed(f"{name}: the ids end at row {done}, the release has {len(ids)}.", fix=_FIX)
    return seen.hexdigest()


def _page(client: OpenSearch, name: str, after: int) -> list[Any]:
    body = {
        "size": PAGE,
        "_source": False,
        "stored_fields": "_none_",
        "docvalue_fields": ["row", "item_id"],
        "track_total_hits": False,
        "sort": [{"row": "asc"}],
        "search_after": [after],
    }
    answer = client.search(
        index=name, body=body, params={"filter_path": "hits.hits.fields", "request_timeout": _SECONDS}
    )
    hits: list[Any] = answer.get("hits", {}).get("hits", [])
    return hits


def _first_difference(expected: list[tuple[int, str]], found: list[tuple[int, str]]) -> str:
    for right, wrong in zip(expected, found, strict=False):
        if right != wrong:
            return f"row {right[0]} is item {right[1]!r}, the index has row {wrong[0]} with item {wrong[1]!r} there"
    return f"it holds more than {expected[-1][0] + 1 if expected else 0} documents"


def check_sample(client: OpenSearch, name: str, documents: Documents, rows: np.ndarray) -> int:
    """Compare the documents of some rows, vectors and attributes; returns how many.

    Raises VerificationFailed, naming row and field, where one differs.
    """
    for begin in range(0, len(rows), _MGET):
        expected = [documents.read(row, row + 1)[0] for row in rows[begin : begin + _MGET].tolist()]
        answer = client.mget(
            index=name,
            body={"ids": [document["item_id"] for document in expected]},
            params={"request_timeout": _SECONDS},
        )
        for right, hit in zip(expected, answer["docs"], strict=True):
            wrong = _differing(right, hit.get("_source", {}))
            if wrong:
                item = f"item {right['item_id']!r} (row {right['row']})"
                raise VerificationFailed(f"{name}: {', '.join(wrong)} of {item} is not the release's.", fix=_FIX)
    return len(rows)


def _differing(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Fields that are not equal; vectors to the last bit of a float32."""
    wrong = [
        name for name in expected.keys() | found.keys() if name not in MODELS and expected.get(name) != found.get(name)
    ]
    for name in MODELS:
        ours, theirs = (np.asarray(document.get(name, []), np.float32) for document in (expected, found))
        if not np.array_equal(ours, theirs):
            wrong.append(name)
    return sorted(wrong)
