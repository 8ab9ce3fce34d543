"""The third step: from what was loaded to an index that no longer changes: few segments, no deletions, write-blocked.

A segment is a graph of its own and is kept at a size that searches get through (`SEGMENT_ITEMS`); small ones are
merged. Nothing is deleted while loading, so filters stay cheap and every copy answers alike. A merge takes minutes at
a million vectors, and a copy minutes to arrive, which outlives any client's patience: `start_merge` begins, `advance`
is asked until it is done, by `finalise` in a loop, by a night's functions once a call. Each may be called again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from contracts.errors import IndexLoadFailed
from contracts.index_document import segments_of
from index_loader.load import Progress

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

POLL_SECONDS: Final = 1.0
GREEN_SECONDS: Final = 600
"""A copy of a million documents is half a gigabyte over the network; `finalise` waits no longer for it."""
LEEWAY: Final = 2
"""Segments above the wanted number that are let pass, as a factor: merges stop at a size, not at a count."""


class Stage(StrEnum):
    """How far an index is after its load."""

    MERGING = "merging"
    COPYING = "copying"
    """To the nodes that hold a copy."""
    FINAL = "final"


@dataclass(frozen=True)
class Segments:
    """What an index consists of."""

    most: int
    """Searchable segments of the shard that has most."""
    documents: int
    deleted: int
    bytes: int


def start_merge(client: OpenSearch, name: str) -> str:
    """Make everything loaded visible and start merging its small segments; returns the task to poll."""
    client.indices.refresh(index=name)
    state = segments(client, name)
    wanted = segments_of(state.documents)
    # else one bin takes all the small ones and becomes the large graph that is not wanted
    size = f"{max(1, state.bytes // wanted)}b"
    client.indices.put_settings(index=name, body={"index": {"merge.policy.max_merged_segment": size}})
    task = client.indices.forcemerge(index=name, params={"max_num_segments": wanted, "wait_for_completion": "false"})
    return str(task["task"])


def merge_done(client: OpenSearch, task: str) -> bool | None:
    """Whether a merge has ended; None where nobody knows it any more, for its node has restarted.

    Raises IndexLoadFailed where it ended badly.
    """
    from opensearchpy.exceptions import NotFoundError

    try:
        state: dict[str, Any] = client.tasks.get(task_id=task)
    except NotFoundError:
        return None
    failures = state.get("response", {}).get("_shards", {}).get("failures") or state.get("error")
    if failures:
        raise IndexLoadFailed(f"the merge failed: {failures}.", fix="Load into a new index.")
    return bool(state["completed"])


def advance(client: OpenSearch, name: str, task: str, replicas: int | None = None) -> Stage:
    """Go on after `start_merge`, whose `task` this is, as far as possible without waiting.

    `replicas`: copies beside the first; None: one, where the engine has a second node to put it on, then and later.
    Raises IndexLoadFailed where far too many segments are left, or somebody has deleted documents.
    """
    if is_final(client, name):
        return Stage.FINAL
    done = merge_done(client, task)
    if done is False or (done is None and _merges(client, name)):
        return Stage.MERGING
    client.indices.refresh(index=name)
    state = segments(client, name)
    if state.most > LEEWAY * segments_of(state.documents):
        if done is None:
            start_merge(client, name)
            return Stage.MERGING
        raise IndexLoadFailed(f"{name}: {state.most} segments are left after the merge.", fix="Finalise it again.")
    if state.deleted:
        raise IndexLoadFailed(f"{name}: {state.deleted} documents were deleted.", fix="Load into a new index.")
    return _copy_and_block(client, name, replicas)


def _merges(client: OpenSearch, name: str) -> bool:
    """Whether a merge of an index runs, whoever has started it."""
    running = client.tasks.list(params={"actions": "indices:admin/forcemerge", "detailed": "true"})
    tasks = [task for node in running["nodes"].values() for task in node["tasks"].values()]
    return any(name in task["description"] for task in tasks)


def _copy_and_block(client: OpenSearch, name: str, replicas: int | None) -> Stage:
    copies = {"auto_expand_replicas": "0-1"} if replicas is None else {"number_of_replicas": replicas}
    settings = {**copies, "refresh_interval": "1h", "translog.durability": "request"}
    client.indices.put_settings(index=name, body={"index": settings})
    if client.cluster.health(index=name)["status"] != "green":
        return Stage.COPYING
    client.indices.put_settings(index=name, body={"index": {"blocks.write": True}})
    return Stage.FINAL


def finalise(client: OpenSearch, name: str, *, replicas: int | None = None, progress: Progress | None = None) -> None:
    """Refresh, merge, copy, and block writes. An index that is final already is left alone. Raises as `advance`."""
    if is_final(client, name):
        return
    begun = copying = time.monotonic()
    task = start_merge(client, name)
    while (stage := advance(client, name, task, replicas)) is not Stage.FINAL:
        now = time.monotonic()
        copying = copying if stage is Stage.COPYING else now
        if now - copying > GREEN_SECONDS:
            raise IndexLoadFailed(
                f"{name}: a copy has not arrived after {GREEN_SECONDS} s.", fix="Look at the health of the engine."
            )
        if progress is not None:
            progress(int(now - begun), 0, f"{stage} {name}")
        time.sleep(POLL_SECONDS)


def is_final(client: OpenSearch, name: str) -> bool:
    """Whether writes are blocked, which is done last."""
    settings = client.indices.get_settings(index=name, params={"flat_settings": "true"})[name]["settings"]
    return bool(settings.get("index.blocks.write") == "true")


def segments(client: OpenSearch, name: str) -> Segments:
    """What an index consists of now."""
    copies = client.indices.segments(index=name)["indices"][name]["shards"].values()
    primaries = [copy for shard in copies for copy in shard if copy["routing"]["primary"]]
    shards = [[segment for segment in copy["segments"].values() if segment["search"]] for copy in primaries]
    flat = [segment for shard in shards for segment in shard]
    return Segments(
        most=max(map(len, shards), default=0),
        documents=sum(segment["num_docs"] for segment in flat),
        deleted=sum(segment["deleted_docs"] for segment in flat),
        bytes=sum(segment["size_in_bytes"] for segment in flat),
    )
