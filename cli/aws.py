"""`tandem aws doctor | seed | publish | rollback | repair`: getting a deployment to serve, and putting it right.

Parses, calls `local_mode.aws`, prints; `cli/aws_daily.py` has the commands that only look and ask, `cli/aws_nights.py`
and `cli/aws_train.py` those of the nightly retrain, `cli/aws_jobs.py` jobs that somebody asks for, `cli/rehearsal.py`
and `cli/nightly_rehearsal.py` need no account, `cli/aws_cost.py` what it costs and `cli/aws_leftovers.py` what is left
of it. `cli/main.py` registers all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cli import aws_cost, aws_daily, aws_jobs, aws_leftovers, aws_nights, aws_train, nightly_rehearsal, rehearsal
from cli.aws_options import (
    DEFAULT_PREFIX,
    EngineAboveOption,
    OutputsOption,
    PrefixOption,
    ProfileOption,
    RegionOption,
    Where,
)
from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, one_of, out, progress_bar, say
from cli.profiles import DryRunFlag, RebuildFlag, SinceOption, draw_repair, first_day
from cli.run import draw_gate
from contracts.fitted import HEAD_ITEMS
from contracts.release import MODELS

if TYPE_CHECKING:
    from local_mode.aws.findings import Finding
    from local_mode.aws.seed import Seeded

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="A deployment in AWS: the first day and every other.", no_args_is_help=True)
    asking = (aws_daily.recommend, aws_daily.events, aws_daily.status, aws_daily.logs)
    nights = (aws_nights.run_nightly, aws_nights.pause, aws_nights.resume, aws_train.train)
    jobs, owning = (aws_jobs.batch, aws_jobs.forget), (aws_cost.cost, aws_leftovers.leftovers)
    starting, putting_right = (doctor, seed, *asking), (publish, rollback, repair)
    commands: tuple[Callable[..., None], ...] = (*starting, *putting_right, *nights, *jobs, *owning)
    for command in commands:
        group.command(command.__name__.replace("_", "-"))(command)
    group.command("rehearse-serving")(rehearsal.rehearse_serving)
    group.command("nightly-rehearsal")(nightly_rehearsal.nightly_rehearsal)
    app.add_typer(group, name="aws")


def doctor(
    target: Annotated[str, typer.Option("--for", help="Profile to be deployed: mini, dev or prod.")] = "dev",
    image: Annotated[str, typer.Option(help="Training container; default: AWS's own of the region.")] = "",
    instance: Annotated[
        str, typer.Option(help="Training instance; default: ml.m5.xlarge, for prod ml.g4dn.xlarge.")
    ] = "",
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Examine account and machine before a deployment, with the fix of what is missing. Exit status 1 where one fails.

    Example: tandem aws doctor
    """
    from local_mode.aws.doctor import examine
    from local_mode.aws.findings import PROFILES, Status, Wanted

    one_of("--for", target, PROFILES)
    findings = examine(profile, region, Wanted(target, image, instance, Path.cwd()))
    ok = all(finding.status is not Status.FAIL for finding in findings)
    emit(as_json, {"ok": ok, "checks": findings}, lambda: _print_findings(findings))
    if not ok:
        raise typer.Exit(1)


def _print_findings(findings: list[Finding]) -> None:
    for finding in findings:
        colour = _COLOURS[finding.status]
        out.print(f"[{colour}]{finding.status:4}[/] [bold]{finding.name}[/] {escape(finding.found)}", highlight=False)
        if finding.fix:
            out.print(f"     fix: {escape(finding.fix)}", highlight=False, soft_wrap=True)  # to be copied as a line


def seed(
    dataset: Annotated[Path, typer.Argument(help="Folder with schema.toml and the tables.")],
    effort: Annotated[str, typer.Option(help="quick, standard or best: the budget, nothing else.")] = "standard",
    name: Annotated[str, typer.Option(help="Of the dataset in the data bucket; default: its folder's.")] = "",
    engine_above: EngineAboveOption = HEAD_ITEMS,
    home: HomeOption = DEFAULT_HOME,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Train on this machine and make a deployment serve it: release, index, profiles and dataset go to AWS.

    Killed half-way it goes on where it was when it is run again; once done it does nothing.

    Example: tandem aws seed dataset --effort quick
    """
    from data_sources.dataset import read_schema

    read_schema(dataset)  # a wrong path is said before torch has taken its seconds to load
    with Where(prefix, outputs, profile, region).stores(home) as stores, progress_bar() as progress:
        from local_mode.aws.seed import seed as seed_deployment
        from training_job.settings import Effort, TrainingSettings

        one_of("--effort", effort, tuple(Effort))
        settings = TrainingSettings(effort=Effort(effort))
        done = seed_deployment(dataset, stores, settings, name=name, engine_above=engine_above, progress=progress)
    emit(as_json, done, lambda: _draw_seeded(done))


def _draw_seeded(done: Seeded) -> None:
    if done.done_before:
        say(f"Seeded with {done.release} before; {done.publication.id} of {done.publication.release} serves.")
        return
    draw_gate(done.gate)
    took = ", ".join(f"{step} {value:.1f} s" for step, value in done.seconds.items())
    say(f"{done.publication.id} serves {done.release} ({took}).")
    say("Next: tandem aws recommend --user-id …, tandem aws status.")


def publish(
    release: Annotated[str, typer.Argument(help="Release id, see `tandem aws status`.")],
    model: Annotated[str, typer.Option(help=f"Which model answers: {' or '.join(MODELS)}.")] = MODELS[0],
    engine_above: EngineAboveOption = HEAD_ITEMS,
    home: HomeOption = DEFAULT_HOME,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Publish a sealed release in AWS by hand, past the gate (it is still verified).

    Example: tandem aws publish r20261101T020000-1a2b3c4d
    """
    one_of("--model", model, MODELS)
    with Where(prefix, outputs, profile, region).stores(home) as stores, progress_bar() as progress:
        from local_mode.aws.operate import publish as publish_release

        moved = publish_release(stores, release, model, engine_above=engine_above, progress=progress)
    emit(as_json, moved, lambda: say(f"{moved.id} serves {moved.release} ({model})."))


def rollback(
    to: Annotated[str | None, typer.Option(help="Publication id; default: the one before the current.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also where the search domain cannot be asked.")] = False,
    home: HomeOption = DEFAULT_HOME,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Serve an earlier publication in AWS again; its release and its index are looked at first.

    Example: tandem aws rollback
    """
    with Where(prefix, outputs, profile, region).stores(home) as stores:
        from local_mode.aws.operate import rollback as roll_back

        moved = roll_back(stores, to, force=force)
    emit(as_json, moved, lambda: say(f"{moved.id} serves {moved.release} again."))


def repair(
    since: SinceOption = None,
    rebuild: RebuildFlag = False,
    dry_run: DryRunFlag = False,
    home: HomeOption = DEFAULT_HOME,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Add to the profiles of a deployment what its event log has and they lack. Safe to repeat, and while it serves.

    Exit status 1 where a user's profile could not be changed.

    Example: tandem aws repair --dry-run
    """
    day = first_day(since, rebuild)
    with Where(prefix, outputs, profile, region).stores(home) as stores, progress_bar() as progress:
        from local_mode.aws.operate import repair as repair_deployment

        done = repair_deployment(stores, day, rebuild=rebuild, dry_run=dry_run, progress=progress)
    emit(as_json, done, lambda: draw_repair(done, dry_run))
    if done.failed:
        raise typer.Exit(1)
