"""`tandem forget`: a user leaves, from everything that is on this machine, with a certificate of it.

Parses, calls `batch_job`, prints. `cli/main.py` registers it; the command for AWS hands a certificate over
by `hand_over`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, out, progress_bar, say, table

if TYPE_CHECKING:
    from contracts.certificate import Certificate

STDOUT = "-"


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command("forget")(forget)


def forget(
    user: Annotated[str, typer.Argument(help="Id of the user.")],
    certificate: Annotated[str, typer.Option(help="File for the certificate, as JSON; - is stdout.")],
    dataset: Annotated[
        list[Path] | None, typer.Option(help="A dataset folder to take them out of, too; may be repeated.")
    ] = None,
    batch: Annotated[
        list[Path] | None, typer.Option(help="A folder of `tandem batch` to take them out of; may be repeated.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="As of now, although they left before; else what they did since stays.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Forget a user: profile, logs, their sessions, datasets; look that nothing is left, and certify it.

    Safe beside a running server. Killed, run it again: it goes on. Exit status 1 where something is still pending.

    Example: tandem forget u00042 --certificate u00042.json
    """
    from batch_job.forget import Asked, Stores, forget_everywhere
    from batch_job.forget_journal import FolderJournals
    from batch_job.forget_places import BatchOutput, Place, dataset_folder, local_logs, one_at_a_time
    from batch_job.forget_terms import LOCALLY
    from stores.identities import SqliteIdentities
    from stores.live_file import LIVE_FILE
    from stores.profiles import SqliteProfiles

    now = int(time.time())
    places: list[Place] = [*local_logs(home, now)]
    places += [dataset_folder(folder) for folder in dataset or ()]
    places += [BatchOutput(folder) for folder in batch or ()]
    with (
        one_at_a_time(home),
        SqliteProfiles(home / "profiles.sqlite") as profiles,
        SqliteIdentities(home / LIVE_FILE) as identities,
        progress_bar() as progress,
    ):
        stores = Stores(profiles, identities, FolderJournals(home / "forgotten"))
        done = forget_everywhere(Asked(user, now, again), stores, places, LOCALLY, progress)
    hand_over(done, certificate, as_json=as_json)


def hand_over(done: Certificate, certificate: str, *, as_json: bool) -> None:
    """Write a certificate where it was asked for, and print it. Exit status 1 where something is still pending."""
    import msgspec

    from stores.release_files import write_atomically

    text = msgspec.json.format(msgspec.json.encode(done))
    if certificate == STDOUT and not as_json:
        sys.stdout.write(text.decode() + "\n")
    else:
        if certificate != STDOUT:
            write_atomically(Path(certificate), text + b"\n")
        emit(as_json, done, lambda: draw_certificate(done))
    if not done.complete:
        raise typer.Exit(1)


def draw_certificate(done: Certificate) -> None:
    """Print what was removed from where, that it is gone, and what is left."""
    out.print(f"{done.user_id} left at {done.left_at}; this was written at {done.made_at}.", highlight=False)
    rows = [["profile", "", "", "removed" if done.profile else "nothing was left of it"]]
    rows += [["sessions of theirs", "", "", f"{done.sessions:,}"]]
    rows += [[one.kind, one.where, f"{one.files:,}", f"{one.rows:,} rows"] for one in done.removed]
    out.print(table("Removed", ["what", "where", "files", ""], rows, right=2))
    rows = [[one.kind, one.where, f"{one.files:,}", f"{one.rows_since:,} rows"] for one in done.checked]
    out.print(table("Read again: nothing from before is left", ["what", "where", "files", "since they left"], rows, 2))
    rows = [[one.what, one.until] for one in done.remains]
    out.print(table("What is left, and until when", ["what", "until"], rows, right=9))
    for text in done.pending:
        say(f"Pending: {text}.")
