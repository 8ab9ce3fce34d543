"""What only releases in a bucket can do and suffer: uploads, lost answers, refusals, the cache of what is opened."""

from __future__ import annotations

import errno
import shutil
import threading
from base64 import b64decode
from collections import namedtuple
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import URLLib3Session
from botocore.retries.standard import ExponentialBackoff

from contracts.errors import (
    NothingPublished,
    PointerConflict,
    ReleaseCorrupt,
    ReleaseNotFound,
    StorageFull,
    StoreUnavailable,
)
from contracts.release import FileEntry, Publication
from stores import s3_releases
from stores.fresh_items import SqliteFreshItems
from stores.release_cache import KEEP_RELEASES, ReleaseCache
from stores.release_files import describe_bundle
from stores.releases import LocalReleases
from stores.s3_bucket import MAX_TRIES, Bucket, ObjectMoved
from stores.s3_releases import S3Releases
from tests.stores.release_places import BucketPlace, publication, sealed_at, trained
from tests.stores.test_s3_bucket import refuse_to_read
from tests.toy_world import toy_model

CATALOGUE_READS = ("manifest.json", "vocabulary.json", "items.safetensors")


@pytest.fixture
def place(bucket_place: BucketPlace) -> BucketPlace:
    return bucket_place


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)


class Crash(BaseException):
    """As if the process had ended there."""


def test_every_file_goes_up_with_its_hash_and_the_manifest_last(place: BucketPlace) -> None:
    manifest = place.store.seal(trained(place.home))
    puts = place.asked("PutObject")
    assert puts[-1] == "manifest.json"
    assert sorted(puts[:-1]) == sorted(manifest.files)
    for name, entry in manifest.files.items():
        key = f"{place.prefix}/releases/{manifest.id}/{name}"
        kept = place.client.head_object(Bucket=place.bucket, Key=key, ChecksumMode="ENABLED")
        assert _hex(kept["ChecksumSHA256"]) == entry.sha256
        assert kept["ContentLength"] == entry.bytes


def _hex(checksum: str) -> str:
    return b64decode(checksum).hex()


def test_a_folder_that_is_sealed_again_is_the_same_release_and_sends_nothing(place: BucketPlace) -> None:
    folder = trained(place.home)
    first = place.store.seal(folder)
    place.sent.clear()
    assert place.store.seal(folder) == first
    assert {sent.operation for sent in place.sent} == {"GetObject"}
    assert place.store.ids() == [first.id]


def test_a_folder_that_was_changed_after_it_was_sealed_is_refused(place: BucketPlace) -> None:
    folder = trained(place.home)
    place.store.seal(folder)
    data = bytearray((folder / "tower.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "tower.safetensors").write_bytes(data)
    with pytest.raises(ReleaseCorrupt, match="tower"):
        place.store.seal(folder)


def test_an_id_of_another_release_is_not_overwritten(place: BucketPlace) -> None:
    there = place.store.seal(trained(place.home, 1))
    folder = trained(place.home, 2)
    named = msgspec.structs.replace(describe_bundle(folder), id=there.id)
    (folder / "manifest.json").write_bytes(msgspec.json.encode(named))
    with pytest.raises(ReleaseCorrupt, match=there.id):
        place.store.seal(folder)
    assert place.store.manifest(there.id) == there


@pytest.mark.parametrize("last", ["items.safetensors", "manifest.json"])
def test_a_crash_while_uploading_leaves_no_release_and_is_gone_on_with(place: BucketPlace, last: str) -> None:
    def crash(request: Any, **_: Any) -> None:
        if request.url.endswith(last):
            raise Crash

    folder = trained(place.home)
    place.when("before-send.s3.PutObject", crash)
    with pytest.raises(Crash):
        place.store.seal(folder)
    place.let_go()
    after = place.begin()
    assert after.ids() == []
    begun = msgspec.json.decode((folder / "manifest.json").read_bytes())["id"]
    with pytest.raises(ReleaseNotFound):
        after.open(begun)
    assert after.seal(folder).id == begun
    np.testing.assert_array_equal(after.open(begun).items.two_tower, toy_model().items.two_tower)


def test_a_refused_upload_is_named_and_leaves_no_release(place: BucketPlace) -> None:
    deny(place, "s3:PutObject")
    with pytest.raises(StoreUnavailable, match=rf"s3://{place.bucket}/shop/a/releases/.*PutObject"):
        place.store.seal(trained(place.home))
    assert place.store.ids() == []


def deny(place: BucketPlace, action: str) -> None:
    resource = f"arn:aws:s3:::{place.bucket}/*"
    statement = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": resource}
    policy = msgspec.json.encode({"Version": "2012-10-17", "Statement": [statement]}).decode()
    place.client.put_bucket_policy(Bucket=place.bucket, Policy=policy)


def test_a_manifest_whose_answer_got_lost_is_written(place: BucketPlace) -> None:
    ended = lose_answers(place, "manifest.json", lost=1)
    manifest = place.store.seal(trained(place.home))
    assert len(ended) == 1
    assert place.begin().manifest(manifest.id) == manifest


def test_a_sealed_release_is_copied_from_a_folder_under_its_own_id(place: BucketPlace) -> None:
    local = LocalReleases(place.home / "laptop")
    manifest = local.seal(trained(place.home / "laptop"))
    assert place.store.copy_in(local, manifest.id) == manifest
    assert place.store.ids() == [manifest.id]
    assert place.store.manifest(manifest.id) == manifest
    np.testing.assert_array_equal(
        place.begin().open(manifest.id).items.als, local.open(manifest.id).items.als, strict=True
    )
    place.sent.clear()
    place.store.copy_in(local, manifest.id)
    assert place.asked("PutObject") == []


def test_a_damaged_release_is_not_copied(place: BucketPlace) -> None:
    local = LocalReleases(place.home / "laptop")
    release = local.seal(trained(place.home / "laptop")).id
    path = local.folder(release) / "als.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ReleaseCorrupt, match="als"):
        place.store.copy_in(local, release)
    with pytest.raises(ReleaseNotFound):
        place.store.copy_in(local, "r20260101T000000-00000000")
    assert place.keys("") == []


def test_prefixes_of_one_bucket_know_nothing_of_each_other(place: BucketPlace) -> None:
    manifest = place.store.seal(trained(place.home))
    place.store.publish(publication(place.store, manifest.id), None)
    for prefix in ("shop", "shop/b", ""):
        other = S3Releases(place.bucket, place.home / "cache-other", prefix, place.client)
        assert (other.ids(), other.publications(), other.current()) == ([], [], None)
    same = S3Releases(place.bucket, place.home / "cache-other", "/shop/a/", place.client)
    assert same.ids() == [manifest.id]
    assert same.place == f"s3://{place.bucket}/shop/a"


def lose_answers(place: BucketPlace, name: str, lost: int, arrives: int = 1) -> list[str]:
    """Let so many writes of an object end without an answer; the first `arrives` of them get through.

    Returns where those that end so are noted.
    """
    ended: list[str] = []
    line = URLLib3Session()

    def lose(request: Any, **_: Any) -> None:
        if not request.url.endswith(name) or len(ended) == lost:
            return
        ended.append(request.url)
        if len(ended) <= arrives:
            assert line.send(request).status_code == 200
            line.close()
        raise ConnectionClosedError(endpoint_url=request.url)

    place.when("before-send.s3.PutObject", lose)
    return ended


@pytest.fixture
def published(place: BucketPlace) -> tuple[str, Publication]:
    """Something serves; its etag, and the publication that is to follow."""
    release = place.store.seal(trained(place.home)).id
    etag = place.store.publish(publication(place.store, release), None).etag
    following = publication(place.store, release)
    place.sent.clear()
    return etag, following


@pytest.mark.parametrize("lost", [1, MAX_TRIES])
def test_a_pointer_whose_answer_got_lost_has_moved(
    place: BucketPlace, published: tuple[str, Publication], lost: int
) -> None:
    etag, following = published
    ended = lose_answers(place, "current.json", lost)
    moved = place.store.publish(following, etag)
    assert moved.publication == following
    assert place.begin().current() == moved
    assert len(ended) == lost


def test_the_first_pointer_may_lose_its_answer_too(place: BucketPlace) -> None:
    release = place.store.seal(trained(place.home)).id
    ended = lose_answers(place, "current.json", lost=1)
    first = place.store.publish(publication(place.store, release), None)
    assert len(ended) == 1
    assert place.begin().current() == first


def test_a_publication_whose_answer_got_lost_is_published(
    place: BucketPlace, published: tuple[str, Publication]
) -> None:
    etag, following = published
    ended = lose_answers(place, f"{following.id}.json", lost=1)
    assert place.store.publish(following, etag) == place.begin().current()
    assert len(ended) == 1


def test_a_pointer_that_never_arrived_has_not_moved(place: BucketPlace, published: tuple[str, Publication]) -> None:
    etag, following = published
    ended = lose_answers(place, "current.json", lost=MAX_TRIES, arrives=0)
    with pytest.raises(StoreUnavailable, match=r"current\.json: PutObject fails with ConnectionClosedError"):
        place.store.publish(following, etag)
    assert len(ended) == MAX_TRIES
    assert place.begin().etag() == etag


def test_a_pointer_that_vanished_between_reading_and_writing_is_a_conflict(
    place: BucketPlace, published: tuple[str, Publication]
) -> None:
    etag, following = published
    between(place, "current.json", lambda: place.remove("current.json"))
    with pytest.raises(PointerConflict):
        place.store.publish(following, etag)
    assert place.begin().current() is None


def test_somebody_else_between_reading_and_writing_is_a_conflict(
    place: BucketPlace, published: tuple[str, Publication]
) -> None:
    """Even one who publishes the very same publication in the very same second."""
    etag, following = published
    other = place.begin()
    between(place, "current.json", lambda: other.publish(following, etag))
    with pytest.raises(PointerConflict):
        place.store.publish(following, etag)
    assert place.begin().serving().publication == following


def between(place: BucketPlace, name: str, act: Callable[[], object]) -> None:
    """Do something just before an object is written for the first time."""
    done = False

    def once(request: Any, **_: Any) -> None:
        nonlocal done
        if request.url.endswith(name) and not done:
            done = True
            act()

    place.when("before-send.s3.PutObject", once)


def test_a_write_under_way_elsewhere_is_named(
    place: BucketPlace, published: tuple[str, Publication], monkeypatch: pytest.MonkeyPatch
) -> None:
    def conflict(self: Bucket, key: str, data: bytes) -> None:
        raise ObjectMoved(key)  # 409: S3 does not say yet what will be there

    etag, following = published
    monkeypatch.setattr(Bucket, "create", conflict)
    with pytest.raises(StoreUnavailable, match=r"manifest\.json: is being written"):
        place.store.seal(trained(place.home, seed=1))
    with pytest.raises(NothingPublished, match=following.id):  # a pointer to it would lead nowhere
        place.store.publish(following, etag)
    assert place.store.etag() == etag


def test_older_pointers_can_be_looked_up(place: BucketPlace, published: tuple[str, Publication]) -> None:
    etag, following = published
    older = place.read("current.json")
    place.store.publish(following, etag)
    versions = place.client.list_object_versions(Bucket=place.bucket, Prefix=f"{place.prefix}/current.json")["Versions"]
    assert [version["IsLatest"] for version in versions] == [True, False]
    kept = place.client.get_object(Bucket=place.bucket, Key=versions[1]["Key"], VersionId=versions[1]["VersionId"])
    assert kept["Body"].read() == older


def test_looking_at_a_pointer_that_stays_is_one_read(place: BucketPlace, published: tuple[str, Publication]) -> None:
    etag, following = published
    reader = place.begin()
    before = reader.current()
    place.sent.clear()
    assert reader.current() is before
    assert place.asked("GetObject") == ["current.json"]
    place.store.publish(following, etag)
    place.sent.clear()
    assert reader.serving().publication == following
    assert place.asked("GetObject") == ["current.json", f"{following.id}.json"]


def test_a_refused_pointer_is_named(place: BucketPlace, published: tuple[str, Publication]) -> None:
    deny(place, "s3:GetObject")
    with pytest.raises(StoreUnavailable, match=rf"s3://{place.bucket}/shop/a/current\.json: GetObject fails with 403"):
        place.begin().current()


def test_a_file_of_another_size_than_the_manifest_says_is_refused_unread(
    place: BucketPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = place.store.seal(trained(place.home))
    key = f"releases/{manifest.id}/tower.safetensors"
    place.write(key, place.read(key) + b"\0" * (20 << 20))
    store = place.begin()
    document = place.store.manifest(manifest.id)
    monkeypatch.setattr(store, "manifest", lambda _: document)
    refuse_to_read(monkeypatch)
    only = {"tower.safetensors": document.files["tower.safetensors"]}
    with pytest.raises(ReleaseCorrupt, match=r"tower\.safetensors: has \d+ bytes, expected \d+\."):
        store._verified(manifest.id, only)
    assert list(place.cache.glob("releases/*/*")) == []


@pytest.mark.parametrize("key", ["current.json", "publications/p1.json", "releases/r1/manifest.json"])
def test_a_document_that_is_too_large_is_refused_unread(
    place: BucketPlace, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    place.write(key, b" " * (s3_releases.MAX_DOCUMENT_BYTES + 1))
    refuse_to_read(monkeypatch)
    read = {"c": place.store.current, "p": lambda: place.store.publication("p1")}
    with pytest.raises(ReleaseCorrupt, match=f"{key}: has .* expected at most"):
        read.get(key[0], lambda: place.store.manifest("r1"))()


def test_what_is_opened_by_its_head_is_not_fetched_whole(place: BucketPlace) -> None:
    manifest = place.store.seal(trained(place.home, model=toy_model(head_items=50)))
    store = place.begin()
    place.sent.clear()
    store.open(manifest.id, head_only=True)
    assert sorted(place.asked("GetObject")) == sorted({"manifest.json", *manifest.files} - {"vectors.safetensors"})
    store.open(manifest.id)
    assert place.asked("GetObject") == ["manifest.json", "vectors.safetensors"]


def test_a_catalogue_fetches_two_files(place: BucketPlace) -> None:
    manifest = place.store.seal(trained(place.home))
    store = place.begin()
    place.sent.clear()
    store.open_catalogue(manifest.id)
    assert sorted(place.asked("GetObject")) == sorted(CATALOGUE_READS)
    store.open(manifest.id)
    assert sorted(place.asked("GetObject")) == sorted({"manifest.json", *manifest.files} - set(CATALOGUE_READS[1:]))


def test_files_are_fetched_once_whoever_opens_them(place: BucketPlace) -> None:
    release = place.store.seal(trained(place.home)).id
    place.store.open(release)
    place.sent.clear()
    next_process = S3Releases(place.bucket, place.cache, place.prefix, place.client)
    next_process.open(release)
    assert place.asked("GetObject") == ["manifest.json"]


def test_threads_that_open_at_once_fetch_once(place: BucketPlace) -> None:
    manifest = place.store.seal(trained(place.home))
    place.sent.clear()
    opened: list[int] = []
    threads = [
        threading.Thread(target=lambda: opened.append(len(place.store.open(manifest.id).items))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [200] * 4
    assert len(place.asked("GetObject")) == 4 + len(manifest.files)  # each reads the manifest


@pytest.mark.parametrize("cut", [True, False])
def test_a_cached_file_that_was_damaged_is_fetched_anew(place: BucketPlace, cut: bool) -> None:
    release = place.store.seal(trained(place.home)).id
    first = place.store.open(release).items.two_tower.copy()
    path = place.cache / "releases" / release / "vectors.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()  # who has it mapped goes on with its pages
    path.write_bytes(data[:100] if cut else data)
    place.sent.clear()
    np.testing.assert_array_equal(place.store.open(release).items.two_tower, first)
    assert place.asked("GetObject") == ["manifest.json", "vectors.safetensors"]


def test_the_cache_keeps_the_newest_by_use(place: BucketPlace) -> None:
    releases = [sealed_at(place, second).id for second in range(3)]
    mapped = place.store.open(releases[0])
    kept = []
    for release in (*releases[1:], releases[1], releases[0]):
        place.store.open(release)
        kept.append({folder.name for folder in (place.cache / "releases").iterdir()})
    one, two, three = releases
    assert KEEP_RELEASES == 2
    assert kept == [{one, two}, {two, three}, {two, three}, {two, one}]
    assert float(np.abs(mapped.items.two_tower).sum()) > 0


def test_releases_that_are_sealed_where_the_cache_lies_stay(place: BucketPlace) -> None:
    local = LocalReleases(place.cache)
    own = [local.seal(trained(place.cache, seed)).id for seed in range(3)]
    for second in range(3):
        place.store.open(sealed_at(place, second).id)
    assert set(own) <= set(local.ids())
    assert len(local.open(own[0]).items) == 200


def test_a_release_that_does_not_fit_is_refused_before_it_is_fetched(
    place: BucketPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = place.store.seal(trained(place.home))
    needed = sum(entry.bytes for entry in manifest.files.values())
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(needed - 1))
    place.sent.clear()
    with pytest.raises(StorageFull, match="MB are free"):
        place.store.open(manifest.id)
    assert place.asked("GetObject") == ["manifest.json"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(needed))
    assert len(place.store.open(manifest.id).items) == 200


@pytest.mark.parametrize(
    ("failure", "named"),
    [(OSError(errno.ENOSPC, "full"), StorageFull), (StoreUnavailable("gone."), StoreUnavailable), (Crash(), Crash)],
)
def test_what_ends_in_the_middle_leaves_nothing_in_the_cache(
    tmp_path: Path, failure: BaseException, named: type[BaseException]
) -> None:
    def read(name: str, entry: FileEntry) -> Iterator[bytes]:
        yield b"half"
        raise failure

    cache = ReleaseCache(tmp_path, "there")
    with pytest.raises(named):
        cache.fill("r1", {"a.json": FileEntry(8, sha256(b"halfhalf").hexdigest())}, read)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_sweep_takes_along_what_uploads_have_left(place: BucketPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = place.store.seal(trained(place.home)).id
    place.store.publish(publication(place.store, sealed), None)
    place.write("releases/r20250101T000000-00000000/items.safetensors", b"left behind")
    place.store.sweep()
    assert len(place.keys("releases/r2025")) == 1  # it may be on its way
    monkeypatch.setattr(s3_releases, "UPLOAD_SECONDS", -60.0)
    place.store.sweep()
    assert place.keys("releases/r2025") == []
    assert len(place.begin().open(sealed).items) == 200


def test_what_is_swept_stops_being_a_release_first(place: BucketPlace) -> None:
    releases = [sealed_at(place, second).id for second in range(2)]
    etag = None
    for release in releases:
        etag = place.store.publish(publication(place.store, release), etag).etag
    deleted = 0

    def crash(**_: Any) -> None:
        nonlocal deleted
        deleted += 1
        if deleted == 2:
            raise Crash

    place.when("before-send.s3.DeleteObjects", crash)
    with pytest.raises(Crash):
        place.store.sweep(keep=0)
    assert place.begin().ids() == releases[1:]
    assert len(place.keys(f"releases/{releases[0]}/")) > 0


def test_publishing_and_rolling_back_work_as_in_a_folder(place: BucketPlace) -> None:
    from index_loader.publish import publish, rollback

    first, second = (place.store.seal(trained(place.home, seed)).id for seed in (1, 2))
    publish(place.store, first, None, place.store.etag())
    publish(place.store, second, None, place.store.etag(), served_model="als")
    assert place.begin().serving().publication.release == second
    with SqliteFreshItems(place.home / "live.sqlite") as items:
        rollback(place.store, None, items)
    assert place.begin().serving().publication.release == first
