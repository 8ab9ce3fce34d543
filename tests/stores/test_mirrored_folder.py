"""A folder in a bucket: the same files, sent once, and brought back whole or not at all."""

from __future__ import annotations

import msgspec
import pytest

from contracts.errors import DatasetError
from contracts.release import FileEntry
from stores.mirrored_folder import entries_of, fetch, listed, mirror
from stores.s3_bucket import Bucket
from tests.stores.release_places import BucketPlace

PREFIX, LISTING = "datasets/shop/", "datasets/shop.files.json"


@pytest.fixture
def bucket(bucket_place: BucketPlace) -> Bucket:
    return Bucket(bucket_place.bucket, bucket_place.prefix, bucket_place.client)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "shop" / "events").mkdir(parents=True)
    for name in ("events/part-1.csv", "schema.toml", "users.csv"):
        (tmp_path / "shop" / name).write_text(name)
    return tmp_path / "shop"


def send(folder, bucket: Bucket) -> list[str]:
    return list(mirror(folder, bucket, PREFIX, LISTING))


def test_a_folder_is_sent_once_and_comes_back(folder, bucket: Bucket, tmp_path) -> None:
    assert send(folder, bucket) == ["events/part-1.csv", "schema.toml", "users.csv"]
    assert send(folder, bucket) == []
    entries = listed(bucket, LISTING)
    fetch(bucket, PREFIX, entries, tmp_path / "back")
    assert entries_of(tmp_path / "back") == entries == entries_of(folder)
    fetch(bucket, PREFIX, entries, tmp_path / "one", ["users.csv"])
    assert list(entries_of(tmp_path / "one")) == ["users.csv"]


def test_only_what_changed_is_sent_and_what_went_is_removed(folder, bucket: Bucket) -> None:
    send(folder, bucket)
    (folder / "users.csv").write_text("other")
    (folder / "schema.toml").unlink()
    assert send(folder, bucket) == ["users.csv"]
    assert [key for key, _ in bucket.listing(PREFIX)] == [f"{PREFIX}events/part-1.csv", f"{PREFIX}users.csv"]
    assert listed(bucket, LISTING) == entries_of(folder)


def test_without_a_listing_the_hash_that_s3_keeps_spares_the_file(folder, bucket: Bucket, bucket_place) -> None:
    send(folder, bucket)
    bucket.delete([LISTING])
    bucket_place.write(f"{PREFIX}users.csv", b"users.csX")  # put by others: as long, and no hash
    assert send(folder, bucket) == ["users.csv"]
    bucket_place.write(LISTING, b"garbage")
    (folder / "schema.toml").write_text("schema.tomX")
    assert send(folder, bucket) == ["schema.toml"]


def test_what_is_not_complete_is_named(folder, bucket: Bucket, tmp_path) -> None:
    with pytest.raises(DatasetError, match=r"shop\.files\.json: there is no listing"):
        listed(bucket, LISTING)
    send(folder, bucket)
    entries = listed(bucket, LISTING)
    wrong = {
        r"users\.csv: its content is not": entries | {"users.csv": FileEntry(9, "0" * 64)},
        r"users\.csv: has 9 bytes, expected 5": entries | {"users.csv": FileEntry(5, "0" * 64)},
        r"items\.csv: the file is missing": entries | {"items.csv": FileEntry(5, "0" * 64)},
    }
    for message, other in wrong.items():
        with pytest.raises(DatasetError, match=message):
            fetch(bucket, PREFIX, other, tmp_path / "back")


@pytest.mark.parametrize("name", ["../users.csv", "/etc/users", "a//b", "a\\b", ""])
def test_a_name_that_leads_elsewhere_is_no_name(bucket: Bucket, bucket_place, name: str) -> None:
    bucket_place.write(LISTING, msgspec.json.encode({name: FileEntry(1, "0" * 64)}))
    with pytest.raises(DatasetError, match="it is no listing of files"):
        listed(bucket, LISTING)
