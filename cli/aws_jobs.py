"""`tandem aws batch | forget`: jobs in the account that somebody asks for, on what the deployment has.

Parses, calls `local_mode.aws`, prints. `cli/aws.py` adds the commands to its group.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cli.aws_options import DEFAULT_PREFIX, OutputsOption, PrefixOption, ProfileOption, RegionOption, Where
from cli.batch import EVERYBODY, UsersOption, draw_batch
from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, err, say
from cli.forget import hand_over
from contracts.errors import JobFailed

if TYPE_CHECKING:
    from local_mode.aws.account import Account


def batch(
    users: UsersOption,
    name: Annotated[str, typer.Option("--name", help="Of the folder; a batch that broke off goes on under its name.")],
    num_items: Annotated[int, typer.Option(min=1, max=100, help="Places of each slate.")] = 10,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew, whatever is there under this name.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Print its lines until it ends.")] = True,
    home: HomeOption = DEFAULT_HOME,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Recommendations for many users as Parquet, by a job in SageMaker: s3://DATA-BUCKET/recommendations/NAME/.

    Ctrl-C leaves the job running. Read the parts once _SUCCESS is there.

    Example: tandem aws batch --users all --name newsletter-48
    """
    from local_mode.aws.batch_run import BatchAsked, batch_done, remove_given, start_batch

    asked = BatchAsked(name, None if users == EVERYBODY else Path(users), num_items, restart)
    with Where(prefix, outputs, profile, region).stores(home) as stores:
        begun, job = time.monotonic(), start_batch(stores, asked)
        where = stores.data.url(asked.prefix)
        if not wait:
            emit(as_json, {"job": job, "folder": where}, lambda: say(f"{job} makes them; they will lie at {where}"))
            return
        try:
            _watch(stores.account, job)
        except JobFailed:
            remove_given(stores, asked)
            raise
        done, seconds = batch_done(stores, asked), time.monotonic() - begun
        remove_given(stores, asked)
    payload = {"job": job, "folder": where, "batch": done, "seconds": round(seconds, 1)}
    emit(as_json, payload, lambda: draw_batch(done, where, seconds))


def forget(
    user: Annotated[str, typer.Argument(help="Id of the user.")],
    certificate: Annotated[str, typer.Option(help="File for the certificate, as JSON; - is stdout.")],
    again: Annotated[
        bool, typer.Option("--again", help="As of now, although they left before; else what they did since stays.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Forget a user of a deployment: at once for everybody who asks, then by a job in every file; and certify it.

    Not while a night runs. Killed, run it again: it goes on. Exit status 1 where something is still pending, as it is
    within the minutes in which events may be on their way to the log: run it again then.

    Example: tandem aws forget u00042 --certificate u00042.json
    """
    from local_mode.aws.forget_run import bring_certificate, leave_at_once, remove_traces, start_forgetting

    with Where(prefix, outputs, profile, region).stores(home) as stores:
        forgetting = leave_at_once(stores, user, again=again)
        say("They have left: nothing of them is served, counted or trained on any more. Files are next …")
        try:
            _watch(stores.account, start_forgetting(stores, user, forgetting))
        except JobFailed:
            remove_traces(stores, forgetting)
            raise
        done = bring_certificate(stores, forgetting)
    hand_over(done, certificate, as_json=as_json)


def _watch(account: Account, job: str) -> None:
    from local_mode.aws.job_watch import JobKind, follow

    try:
        say(f"{job} is on its way.")
        for news in follow(account, job, JobKind.PROCESSING):
            err.print(escape(news.text) if news.is_log else f"[bold]{escape(news.text)}[/]", highlight=False)
    except KeyboardInterrupt:
        say(f"{job} goes on. Stop it: aws sagemaker stop-processing-job --processing-job-name {job}")
        raise
