"""Going on after a kill, and removing what nothing can come back to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contracts.errors import IndexUnavailable
from index_loader.finalise import finalise
from index_loader.indexes import own_indexes
from index_loader.load import load
from index_loader.prepare import prepare
from index_loader.publish import Loaded, publish, rollback
from index_loader.run import newest_index, publish_or_load_again, run
from index_loader.sweep import sweep
from stores.fresh_items import SqliteFreshItems
from stores.releases import LocalReleases
from tests.index_loader.worlds import seal
from tests.toy_world import toy_model


def put(store: LocalReleases, client: Any, seed: int) -> tuple[str, str]:
    """A release of a seed, published from an index of its own; both names."""
    release = seal(store, toy_model(seed=seed))
    loaded = run(store, client, release)
    publish(store, release, None, store.etag(), loaded=loaded)
    return release, loaded.name


def names(client: Any, *releases: str) -> list[str]:
    return [index.name for index in own_indexes(client) if index.release in releases]


def test_a_killed_run_is_gone_on_with(store: LocalReleases, client: Any, release: str) -> None:
    begun = prepare(store, client, release)
    load(store, client, release, begun, part=0, parts=3)
    loaded = run(store, client, release)
    assert loaded.name == begun
    assert run(store, client, release).name == begun  # final: nothing is left to do
    assert publish(store, release, None, None, loaded=loaded).publication.index == begun
    fresh = run(store, client, release, fresh=True)
    assert fresh.name == newest_index(store, client, release) == begun.removesuffix("1") + "2"


def test_an_index_that_is_not_good_enough_is_loaded_once_again(store: LocalReleases, client: Any, release: str) -> None:
    name = prepare(store, client, release)
    load(store, client, release, name, part=0, parts=2)
    finalise(client, name)  # final, and half of it is missing: a run finds it and takes it for whole
    half = run(store, client, release)
    assert half.name == name
    current = publish_or_load_again(store, release, None, None, half)
    assert current.publication.index == name.removesuffix("1") + "2"
    assert current.publication.verification["count"] == 200


def test_what_serves_and_what_a_rollback_needs_stays(
    store: LocalReleases, client: Any, items: SqliteFreshItems
) -> None:
    published = [put(store, client, seed) for seed in range(4)]
    releases = [release for release, _ in published]
    orphan = prepare(store, client, releases[-1])
    coming = prepare(store, client, later := seal(store, toy_model(seed=9)))
    found = sweep(store, client, keep=2, young_seconds=0)
    assert set(found.doomed) & set(names(client, *releases, later)) == {published[0][1], orphan}
    assert orphan in names(client, *releases)  # named, not removed
    assert "serves from it" in found.kept[published[1][1]]
    assert "newer than every published" in found.kept[coming] or later < max(releases)
    sweep(store, client, keep=2, young_seconds=0, delete=True)
    left = names(client, *releases)
    assert [name for _, name in published[1:]] == [name for name in left if name != coming]
    assert rollback(store, None, items, client).publication.index == published[2][1]
    assert rollback(store, None, items, client).publication.index == published[1][1]
    with pytest.raises(IndexUnavailable):  # swept
        rollback(store, None, items, client)
    assert store.serving().publication.index == published[1][1]


def test_young_indexes_and_those_of_others_stay(store: LocalReleases, client: Any, tmp_path: Path) -> None:
    release, _ = put(store, client, 0)
    young = prepare(store, client, release)
    swept = sweep(store, client, delete=True)
    assert young in names(client, release)
    assert "minutes old" in swept.kept[young]
    elsewhere = LocalReleases(tmp_path / "elsewhere")
    seal(elsewhere, toy_model(seed=3))
    publish(elsewhere, elsewhere.ids()[0], None, None)
    assert "not of this store" in sweep(elsewhere, client, delete=True, young_seconds=0).kept[young]


def test_the_pointer_is_read_again_before_every_deletion(store: LocalReleases, client: Any) -> None:
    release, name = put(store, client, 0)
    second = run(store, client, release, fresh=True)
    third = prepare(store, client, release)
    deleted: list[str] = []

    class Watched:
        """Publishes the second index while the sweep is under way."""

        def __getattr__(self, attribute: str) -> Any:
            return getattr(client, attribute)

    class Indices:
        def get(self, **arguments: Any) -> Any:
            described = client.indices.get(**arguments)
            etag = store.serving().etag
            publish(store, release, None, etag, loaded=Loaded(client, second.name))
            return described

        def delete(self, index: str, **arguments: Any) -> None:
            deleted.append(index)

    watched = Watched()
    watched.indices = Indices()  # type: ignore[attr-defined]
    sweep(store, watched, delete=True, young_seconds=0)  # type: ignore[arg-type]
    assert third in deleted
    assert not {name, second.name} & set(deleted)
