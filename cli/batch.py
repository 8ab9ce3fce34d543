"""`tandem batch`: recommendations for many users at once, to files.

Parses, calls `batch_job`, prints. `cli/main.py` registers it.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, out, progress_bar, say, table

if TYPE_CHECKING:
    from contracts.batch import BatchDone

EVERYBODY = "all"

UsersOption = Annotated[
    str,
    typer.Option(
        "--users",
        help="Everybody with a profile (all), or a file: one id a line, or CSV, Parquet or JSONL with user_id.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the parts; a batch that was killed goes on in it.")]


def register(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command("batch")(batch)


def batch(
    users: UsersOption,
    folder: OutOption,
    num_items: Annotated[int, typer.Option(min=1, max=100, help="Places of each slate.")] = 10,
    processes: Annotated[int, typer.Option(min=1, help="That work at once.")] = os.cpu_count() or 1,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, whatever the folder holds of an earlier batch.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Write what each user would be recommended now as Parquet, from the release that serves.

    Killed, run it again: finished parts stay. Read the parts once _SUCCESS is there: DIR/part-*.parquet.

    Example: tandem batch --users all --out recommendations
    """
    from batch_job.recommend import recommend_all
    from batch_job.recommend_plan import Plan, Sources
    from lambda_user_tower.settings import LambdaSettings
    from stores.fresh_items import SqliteFreshItems
    from stores.identities import SqliteIdentities
    from stores.profiles import SqliteProfiles
    from stores.releases import LocalReleases

    settings = LambdaSettings.from_env()
    plan = Plan(
        users=None if users == EVERYBODY else Path(users),
        now_seconds=int(time.time()),
        num_items=num_items,
        retrieval=settings.retrieval,
        rerank=settings.rerank,
        promoted=settings.promoted_filters(),
        promoted_share=settings.promoted_share,
        processes=processes,
        restart=restart,
    )
    sources = Sources(
        releases=partial(LocalReleases, home),
        profiles=partial(SqliteProfiles, home / "profiles.sqlite"),
        fresh_items=partial(SqliteFreshItems, home / "live.sqlite"),
        identities=partial(SqliteIdentities, home / "live.sqlite"),
    )
    begun = time.monotonic()
    with progress_bar() as progress:
        done = recommend_all(plan, sources, folder, progress)
    seconds = time.monotonic() - begun
    payload = {"batch": done, "seconds": round(seconds, 1)}
    emit(as_json, payload, lambda: draw_batch(done, folder, seconds))


def draw_batch(done: BatchDone, folder: Path | str, seconds: float) -> None:
    """What is in the folder now."""
    counts, manifest = done.counts, done.manifest
    rows = [
        ("users with recommendations", counts.users),
        *((f"… by route {route}", number) for route, number in counts.routes.items()),
        ("recommendations", counts.rows),
        ("users left out: they left", counts.left),
        ("anonymous sessions left out", manifest.anonymous),
        ("users for whom nothing was eligible", counts.without_items),
        ("users whose profile could not be read", counts.unreadable),
        ("parts", manifest.parts),
        ("… made by this run", done.parts_made),
    ]
    shown = [[name, f"{number:,}"] for name, number in rows]
    out.print(table(f"Recommendations in {folder}", ["", "number"], shown))
    say(f"Of publication {manifest.publication}, release {manifest.release}, in {seconds:.1f} s.")
