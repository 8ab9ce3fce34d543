"""The second step: one numbered part of a release into its index, in parallel, with patience and an end to it.

Documents are created under their item ids, and what is there already stays, so a part that is loaded twice, or after a
crash, leaves the same index and no deletions in it.
Only as many chunks exist as are in flight: memory does not grow with the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Final

import msgspec

from contracts.errors import IndexLoadFailed
from contracts.index_document import SEGMENT_ITEMS, IndexMeta
from contracts.release import Manifest
from index_loader.documents import Chunk, Documents
from stores.releases import Releases

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

Progress = Callable[[int, int, str], None]

BUSY: Final = (429, 502, 503, 504)
"""Answers that mean "later"."""
THERE_ALREADY: Final = 409
"""A document of that id exists: of this very release, for the index is its own."""
ATTEMPTS: Final = 8
FIRST_WAIT_SECONDS: Final = 0.5
LONGEST_WAIT_SECONDS: Final = 30.0
REASONS_SHOWN: Final = 20


class _Later(Exception):
    """Some documents were not taken yet."""


def load(
    store: Releases,
    client: OpenSearch,
    release: str,
    name: str,
    *,
    part: int = 0,
    parts: int = 1,
    threads: int = 2,
    progress: Progress | None = None,
) -> int:
    """Load rows part·n/parts … (part+1)·n/parts of a release into the index `name`; returns how many.

    Raises IndexLoadFailed where the index is of another release, where a document is refused, or where the engine
    stays busy for longer than the retries last.
    """
    manifest, model = store.manifest(release), store.open(release)
    check_owner(client, name, manifest)
    n = len(model.items)
    first, last = part * n // parts, (part + 1) * n // parts
    done = flushed = 0
    for loaded in _in_parallel(client, name, Documents(model).chunks(first, last), threads):
        done += loaded
        if done - flushed >= SEGMENT_ITEMS * threads:  # the engine writes a segment for each request in flight
            client.indices.refresh(index=name)
            flushed = done
        if progress is not None:
            progress(done, last - first, f"loading {name}, part {part + 1} of {parts}")
    return done


def check_owner(client: OpenSearch, name: str, manifest: Manifest) -> IndexMeta:
    """The `_meta` of an index. Raises IndexLoadFailed where it is not there or not of the release."""
    from opensearchpy.exceptions import NotFoundError

    try:
        described = client.indices.get_mapping(index=name)[name]["mappings"]
        meta = msgspec.convert(described["_meta"], IndexMeta)
    except NotFoundError as error:
        raise IndexLoadFailed(f"{name}: there is no such index.", fix="Prepare one first.") from error
    except (KeyError, msgspec.ValidationError) as error:
        raise IndexLoadFailed(f"{name}: it is none of ours: {error}.", fix="Prepare an index of its own.") from error
    if wrong := meta.differs_from(manifest):
        raise IndexLoadFailed(f"{name}: it is not of {manifest.id}: {wrong}.", fix="Prepare an index of its own.")
    return meta


def _in_parallel(client: OpenSearch, name: str, chunks: Iterator[Chunk], threads: int) -> Iterator[int]:
    """Send chunks, two for each thread in flight; the first failure ends it."""
    with ThreadPoolExecutor(threads) as pool:
        flying: set[Future[int]] = set()
        try:
            for chunk in chunks:
                flying.add(pool.submit(send, client, name, chunk))
                if len(flying) >= 2 * threads:
                    done, flying = wait(flying, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            yield from (future.result() for future in flying)
        finally:
            for future in flying:
                future.cancel()


def send(client: OpenSearch, name: str, chunk: Chunk) -> int:
    """Index a chunk, and again what was not taken; returns how many documents. Raises IndexLoadFailed."""
    from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    left = list(range(len(chunk.lines)))
    waits = wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS)
    again = Retrying(retry=retry_if_exception_type(_Later), stop=stop_after_attempt(ATTEMPTS), wait=waits)
    try:
        for attempt in again:
            with attempt:
                left[:] = _not_taken(client, name, chunk, left)
                if left:
                    raise _Later
    except RetryError as error:
        raise IndexLoadFailed(
            f"{name}: {len(left)} documents, the first of row {chunk.rows[left[0]]}, were not taken in {ATTEMPTS} "
            "attempts.",
            fix="The engine is too busy: load with fewer threads, or when it is quiet.",
        ) from error
    return len(chunk.lines)


def _not_taken(client: OpenSearch, name: str, chunk: Chunk, places: list[int]) -> list[int]:
    """Places of the documents that the engine wants to see later. Raises IndexLoadFailed for those it refuses."""
    from opensearchpy.exceptions import ConnectionError as NoAnswer
    from opensearchpy.exceptions import TransportError

    try:
        answer = client.bulk(
            index=name, body=chunk.body(places), params={"filter_path": "errors,items.*.status,items.*.error"}
        )
    except NoAnswer:
        return places  # ids make it safe to send again what may have arrived
    except TransportError as error:
        if error.status_code in BUSY:
            return places
        raise IndexLoadFailed(f"{name}: the bulk request was refused: {error.status_code} {error.error}.") from error
    if not answer["errors"]:
        return []
    results = [item["create"] for item in answer["items"]]
    refused = [
        f"row {chunk.rows[place]}: {_reason(result['error'])}"
        for place, result in zip(places, results, strict=True)
        if "error" in result and result["status"] not in (*BUSY, THERE_ALREADY)
    ]
    if refused:
        shown = "; ".join(refused[:REASONS_SHOWN])
        raise IndexLoadFailed(f"{name}: {len(refused)} documents were refused: {shown}.")
    return [place for place, result in zip(places, results, strict=True) if result["status"] in BUSY]


def _reason(error: dict[str, Any]) -> str:
    """What an engine says of a document, down to the cause."""
    cause = error.get("caused_by", {}).get("reason")
    return f"{error.get('reason')} ({cause})" if cause else str(error.get("reason"))
