"""The third step: from what was loaded to an index that no longer changes: one segment, write-blocked.

A force merge of a million vectors takes minutes and outlives any client's patience, so it runs as a task that is
polled. One segment without deletions makes filters cheap and every copy answer alike.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from contracts.errors import IndexLoadFailed
from index_loader.load import Progress

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

POLL_SECONDS: Final = 1.0
GREEN_SECONDS: Final = 600
"""A copy of a million documents is half a gigabyte over the network."""


def start_merge(client: OpenSearch, name: str) -> str:
    """Make everything loaded visible and start merging it into one segment; returns the task to poll."""
    client.indices.refresh(index=name)
    task = client.indices.forcemerge(index=name, params={"max_num_segments": 1, "wait_for_completion": "false"})
    return str(task["task"])


def merge_done(client: OpenSearch, task: str) -> bool:
    """Whether a merge has ended. Raises IndexLoadFailed where it ended badly."""
    state: dict[str, Any] = client.tasks.get(task_id=task)
    failures = state.get("response", {}).get("_shards", {}).get("failures") or state.get("error")
    if failures:
        raise IndexLoadFailed(f"the merge failed: {failures}.", fix="Load into a new index.")
    return bool(state["completed"])


def finalise(client: OpenSearch, name: str, *, replicas: int = 0, progress: Progress | None = None) -> None:
    """Refresh, merge to one segment, copy, and block writes. An index that is final already is left alone.

    Raises IndexLoadFailed where it does not end in one segment a shard.
    """
    if is_final(client, name):
        return
    task = start_merge(client, name)
    begun = time.monotonic()
    while not merge_done(client, task):
        if progress is not None:
            progress(int(time.monotonic() - begun), 0, f"merging {name}")
        time.sleep(POLL_SECONDS)
    client.indices.refresh(index=name)
    if (segments := most_segments(client, name)) != 1:
        raise IndexLoadFailed(f"{name}: {segments} segments are left after the merge.", fix="Finalise it again.")
    settings = {"number_of_replicas": replicas, "refresh_interval": "1h", "translog.durability": "request"}
    client.indices.put_settings(index=name, body={"index": settings})
    if replicas:
        patience = {"wait_for_status": "green", "timeout": f"{GREEN_SECONDS}s", "request_timeout": GREEN_SECONDS + 10}
        client.cluster.health(index=name, params=patience)
    client.indices.put_settings(index=name, body={"index": {"blocks.write": True}})


def is_final(client: OpenSearch, name: str) -> bool:
    """Whether writes are blocked, which is done last."""
    settings = client.indices.get_settings(index=name, params={"flat_settings": "true"})[name]["settings"]
    return bool(settings.get("index.blocks.write") == "true")


def most_segments(client: OpenSearch, name: str) -> int:
    """Searchable segments of the shard that has most."""
    shards = client.indices.segments(index=name)["indices"][name]["shards"]
    copies = [copy for copies in shards.values() for copy in copies]
    return max((sum(s["search"] for s in copy["segments"].values()) for copy in copies), default=0)
