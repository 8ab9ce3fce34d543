"""The steps that fill an index and make it serve, on a real engine: again, anew, and where they must not."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

import contracts.index_document
import index_loader.prepare
import index_loader.sweep
from contracts.errors import (
    IndexLoadFailed,
    IndexUnavailable,
    NightIncomplete,
    RequestInvalid,
    ServerUnavailable,
    VerificationFailed,
)
from contracts.night import LoadedIndex, SealedRelease, Step
from contracts.release import Verdict
from index_loader.finalise import Stage, advance, is_final, segments, start_merge
from index_loader.indexes import own_indexes
from tests.index_loader.night_world import NightWorld
from tests.toy_world import toy_model


def sealed_night(world: NightWorld, seed: int = 0) -> str:
    """A night whose release is let through; returns it."""
    world.begin()
    world.leave_snapshot()
    release = str(world.call("seal", model=world.leave_model(toy_model(seed=seed)))["release"])
    world.leave_gate(Verdict.PASS)
    return release


def merge(world: NightWorld) -> None:
    task = world.call("merge")["task"]
    while not world.call("merged", task=task)["done"]:
        pass


def load_all(world: NightWorld, **more: Any) -> str:
    """Prepare, the parts and the merge; returns the index."""
    prepared = world.call("prepare", **more)
    for part in prepared["parts"]:
        world.call("load", part=part)
    merge(world)
    return str(prepared["index"])


def indexes_of(client: Any, release: str) -> list[str]:
    return [index.name for index in own_indexes(client) if index.release == release]


def test_a_night_loads_verifies_and_publishes_every_step_twice(
    indexed_world: NightWorld, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = indexed_world
    release = sealed_night(world)
    assert world.call("seal") == {"release": release, "indexed": True}
    for _ in range(2):
        world.begin_process()
        prepared = world.call("prepare")
        assert prepared == {"index": f"items-{release.lower()}-r1", "parts": [0, 1, 2]}
    for part in (2, 0, 1, 1):
        world.begin_process()
        assert world.call("load", part=part)["loaded"] in (66, 67)
    with pytest.raises(RequestInvalid, match="parts 0 to 2"):
        world.call("load", part=3)
    with pytest.raises(VerificationFailed, match="not finalised"):
        world.call("verify")
    tasks = [world.call("merge")["task"] for _ in range(2)]
    for task in (*tasks, *tasks):
        while not world.call("merged", task=task)["done"]:
            pass
    assert world.call("merge") == {"task": "", "done": True}
    assert world.call("merged", task="") == {"task": "", "done": True}
    assert world.call("prepare") == {"index": prepared["index"], "parts": []}
    for _ in range(2):
        world.begin_process()
        assert world.call("verify") == {"verified": True}
        told = world.call("publish")
    publication = world.releases.serving().publication
    assert told == {"publication": publication.id}
    assert (publication.index, publication.night) == (prepared["index"], world.night)
    assert publication.ef_search == publication.verification["ef_search"]
    assert len(world.releases.publications()) == 1
    index_loader.prepare.prepare(world.releases, client, release)  # what a crash would leave
    assert world.call("sweep")["indexes"] == 0, "it may be loading"
    tomorrow = time.time() + 86_400
    monkeypatch.setattr(index_loader.sweep, "time", SimpleNamespace(time=lambda: tomorrow))
    assert [world.call("sweep")["indexes"] for _ in range(2)] == [1, 0]
    assert world.call("finish", outcome="published")["release"] == release
    assert indexes_of(client, release) == [prepared["index"]]


def test_an_index_that_lacks_documents_is_built_anew_once_and_the_bad_one_goes(
    indexed_world: NightWorld, client: Any
) -> None:
    world = indexed_world
    release = sealed_night(world)
    bad = world.call("prepare")["index"]
    world.call("load", part=0)
    merge(world)
    with pytest.raises(VerificationFailed, match=r"6[67] documents"):
        world.call("verify")
    fresh = [world.call("prepare", fresh=True) for _ in range(2)]  # killed after it was created, it is gone on with
    assert fresh[0] == fresh[1] == {"index": f"items-{release.lower()}-r2", "parts": [0, 1, 2]}
    assert indexes_of(client, release) == [fresh[0]["index"]]
    assert not client.indices.exists(index=bad)
    load_all(world, fresh=True)
    world.call("verify")
    world.call("publish")
    assert world.releases.serving().publication.index == fresh[0]["index"]


def test_a_fresh_index_never_takes_the_place_of_one_that_serves(indexed_world: NightWorld, client: Any) -> None:
    world = indexed_world
    release = sealed_night(world)
    serving = load_all(world)
    for step in ("verify", "publish"):
        world.call(step)
    other = load_all(world, fresh=True)
    assert indexes_of(client, release) == [serving, other]
    failed = world.fail(failed="Verify", error={"Error": "VerificationFailed", "Cause": "{}"})
    assert f"The index {other}, which was not published, is removed." in failed["message"]
    assert "It had published already" in failed["message"]
    assert f"--from index --night {world.night}" in failed["message"]
    assert indexes_of(client, release) == [serving]
    assert world.nights.find(world.night, LoadedIndex) is None
    with pytest.raises(NightIncomplete, match="index is missing, which index writes"):
        world.begin(begin=Step.VERIFY)


def test_a_failed_night_leaves_no_index_and_never_takes_a_published_one(indexed_world: NightWorld, client: Any) -> None:
    world = indexed_world
    release = sealed_night(world)
    name = load_all(world)
    world.call("verify")
    world.call("publish")
    error = {"Error": "States.TaskFailed", "Cause": json.dumps({"ProcessingJobName": "x-backfill-00000000"})}
    assert "removed" not in world.fail(failed="Backfill", error=error)["message"]
    assert indexes_of(client, release) == [name]
    second = sealed_night(world, seed=1)
    begun = world.call("prepare")["index"]
    world.call("load", part=0)
    for _ in range(2):
        message = world.fail(failed="Load", error={"Error": "IndexLoadFailed", "Cause": "{}"})["message"]
    assert f"--from index --night {world.night}" in message
    assert indexes_of(client, second) == []
    assert not client.indices.exists(index=begun)
    assert world.releases.serving().publication.index == name


def test_a_domain_that_does_not_answer_is_named_and_hides_no_reason(indexed_world: NightWorld) -> None:
    world = indexed_world
    sealed_night(world)
    world.call("prepare")
    world.begin_process(opensearch_url="http://127.0.0.1:1")
    for step, more in {"prepare": {}, "load": {"part": 0}, "merge": {}, "merged": {"task": "x:1"}}.items():
        with pytest.raises((IndexUnavailable, IndexLoadFailed), match=r"ConnectionError|not taken|does not do"):
            world.call(step, **more)
    told = world.fail(failed="Load", error={"Error": "IndexLoadFailed", "Cause": '{"errorType":"IndexLoadFailed"}'})
    assert told["code"] == "index-load-failed"
    assert "Besides, removing the unpublished index failed" in told["message"]
    lease = world.nights.lease()
    assert lease is not None
    assert lease.released
    world.begin_process(opensearch_url="")
    world.begin(begin=Step.GATE)
    with pytest.raises(ServerUnavailable, match="no search domain"):
        world.call("prepare")


def test_a_small_catalogue_has_no_business_in_the_domain(indexed_world: NightWorld) -> None:
    world = indexed_world
    world.begin_process(engine_above=200)
    sealed_night(world)
    assert world.nights.read(world.night, SealedRelease).indexed is False
    with pytest.raises(IndexLoadFailed, match="searched without the domain"):
        world.call("prepare")
    world.call("verify")
    world.call("publish")
    assert world.releases.serving().publication.index is None


def test_a_merge_that_nobody_knows_any_more_is_begun_again(
    indexed_world: NightWorld, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = indexed_world
    sealed_night(world)
    monkeypatch.setattr(contracts.index_document, "SEGMENT_ITEMS", 1_000)
    name = world.call("prepare")["index"]
    for part in range(3):
        world.call("load", part=part)
        client.indices.refresh(index=name)
    assert segments(client, name).most > 2
    task = "a-node-that-is-gone:1"
    assert world.call("merged", task=task) == {"task": task, "done": False}
    while not world.call("merged", task=task)["done"]:
        pass
    assert segments(client, name).most == 1


def test_an_index_waits_for_its_copy(indexed_world: NightWorld, client: Any) -> None:
    world = indexed_world
    sealed_night(world)
    name = world.call("prepare")["index"]
    world.call("load", part=0)
    task = start_merge(client, name)
    while (stage := advance(client, name, task, replicas=1)) is Stage.MERGING:
        pass
    assert stage is Stage.COPYING, "one node has no place for a copy"
    assert not is_final(client, name)
    assert advance(client, name, task) is Stage.FINAL
    described = client.indices.get_settings(index=name, params={"flat_settings": "true"})[name]["settings"]
    assert described["index.auto_expand_replicas"] == "0-1"
    assert described["index.number_of_replicas"] == "0"


def test_an_index_that_was_removed_behind_our_back_is_not_published(indexed_world: NightWorld, client: Any) -> None:
    world = indexed_world
    sealed_night(world)
    name = load_all(world)
    world.call("verify")
    client.indices.delete(index=name)
    with pytest.raises(IndexUnavailable, match=name):
        world.call("publish")
    assert world.releases.current() is None
