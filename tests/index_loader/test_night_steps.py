"""The light steps of a night against moto: each twice, each in a process of its own, and whatever must be refused."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

import index_loader.night.publishing
from contracts.errors import (
    AwsCallFailed,
    DatasetError,
    GateBlocked,
    LeaseLost,
    NightIncomplete,
    NightRunning,
    PointerConflict,
    ReleaseCorrupt,
    RequestInvalid,
    ServerUnavailable,
    SettingsInvalid,
    VerificationFailed,
)
from contracts.night import (
    Decision,
    NightFacts,
    NightOutcome,
    SealedRelease,
    Step,
    Verification,
    dataset_listing,
    snapshot_listing,
)
from contracts.release import GateReport, Publication, Verdict
from index_loader.night import handler
from index_loader.publish import publish, publish_verified
from tests.index_loader.night_world import NightWorld
from tests.toy_world import toy_model


def sealed_night(world: NightWorld, **asked: Any) -> None:
    """A night that has come to its gate."""
    world.begin(**asked)
    world.leave_snapshot()
    world.call("seal", model=world.leave_model())
    world.leave_gate(Verdict.PASS)


def test_a_night_publishes_and_the_next_one_comes_after_it(world: NightWorld) -> None:
    first = world.publish_night()
    serving = world.releases.serving().publication
    assert (serving.id, serving.night, serving.served_model, serving.previous) == (first, world.night, "als", None)
    assert world.nights.read(world.night, Publication) == serving
    assert world.nights.read(world.night, NightOutcome).outcome == "published"
    lease = world.nights.lease()
    assert lease is not None
    assert (lease.night, lease.released) == (world.night, True)
    second = world.publish_night(toy_model(seed=1))
    after = world.releases.serving().publication
    assert (after.id, after.previous, after.night) == (second, first, world.night)
    facts = world.nights.read(world.night, NightFacts)
    assert facts.serving is not None
    assert (facts.serving.publication, facts.dataset) == (first, "shop")


def test_begin_says_where_everything_of_the_night_lies(world: NightWorld) -> None:
    told = world.begin()
    night, bucket = told["night"], f"s3://{world.data.name}"
    assert told == {
        "night": night,
        "token": 1,
        "begin": "snapshot",
        "job_prefix": f"tandem-{night}",
        "snapshot_uri": f"{bucket}/snapshots/{night}/",
        "training_uri": f"{bucket}/nights/{night}/training/",
        "checkpoints_uri": f"{bucket}/nights/{night}/checkpoints/",
        "release": {"release": "", "indexed": False},  # as `seal` answers, where a night is gone on with behind it
    }
    world.begin_process()
    assert world.begin(world.execution) == told  # killed before it could answer, it finds its own lease


def test_a_second_night_waits_for_the_one_that_runs_and_takes_over_from_one_that_was_stopped(world: NightWorld) -> None:
    told = world.begin()
    running = world.execution
    with pytest.raises(NightRunning, match=told["night"]):
        world.begin()
    refused = world.fail(error={"Error": "NightRunning", "Cause": json.dumps({"errorType": "NightRunning"})})
    assert "has changed nothing" in refused["message"]
    assert world.nights.find(told["night"], NightOutcome) is None
    lease = world.nights.lease()
    assert lease is not None
    assert (lease.execution, lease.released) == (running, False)
    world.stop(running)
    after = world.begin()
    assert after["token"] == 2
    world.told = told
    for function, more in STALE.items():
        with pytest.raises(LeaseLost):
            world.call(function, **more)


STALE: dict[str, dict[str, Any]] = {
    "seal": {},
    "prepare": {},
    "load": {"part": 0},
    "merge": {},
    "merged": {"task": "x:1"},
    "verify": {},
    "publish": {},
    "sweep": {},
}


def test_a_night_that_is_gone_on_with_refuses_the_run_before_also_at_its_end(world: NightWorld) -> None:
    sealed_night(world)
    before, execution = world.told, world.execution
    world.stop(execution)
    assert world.begin(begin="seal")["night"] == before["night"]
    world.told, world.execution = before, execution
    with pytest.raises(LeaseLost, match="token 2"):
        world.call("finish", outcome="nothing-new")
    failed = world.fail(error={"Error": "LeaseLost", "Cause": "{}"})
    assert failed["code"] == "lease-lost"
    assert world.nights.find(world.night, NightOutcome) is None


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({}, "execution"),
        ({"execution": "x", "input": {"begin": "bake"}}, "begin"),
        ({"execution": "x", "input": {"Comment": "Insert your JSON here"}}, "Comment"),
        ({"execution": "x", "input": {"accept": ["anything"]}}, "accept"),
        ({"execution": "x", "input": []}, "input"),
        ([], "object"),
    ],
)
def test_what_a_night_is_started_with_is_read_strictly(world: NightWorld, event: Any, said: str) -> None:
    with pytest.raises(RequestInvalid, match=said):
        handler.begin(event)
    assert world.keys("nights/") == []


def test_a_misspelt_event_of_a_later_step_is_no_default(world: NightWorld) -> None:
    world.begin()
    with pytest.raises(RequestInvalid, match="modle"):
        world.call("seal", modle="s3://x")
    with pytest.raises(RequestInvalid, match="night"):
        handler.seal({"night": "../lease", "token": 1})
    with pytest.raises(RequestInvalid, match="no night"):
        world.begin(night="n1")


def test_without_a_dataset_or_with_several_it_is_said_which_to_choose(world: NightWorld) -> None:
    world.put("datasets/shop/sub.files.json", b"a file of the dataset")
    world.begin()
    world.stop(world.execution)
    world.put(dataset_listing("toys"), b"{}")
    with pytest.raises(DatasetError, match=r"2 datasets: shop, toys.*TANDEM_DATASET"):
        world.begin()
    world.begin_process(dataset="toys")
    world.begin()
    assert world.nights.read(world.night, NightFacts).dataset == "toys"
    world.stop(world.execution)
    world.begin_process(dataset="boots")
    with pytest.raises(DatasetError, match="datasets/boots/"):
        world.begin()
    world.data.delete([dataset_listing("toys"), dataset_listing("shop")])
    world.begin_process(dataset="")
    with pytest.raises(DatasetError, match="tandem aws seed"):
        world.begin()
    assert len(world.nights.ids()) == 2


MISSING = [
    ("snapshots/{night}.files.json", Step.BACKFILL, "listing of its snapshot is missing, which snapshot writes"),
    ("nights/{night}/check.verdict.json", Step.TRAIN, "lets pass is missing, which check writes"),
    ("nights/{night}/training/", Step.SEAL, "model is missing, which train writes"),
    ("nights/{night}/release.json", Step.GATE, "sealed release is missing, which seal writes"),
    ("nights/{night}/gate.json", Step.VERIFY, "comparison with what serves now is missing, which gate writes"),
    ("nights/{night}/verification.json", Step.PUBLISH, "verification is missing, which verify writes"),
    ("nights/{night}/publication.json", Step.SWEEP, "publication is missing, which publish writes"),
]


def test_a_later_step_begins_only_where_everything_is_there(world: NightWorld) -> None:
    sealed_night(world)
    world.through(["verify", "publish"])
    night = world.night
    for taken, begin, said in MISSING:
        world.give_lease_back()
        assert world.begin(begin=begin)["night"] == night  # the newest
        world.give_lease_back()
        there = {key: world.data.read(key, 1 << 20).data for key in world.keys(taken.format(night=night))}
        world.data.delete([*there])
        with pytest.raises(NightIncomplete, match=said):
            world.begin(begin=begin, night=night)
        world.fail(error={"Error": "NightIncomplete", "Cause": "{}"})
        assert world.begin(night=night)["night"] == night  # from its very first step
        for key, data in there.items():
            world.put(key, data)


def test_a_night_is_not_gone_on_with_behind_a_refusal_or_a_verdict_on_something_else(world: NightWorld) -> None:
    sealed_night(world)
    told, release = world.told, world.nights.read(world.night, SealedRelease).release
    world.leave_verdict(Step.CHECK, Decision.REFUSE)
    world.give_lease_back()
    with pytest.raises(NightIncomplete, match="which check writes"):
        world.begin(begin="gate")
    world.fail(error={"Error": "NightIncomplete", "Cause": "{}"})
    world.told = told
    world.leave_verdict(Step.CHECK)
    publish(world.releases, release, None, None)
    with pytest.raises(NightIncomplete, match="comparison with what serves now"):
        world.begin(begin="verify")


def test_there_is_nothing_to_go_on_with_before_the_first_night(world: NightWorld) -> None:
    with pytest.raises(NightIncomplete, match="no night yet"):
        world.begin(begin="gate")
    with pytest.raises(NightIncomplete, match=r"night\.json"):
        world.begin(begin="gate", night="n000009-20260101")


def test_sealing_twice_and_after_a_kill_at_any_upload_gives_one_release(
    world: NightWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.begin()
    uri = world.leave_model()
    whole = world.client.put_object
    ids = set()
    for allowed in range(30):
        world.begin_process()
        left = iter(range(allowed))

        def put(_left: Any = left, **request: Any) -> Any:
            if next(_left, None) is None:
                raise KeyboardInterrupt  # nobody catches a kill
            return whole(**request)

        monkeypatch.setattr(handler.workplace().releases._bucket, "_made", Recorder(world.client, put))
        monkeypatch.setattr(handler.workplace().data, "_made", Recorder(world.client, put))
        try:
            ids.add(world.call("seal", model=uri)["release"])
            break
        except KeyboardInterrupt:
            continue
    assert allowed > 5
    world.begin_process()
    ids.add(world.call("seal", model=f"{uri}/")["release"])
    world.begin_process()
    ids.add(world.call("seal")["release"])
    assert len(ids) == 1
    assert world.releases.ids() == [*ids]
    assert world.nights.read(world.night, SealedRelease).model == f"{uri}/"
    assert not (world.settings.home / "candidate").exists()


class Recorder:
    """A client whose writes go through a function."""

    def __init__(self, client: Any, put: Any) -> None:
        self._client, self.put_object = client, put

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def test_what_was_trained_anew_is_another_release(world: NightWorld) -> None:
    world.begin()
    first = world.call("seal", model=world.leave_model())["release"]
    time.sleep(1.1)  # S3 knows the second in which something was written
    world.leave_model(toy_model(seed=1))
    second = world.call("seal")["release"]
    assert first != second
    assert world.call("seal")["release"] == second
    assert sorted(world.releases.ids()) == sorted([first, second])


def test_what_training_left_is_refused_where_it_is_not_whole(world: NightWorld) -> None:
    world.begin()
    with pytest.raises(NightIncomplete, match="no complete model"):
        world.call("seal")
    for uri in ("s3://elsewhere/model", world.data.url("nights/n000009-20260101/training/j/output/model")):
        with pytest.raises(RequestInvalid, match="no uncompressed model below"):
            world.call("seal", model=uri)
    with pytest.raises(RequestInvalid, match="CompressionType NONE"):
        world.call("seal", model=f"{world.told['training_uri']}job/output/model.tar.gz")
    uri = world.leave_model()
    prefix = uri.removeprefix(world.data.url(""))
    world.put(f"{prefix}/deep/file.json", b"{}")
    with pytest.raises(ReleaseCorrupt, match=r"deep/file\.json is in a folder"):
        world.call("seal", model=uri)
    world.data.delete([f"{prefix}/deep/file.json", f"{prefix}/items.safetensors"])
    with pytest.raises(ReleaseCorrupt, match="items"):
        world.call("seal", model=uri)
    world.data.delete([f"{prefix}/training.json"])
    with pytest.raises(ReleaseCorrupt, match=r"no training\.json"):
        world.call("seal", model=uri)
    assert world.releases.ids() == []
    assert not (world.settings.home / "candidate").exists()


def test_a_catalogue_that_needs_a_domain_is_refused_where_there_is_none(world: NightWorld) -> None:
    world.begin_process(engine_above=199)
    world.begin()
    world.leave_model()
    with pytest.raises(ServerUnavailable, match="200 items"):
        world.call("seal")
    assert world.releases.ids() == []
    world.begin_process(engine_above=200)
    assert world.call("seal")["indexed"] is False


def test_publishing_again_after_a_lost_answer_says_the_same(world: NightWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed_night(world)
    world.call("verify")
    real = index_loader.night.publishing.publish_verified

    def killed(*arguments: Any, **more: Any) -> Any:
        real(*arguments, **more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(index_loader.night.publishing, "publish_verified", killed)
        with pytest.raises(KeyboardInterrupt):
            world.call("publish")
    serving = world.releases.serving().publication
    assert world.nights.find(world.night, Publication) is None
    for _ in range(2):
        world.begin_process()
        assert world.call("publish") == {"publication": serving.id}
    assert world.nights.read(world.night, Publication) == serving
    assert len(world.releases.publications()) == 1


def test_who_published_in_between_goes_on_serving(world: NightWorld) -> None:
    sealed_night(world)
    world.call("verify")
    release = world.nights.read(world.night, SealedRelease).release
    by_hand = publish(world.releases, release, None, None).publication
    with pytest.raises(PointerConflict):
        world.call("publish")
    assert world.releases.serving().publication == by_hand
    failed = world.fail(
        failed="Publish", error={"Error": "PointerConflict", "Cause": '{"errorType":"PointerConflict"}'}
    )
    assert f"--from gate --night {world.night}" in failed["message"]
    assert by_hand.id in failed["message"]


def test_what_is_published_is_what_was_verified_and_judged(world: NightWorld) -> None:
    sealed_night(world)
    with pytest.raises(NightIncomplete, match=r"verification\.json"):
        world.call("publish")
    world.call("verify")
    verification = world.nights.read(world.night, Verification)
    gate = world.nights.read(world.night, GateReport)
    for field, value in {"release": "r1", "digest": "d", "index": "items-x-r1"}.items():
        world.nights.write(world.night, msgspec.structs.replace(verification, **{field: value}))
        with pytest.raises(VerificationFailed, match="verified was"):
            world.call("publish")
    world.nights.write(world.night, verification)
    world.leave_gate(Verdict.WARN, Verdict.BLOCK)
    with pytest.raises(GateBlocked, match="check-1: as crafted"):
        world.call("publish")
    for field in ("release", "compared_with"):
        world.nights.write(world.night, msgspec.structs.replace(gate, **{field: "r1"}))
        with pytest.raises(GateBlocked, match="Judge again"):
            world.call("publish")
    assert world.releases.current() is None
    world.nights.write(world.night, gate)
    world.call("publish")


def test_a_sweep_leaves_what_is_needed_and_nothing_else(world: NightWorld) -> None:
    sealed_night(world)
    world.call("verify")
    verification, nights, etag = world.nights.read(world.night, Verification), [world.night], None
    for number in range(6):
        if number:
            nights.append(world.nights.take_lease(f"execution-{number}", lambda _: False).night)
            for name in ("{}/events.parquet", "{}.files.json"):
                world.put(f"snapshots/{name.format(nights[-1])}", b"{}")
        etag = publish_verified(world.releases, verification, None, etag, night=nights[-1]).etag
    world.nights.adopt(nights[0])  # whatever the reason, the next snapshot grows from it
    world.put("snapshots/n000000-20260101/left.parquet", b"of a night that was killed")
    newest = world.begin()["night"]
    world.put(f"snapshots/{newest}/half.parquet", b"of a snapshot that is not whole yet")
    # a rollback reaches the last four; of the others one is the base
    assert world.call("sweep") == {"indexes": 0, "releases": 0, "snapshots": 2, "settled": 0}
    assert world.call("sweep") == {"indexes": 0, "releases": 0, "snapshots": 0, "settled": 0}
    kept = [nights[0], *nights[2:]]
    assert [key for key in world.keys("snapshots/") if key.endswith("s.json")] == [
        snapshot_listing(one) for one in kept
    ]
    files = [key.split("/")[1] for key in world.keys("snapshots/") if key.endswith(".parquet")]
    assert files == [*kept, newest]


def test_a_night_with_nothing_new_ends_well_and_is_counted_once(
    world: NightWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.begin()
    world.leave_snapshot()
    for _ in range(2):
        outcome = world.call("finish", outcome="nothing-new", reason="nothing has come")
    assert (outcome["outcome"], outcome["reason"], outcome["publication"]) == ("nothing-new", "nothing has come", None)
    written = metrics(capsys.readouterr().out)
    assert [line["NightNothingNew"] for line in written] == [[1.0]]
    assert world.begin()["token"] == 2  # the lease was given back
    with pytest.raises(RequestInvalid):
        world.call("finish", outcome="failed")
    with pytest.raises(NightIncomplete, match="publication"):
        world.call("finish", outcome="published")


def metrics(out: str) -> list[dict[str, Any]]:
    """The lines in CloudWatch's embedded format."""
    return [line for line in map(json.loads, out.splitlines()) if "_aws" in line]


def test_each_step_says_one_line_and_a_night_its_figures(world: NightWorld, capsys: pytest.CaptureFixture[str]) -> None:
    world.begin_process(service="lines")  # Powertools keeps a logger, with the stream that it began with, for each name
    sealed_night(world)
    world.leave_gate(Verdict.WARN, Verdict.WARN, Verdict.PASS)
    world.through(["verify", "publish"])
    world.call("finish", outcome="published")
    with pytest.raises(LeaseLost):
        world.call("seal")
    out = capsys.readouterr().out
    lines = [line for line in map(json.loads, out.splitlines()) if "_aws" not in line]
    assert [line["message"] for line in lines] == ["begin", "seal", "verify", "publish", "finish", "seal-failed"]
    assert {line["night"] for line in lines[1:]} == {world.night}
    assert lines[3]["did"] == {"publication": world.releases.serving().publication.id}
    assert lines[3]["seconds"] >= 0
    assert (lines[-1]["code"], lines[-1]["level"]) == ("lease-lost", "ERROR")
    (figures,) = metrics(out)
    (described,) = figures["_aws"]["CloudWatchMetrics"]
    assert (described["Namespace"], described["Dimensions"], figures["service"]) == (
        "Tandem",
        [["service"]],
        "lines",
    )
    found = {metric["Name"]: figures[metric["Name"]] for metric in described["Metrics"]}
    assert found.pop("NightSeconds")[0] >= 0
    assert found == {"NightPublished": [1.0], "GateWarnings": [2.0], "GateBlocked": [0.0], "IndexRecall": [1.0]}


def test_settings_that_lack_a_bucket_are_said_at_the_first_call(
    world: NightWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TANDEM_RELEASES_BUCKET")
    handler.workplace.cache_clear()
    with pytest.raises(SettingsInvalid, match="TANDEM_RELEASES_BUCKET"):
        handler.begin({"execution": "x", "input": {}})


def test_who_may_not_ask_step_functions_does_not_take_over(world: NightWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.begin()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(AwsCallFailed, match="outside the VPC"):
        world.begin()


def test_importing_the_functions_opens_and_loads_nothing_heavy() -> None:
    heavy = ("boto3", "botocore", "opensearchpy", "aws_lambda_powertools")
    code = f"import sys, index_loader.night.handler as h; print(*[m for m in {heavy} if m in sys.modules], *h.STEPS)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={}, cwd=Path.cwd())
    assert found.stdout.split() == [*handler.STEPS], found.stderr
    assert all(callable(getattr(handler, name)) for name in handler.STEPS)
