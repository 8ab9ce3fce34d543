"""What nights leave for each other in the data bucket, and the lease of which only one of them has the newest token."""

from __future__ import annotations

import multiprocessing
import threading
from typing import Any
from uuid import uuid4

import pytest

import stores.nights
from contracts.errors import LeaseLost, NightIncomplete, NightRunning, ReleaseCorrupt, RequestInvalid, StoreUnavailable
from contracts.night import BASE_KEY, LEASE_KEY, Decision, NightFacts, NightOutcome, Outcome, Step, StepVerdict
from stores.nights import NAMES, Nights
from stores.s3_bucket import Bucket, s3_client
from tests.aws import REGION

RUNS, ENDED = (lambda _: True), (lambda _: False)


@pytest.fixture
def nights(s3: Any) -> Nights:
    name = f"data-{uuid4().hex}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return Nights(Bucket(name, client=s3))


def facts(night: str, token: int) -> NightFacts:
    return NightFacts(night=night, token=token, execution="e", dataset="shop", begun_at=1)


def test_one_execution_holds_the_lease_under_tokens_that_only_grow(nights: Nights) -> None:
    assert nights.lease() is None
    first = nights.take_lease("one", RUNS)
    assert (first.token, first.night[:7], first.released) == (1, "n000001", False)
    assert nights.take_lease("one", RUNS) == first  # by the same execution, after a kill
    with pytest.raises(NightRunning, match=first.night):
        nights.take_lease("two", RUNS)
    nights.check_lease(1)
    taken = nights.take_lease("two", ENDED)
    assert taken.token == 2
    with pytest.raises(LeaseLost, match=f"{taken.night} holds it"):
        nights.check_lease(1)
    nights.release_lease(1)  # of one that has lost it: nothing happens
    nights.check_lease(2)
    for _ in range(2):
        nights.release_lease(2)
    with pytest.raises(LeaseLost, match="nobody holds it"):
        nights.check_lease(2)
    third = nights.take_lease("three", RUNS, night=first.night)
    assert (third.token, third.night) == (3, first.night)
    assert nights.take_lease("one", ENDED).token == 4  # it has ended, and is not mistaken for the holder


def test_who_holds_it_is_asked_about_by_name(nights: Nights) -> None:
    nights.take_lease("one", RUNS)
    asked: list[str] = []
    with pytest.raises(NightRunning):
        nights.take_lease("two", lambda execution: not asked.append(execution))
    assert asked == ["one"]


def test_of_many_threads_one_gets_it(nights: Nights) -> None:
    won, lost, start = [], [], threading.Barrier(8)

    def take(number: int) -> None:
        start.wait()
        try:
            won.append(nights.take_lease(f"execution-{number}", RUNS))
        except NightRunning as error:
            lost.append(error)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)
    assert nights.lease() == won[0]


def _race(endpoint: str, bucket: str, number: int, start: Any, results: Any) -> None:
    racing = Nights(Bucket(bucket, client=s3_client(endpoint_url=endpoint)))
    start.wait()
    for turn in range(5):
        try:
            token = racing.take_lease(f"{number}-{turn}", ENDED).token
        except StoreUnavailable:  # the other was faster five times
            token = 0
        results.put(token)


def test_two_processes_that_take_it_from_each_other_never_get_the_same_token(
    nights: Nights, moto_endpoint: str
) -> None:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    racers = [
        context.Process(target=_race, args=(moto_endpoint, nights.bucket.name, number, start, results))
        for number in range(2)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    tokens = sorted(token for _ in range(10) if (token := results.get(timeout=5)))
    assert tokens == list(range(1, len(tokens) + 1))
    assert len(tokens) >= 5


def test_a_lease_that_is_written_all_the_time_is_given_up_by_name(
    nights: Nights, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights.take_lease("one", RUNS)
    monkeypatch.setattr(nights.bucket, "replace", always_moved)
    with pytest.raises(StoreUnavailable, match="all the time"):
        nights.take_lease("two", ENDED)
    with pytest.raises(StoreUnavailable, match="all the time"):
        nights.adopt("n000001-20261126")
    with pytest.raises(StoreUnavailable, match="all the time"):
        nights.write("n000001-20261126", facts("n000001-20261126", 1))
    nights.release_lease(1)  # the next night finds out that this one has ended


def always_moved(*_: object) -> str:
    raise stores.nights.ObjectMoved


def test_artifacts_are_written_anew_read_back_and_forgotten(nights: Nights) -> None:
    night = "n000001-20261126"
    assert nights.find(night, NightFacts) is None
    with pytest.raises(NightIncomplete, match=rf"nights/{night}/night\.json"):
        nights.read(night, NightFacts)
    for token in (1, 2):
        nights.write(night, facts(night, token))
        assert nights.read(night, NightFacts).token == token
    outcome = NightOutcome(night="n000002-20261126", outcome=Outcome.FAILED, ended_at="now")
    nights.write("n000002-20261126", outcome)
    nights.write("n000003-20261126", facts("n000003-20261126", 3))
    assert nights.ids() == [night, "n000003-20261126"]  # one that never began is none
    for _ in range(2):
        nights.forget(night, NightFacts)
    assert nights.ids() == ["n000003-20261126"]
    assert len(set(NAMES.values())) == len(NAMES)


def test_a_verdict_is_kept_for_each_step(nights: Nights) -> None:
    night = "n000001-20261126"
    assert nights.verdict(night, Step.CHECK) is None
    for decision in (Decision.REFUSE, Decision.GO):
        nights.write_verdict(night, StepVerdict(step=Step.CHECK, decision=decision))
    verdict = nights.verdict(night, Step.CHECK)
    assert verdict is not None
    assert verdict.decision is Decision.GO
    assert nights.verdict(night, Step.GATE) is None
    assert nights.ids() == []


def test_a_dataset_is_there_once_its_listing_is(nights: Nights) -> None:
    assert nights.datasets() == []
    for key in ("datasets/b.files.json", "datasets/a-c.files.json", "datasets/a.files.json"):
        nights.bucket.create(key, b"{}")
    for key in ("datasets/half/events.parquet", "datasets/half/deep.files.json"):
        nights.bucket.create(key, b"")
    assert nights.datasets() == ["a", "a-c", "b"]


def test_the_base_only_moves_on(nights: Nights) -> None:
    assert nights.base() is None
    for night in ("n000001-20261126", "n000003-20261127", "n000003-20261127"):
        nights.adopt(night)
        assert nights.base() == night
    with pytest.raises(LeaseLost, match="n000003"):
        nights.adopt("n000002-20261126")
    assert nights.base() == "n000003-20261127"


@pytest.mark.parametrize("key", [LEASE_KEY, BASE_KEY, "nights/n000001-20261126/night.json"])
@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[" * 3_000])
def test_what_is_no_document_of_ours_is_named(nights: Nights, s3: Any, key: str, data: bytes) -> None:
    s3.put_object(Bucket=nights.bucket.name, Key=key, Body=data)
    read = {LEASE_KEY: nights.lease, BASE_KEY: nights.base}
    with pytest.raises(ReleaseCorrupt, match=key):
        read.get(key, lambda: nights.find("n000001-20261126", NightFacts))()


def test_no_name_leads_out_of_the_nights(nights: Nights) -> None:
    for night in ("", "..", "n1", "n000001-20261126/../x", "n000001-202611266"):
        with pytest.raises(RequestInvalid):
            nights.find(night, NightFacts)
