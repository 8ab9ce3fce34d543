"""A batch that is kept in the data bucket: it outlives the job that makes it, and is never there half."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from batch_job.recommend import recommend_all
from batch_job.recommend_bucket import KeptBatch
from contracts.batch import BATCH_MANIFEST, BATCH_SUCCESS
from contracts.errors import BatchMismatch
from stores.s3_bucket import Bucket
from tests.aws import REGION
from tests.batch_job.recommend_world import EVERYBODY, build, file_of, identities, plan_for, rows_of, sources_of
from tests.toy_world import NOW

PARTS, LISTS = "recommendations/mail/", "asked/recommend/mail/lists/"


class Stop(Exception):
    """What ends a job half-way."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("kept-batch"))


@pytest.fixture
def bucket(s3: Any) -> Bucket:
    name = f"batch-{uuid4().hex}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return Bucket(name, client=s3)


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    """Four parts."""
    return plan_for(file_of(tmp_path, EVERYBODY), part_users=5)


def noted(bucket: Bucket) -> list[str]:
    """Keys that are sent from now on."""
    sent: list[str] = []
    upload = bucket.upload
    bucket.upload = lambda key, *rest: (sent.append(key), upload(key, *rest))[1]  # type: ignore[method-assign]
    return sent


def names(bucket: Bucket, prefix: str) -> list[str]:
    return [key.removeprefix(prefix) for key, _ in bucket.sizes(prefix)]


def broken_off(plan: Any, home: Path, bucket: Bucket, folder: Path, parts: int) -> None:
    """A job whose instance is taken away once so many parts were sent; its folder is gone with it."""
    kept = KeptBatch(folder, bucket, "mail")

    def tell(done: int, total: int, _: str) -> None:
        kept.send()
        if total and done >= 5 * parts:
            raise Stop

    with pytest.raises(Stop):
        recommend_all(plan, sources_of(home), folder, tell)


def test_a_job_that_was_taken_away_is_gone_on_with_by_another(
    plan: Any, home: Path, bucket: Bucket, tmp_path: Path
) -> None:
    broken_off(plan, home, bucket, tmp_path / "first", parts=2)
    assert names(bucket, PARTS) == [BATCH_MANIFEST, "part-00000.parquet", "part-00001.parquet"]
    assert len(names(bucket, LISTS)) == 4
    kept = KeptBatch(tmp_path / "second", bucket, "mail")
    assert kept.bring() == 3 + 4
    done = recommend_all(plan, sources_of(home), tmp_path / "second")
    assert done.parts_made == 2
    kept.finish()
    assert names(bucket, PARTS) == [BATCH_SUCCESS, BATCH_MANIFEST, *(f"part-{n:05}.parquet" for n in range(4))]
    assert names(bucket, LISTS) == []
    whole = recommend_all(plan, sources_of(home), tmp_path / "whole")
    assert whole.counts == done.counts
    third = KeptBatch(tmp_path / "third", bucket, "mail")
    third.bring()
    assert rows_of(tmp_path / "third").equals(rows_of(tmp_path / "whole"))


def test_nothing_is_sent_twice_and_what_is_rewritten_is_sent_again(
    plan: Any, home: Path, bucket: Bucket, tmp_path: Path
) -> None:
    """Somebody leaves once the batch is finished: asked for again, it is looked through, and no part is made."""
    kept = KeptBatch(tmp_path / "first", bucket, "mail")
    recommend_all(plan, sources_of(home), tmp_path / "first")
    sent = noted(bucket)
    kept.send()
    assert sent == [PARTS + BATCH_MANIFEST, *(f"{PARTS}part-{n:05}.parquet" for n in range(4))], (
        "no list: it is finished"
    )
    kept.finish()
    assert sent[5:] == [PARTS + BATCH_SUCCESS]
    other = build(tmp_path / "other")
    again = KeptBatch(tmp_path / "again", bucket, "mail")
    again.bring()
    with identities(other) as store:
        store.bury("warm3", NOW + 60)
    release = sources_of(home).releases
    sources = sources_of(other)
    done = recommend_all(
        plan, type(sources)(release, sources.profiles, sources.fresh_items, sources.identities), tmp_path / "again"
    )
    assert done.parts_made == 0
    again.finish()
    assert len(sent) == 6 + 2, "the part that had them, and the marker"
    last = KeptBatch(tmp_path / "last", bucket, "mail")
    last.bring()
    assert "warm3" not in set(rows_of(tmp_path / "last")["user_id"])


def test_begun_anew_nothing_of_the_earlier_one_is_left(plan: Any, home: Path, bucket: Bucket, tmp_path: Path) -> None:
    broken_off(plan, home, bucket, tmp_path / "first", parts=3)
    other = plan_for(plan.users, part_users=5, num_items=3)
    KeptBatch(tmp_path / "second", bucket, "mail").bring()
    with pytest.raises(BatchMismatch, match="num_items 10, now it is 3"):
        recommend_all(other, sources_of(home), tmp_path / "second")
    KeptBatch(tmp_path / "third", bucket, "mail").clear()
    assert names(bucket, "") == []


def test_where_nothing_is_kept_nothing_is_brought(bucket: Bucket, tmp_path: Path) -> None:
    assert KeptBatch(tmp_path / "none", bucket, "mail").bring() == 0
    assert not (tmp_path / "none").exists()
