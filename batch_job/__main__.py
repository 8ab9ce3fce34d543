"""`python -m batch_job`: what needs all users or events at once, as a processing job of SageMaker runs it.

    python -m batch_job snapshot --night N --token T                   # log and catalogue -> the night's dataset
    python -m batch_job backfill --night N --token T --dataset DIR     # the night's dataset -> profiles of all users
    python -m batch_job recommend --users all|FILE --out DIR --name N  # profiles -> recommendations of many users
    python -m batch_job forget --user-file FILE --certificate FILE     # whatever is there of a user -> nothing

Where the stores are is read from the environment (`contracts/night_settings.py`). Prints what was done as one line of
JSON; a named failure is told on stderr and where SageMaker looks for it, and ends with status 1. A user who is to be
forgotten is named in a file: arguments of jobs are kept by AWS for good, and lines by CloudWatch.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.errors import TandemError
from contracts.night import EVENT_LOG
from contracts.night_settings import NightSettings
from stores.job_message import message_file, tell_failure
from stores.nights import Nights
from stores.s3_bucket import Bucket, s3_client

TELL_SECONDS: Final = 10.0
"""Between lines of progress: a log of an hour stays readable."""
LEASE_SECONDS: Final = 30.0
"""Between looks at the lease while profiles are written: one small read of S3."""
MOST_PROCESSES: Final = 4
"""That write profiles: a table on demand that is new takes some 4,000 writes a second, which is what four bring."""

_LONG: Final = ("arrivals", "files")
"""Of a report: too much for a line."""

Progress = Callable[[int, int, str], None]


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Returns the exit status: 1 for a named failure. Arguments that make no sense end the process with 2."""
    parser = argparse.ArgumentParser(prog="python -m batch_job", allow_abbrev=False)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--night", help="(snapshot, backfill)")
    parser.add_argument("--token", type=int, help="of its lease (snapshot, backfill)")
    parser.add_argument("--dataset", type=Path, help="the night's snapshot (backfill)")
    parser.add_argument("--users", help="all, or a file of ids (recommend)")
    parser.add_argument("--out", type=Path, help="folder of the recommendations (recommend)")
    parser.add_argument("--name", help="under which the folder is kept in the data bucket as it grows (recommend)")
    parser.add_argument("--restart", action="store_true", help="begin anew, whatever is there (recommend)")
    parser.add_argument("--num-items", type=int, default=10, help="places of a slate (recommend)")
    parser.add_argument("--user-file", type=Path, help="holds the id of the user (forget)")
    parser.add_argument("--certificate", type=Path, help="file to write (forget)")
    parser.add_argument("--again", action="store_true", help="as of now, although the user left before (forget)")
    given = parser.parse_args(arguments)
    if missing := [name for name in NEEDS[given.step] if getattr(given, name) is None]:
        parser.error(f"{given.step} needs --{missing[0].replace('_', '-')}")
    begun = time.monotonic()
    try:
        done = STEPS[given.step](NightSettings.from_env(environment), given)
    except TandemError as error:
        tell_failure(error, message_file(environment))
        return 1
    done |= {"step": given.step, "seconds": round(time.monotonic() - begun, 1)}
    done |= {"night": given.night} if given.night else {}
    sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
    return 0


def _snapshot(settings: NightSettings, given: argparse.Namespace) -> dict[str, Any]:
    """See `snapshot.py`."""
    from batch_job.log_sources import S3Source
    from batch_job.snapshot import Sources, take_snapshot
    from stores.dynamodb_fresh_items import DynamoDBFreshItems
    from stores.dynamodb_identities import DynamoDBIdentities

    settings.needed("data_bucket", "live_table")
    with ExitStack() as opened:
        client = opened.enter_context(closing(s3_client()))
        nights = Nights(Bucket(settings.data_bucket, client=client))
        sources = Sources(
            S3Source(f"s3://{settings.data_bucket}/{EVENT_LOG}", client),
            opened.enter_context(closing(DynamoDBFreshItems(settings.live_table))),
            opened.enter_context(closing(DynamoDBIdentities(settings.live_table))),
        )
        made = take_snapshot(nights, sources, settings, given.night, given.token, _NowAndThen(TELL_SECONDS, _line))
    report = {name: value for name, value in msgspec.structs.asdict(made.report).items() if name not in _LONG}
    verdict = {"decision": made.verdict.decision, "code": made.verdict.code, "reason": made.verdict.reason}
    return {**report, **verdict, "files_sent": len(made.sent)}


def _backfill(settings: NightSettings, given: argparse.Namespace) -> dict[str, Any]:
    """See `folder_backfill.py`."""
    from batch_job.folder_backfill import Target, backfill_folder
    from stores.dynamodb_profiles import patient_profiles

    settings.needed("data_bucket", "profiles_table")
    with closing(s3_client()) as client:
        nights = Nights(Bucket(settings.data_bucket, client=client))
        nights.check_lease(given.token)
        line = _NowAndThen(TELL_SECONDS, _line)
        lease = _NowAndThen(LEASE_SECONDS, lambda *_: nights.check_lease(given.token))

        def between(done: int, total: int, text: str) -> None:
            lease(done, total, text)
            line(done, total, text)

        target = Target(partial(patient_profiles, settings.profiles_table), min(os.cpu_count() or 1, MOST_PROCESSES))
        return {"profiles": backfill_folder(given.dataset, target, between), "processes": target.processes}


def _recommend(settings: NightSettings, given: argparse.Namespace) -> dict[str, Any]:
    """See `recommend.py`. Retrieval and re-ranking are set as those of the functions are, by the environment."""
    from batch_job.recommend import recommend_all
    from batch_job.recommend_bucket import SEND_SECONDS, KeptBatch
    from batch_job.recommend_plan import Plan, Sources, promotion_from_env
    from reranking.settings import RerankSettings
    from retrieval.settings import RetrievalSettings
    from stores.dynamodb_fresh_items import DynamoDBFreshItems
    from stores.dynamodb_identities import DynamoDBIdentities
    from stores.dynamodb_profiles import patient_profiles
    from stores.s3_releases import S3Releases

    settings.needed("data_bucket", "releases_bucket", "profiles_table", "live_table")
    promoted, promoted_share = promotion_from_env()
    plan = Plan(
        users=None if given.users == "all" else Path(given.users),
        now_seconds=int(time.time()),
        num_items=given.num_items,
        retrieval=RetrievalSettings.from_env(),
        rerank=RerankSettings.from_env(),
        promoted=promoted,
        promoted_share=promoted_share,
        processes=os.cpu_count() or 1,
        restart=given.restart,
    )
    sources = Sources(
        releases=partial(S3Releases, settings.releases_bucket, settings.home),
        profiles=partial(patient_profiles, settings.profiles_table),
        fresh_items=partial(DynamoDBFreshItems, settings.live_table),
        identities=partial(DynamoDBIdentities, settings.live_table),
    )
    line = _NowAndThen(TELL_SECONDS, _line)
    if given.name is None:
        return _plain(recommend_all(plan, sources, given.out, line))
    with closing(s3_client()) as client:
        kept = KeptBatch(given.out, Bucket(settings.data_bucket, client=client), given.name)
        (kept.clear if given.restart else kept.bring)()
        send = _NowAndThen(SEND_SECONDS, lambda *_: kept.send())

        def between(done: int, total: int, text: str) -> None:
            line(done, total, text)
            send(done, total, text)

        made = recommend_all(plan, sources, given.out, between)
        kept.finish()
    return _plain(made)


def _plain(report: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(report)
    return plain


def _forget(settings: NightSettings, given: argparse.Namespace) -> dict[str, Any]:
    """See `forget.py`. What is told of it names nobody; the certificate does."""
    from batch_job.forget import Asked, Stores, forget_everywhere
    from batch_job.forget_datasets import places_of
    from batch_job.forget_journal import BucketJournals
    from batch_job.forget_terms import FIREHOSE_SECONDS, IN_AWS
    from stores.dynamodb_identities import DynamoDBIdentities
    from stores.dynamodb_profiles import patient_profiles
    from stores.release_files import write_atomically

    settings.needed("data_bucket", "profiles_table", "live_table")
    user_id = given.user_file.read_text(encoding="utf-8").strip("\r\n")
    asked = Asked(user_id, int(time.time()), given.again, FIREHOSE_SECONDS)
    with ExitStack() as opened:
        bucket = Bucket(settings.data_bucket, client=opened.enter_context(closing(s3_client())))
        stores = Stores(
            opened.enter_context(patient_profiles(settings.profiles_table)),
            opened.enter_context(closing(DynamoDBIdentities(settings.live_table))),
            BucketJournals(bucket),
        )
        line = _NowAndThen(TELL_SECONDS, _line)
        certificate = forget_everywhere(asked, stores, places_of(Nights(bucket)), IN_AWS, line)
    given.certificate.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(given.certificate, msgspec.json.format(msgspec.json.encode(certificate)))
    return {
        "user_digest": certificate.user_digest,
        "rows": sum(one.rows for one in certificate.removed),
        "files_checked": sum(one.files for one in certificate.checked),
        "sessions": certificate.sessions,
        "complete": certificate.complete,
    }


class _NowAndThen:
    """Progress that is passed on once in a while."""

    def __init__(self, seconds: float, target: Progress) -> None:
        self._seconds, self._target = seconds, target
        self._next = time.monotonic() + seconds

    def __call__(self, done: int, total: int, text: str) -> None:
        if time.monotonic() >= self._next:
            self._target(done, total, text)
            self._next = time.monotonic() + self._seconds


def _line(done: int, total: int, text: str) -> None:
    sys.stderr.write(f"{done} of {total} {text}\n" if total else f"{done} {text}\n")


STEPS: Final[dict[str, Callable[[NightSettings, argparse.Namespace], dict[str, Any]]]] = {
    "snapshot": _snapshot,
    "backfill": _backfill,
    "recommend": _recommend,
    "forget": _forget,
}
NEEDS: Final = {
    "snapshot": ("night", "token"),
    "backfill": ("night", "token", "dataset"),
    "recommend": ("users", "out"),
    "forget": ("user_file", "certificate"),
}
"""Step → arguments without which it makes no sense."""

if __name__ == "__main__":
    sys.exit(main())
