"""`tandem profiles …`: what serving knows of users, put right from the event log.

Parses, calls `batch_job`, prints. `cli/main.py` registers it; the commands for AWS draw a repair with `draw_repair`.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, out, progress_bar, say, table

if TYPE_CHECKING:
    from batch_job.repair import Repair

SinceOption = Annotated[
    datetime | None,
    typer.Option("--since", formats=["%Y-%m-%d"], help="Only events that arrived on this day (UTC) or later."),
]
RebuildFlag = Annotated[
    bool,
    typer.Option("--rebuild", help="Profiles of the users in the log say what the whole log says, and nothing else."),
]
DryRunFlag = Annotated[bool, typer.Option("--dry-run", help="Count what would change, and change nothing.")]

DAMAGE_SHOWN = 10
"""Of damaged objects; --json lists all."""


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="Profiles: what serving knows of each user.", no_args_is_help=True)
    group.command()(repair)
    app.add_typer(group, name="profiles")


def repair(
    since: SinceOption = None,
    rebuild: RebuildFlag = False,
    dry_run: DryRunFlag = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Add to the profiles what the event log has and they lack. Safe to repeat, and beside a running server.

    Exit status 1 where a user's profile could not be changed.

    Example: tandem profiles repair --dry-run
    """
    from batch_job.log_sources import FolderSource
    from batch_job.repair import Plan, repair_profiles
    from lambda_user_tower.settings import LambdaSettings
    from stores.identities import SqliteIdentities
    from stores.live_file import LIVE_FILE
    from stores.profiles import SqliteProfiles
    from stores.releases import LocalReleases

    releases = LocalReleases(home)
    plan = Plan(
        releases.open_catalogue(releases.serving().publication.release).schema,
        LambdaSettings.from_env().event_max_age_days,
        first_day(since, rebuild),
        rebuild,
        dry_run,
    )
    with (
        SqliteProfiles(home / "profiles.sqlite") as store,
        SqliteIdentities(home / LIVE_FILE) as identities,
        progress_bar() as progress,
    ):
        done = repair_profiles(FolderSource(home / "events"), store, plan, progress, identities)
    emit(as_json, done, lambda: draw_repair(done, plan.dry_run))
    if done.failed:
        raise typer.Exit(1)


def first_day(since: datetime | None, rebuild: bool) -> date | None:
    """The day of --since. A part of the log says nothing of the rest of a profile: not together with --rebuild."""
    if since is not None and rebuild:
        raise typer.BadParameter("a rebuild needs the whole log", param_hint="--since")
    return since.date() if since else None


def draw_repair(done: Repair, dry_run: bool) -> None:
    """Print what was found and done."""
    reading = done.reading
    rows = [
        ("objects of the log", reading.objects),
        ("events", reading.events),
        ("… repeated", done.repeated),
        ("… of items that were not known", done.unknown_items),
        ("… too old when they came", done.too_old),
        ("… from before their user left", done.departed),
        ("… of sessions that are a user's, for the next night", done.claimed),
        ("unfinished last lines", reading.unfinished),
        ("damaged objects", len(reading.damaged)),
        ("users", done.users),
        ("users to change" if dry_run else "users changed", done.users_changed),
        ("events to add" if dry_run else "events added", done.events_added),
        *((f"users failed: {code}", count) for code, count in done.failed.items()),
    ]
    out.print(table("Profiles from the event log", ["", "number"], [[name, f"{number:,}"] for name, number in rows]))
    for damage in reading.damaged[:DAMAGE_SHOWN]:
        what = f"{damage.lines} lines" if damage.lines else "unreadable"
        say(f"{damage.object}: {what}: {damage.reason}")
    if (more := len(reading.damaged) - DAMAGE_SHOWN) > 0:
        say(f"… and {more} more; --json lists them.")
