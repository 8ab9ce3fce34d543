"""`tandem aws run-nightly | pause | resume`: a night by hand, and whether nights begin by themselves.

Parses, calls `local_mode.aws`, prints. `cli/aws.py` adds the commands to its group.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from cli.aws_options import DEFAULT_PREFIX, OutputsOption, PrefixOption, ProfileOption, RegionOption, Where
from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, err, one_of, out, say, table
from contracts.night import Accept, NightInput, Step

if TYPE_CHECKING:
    from local_mode.aws.night_machine import Execution, NightMachine
    from local_mode.aws.night_plan import Plan
    from local_mode.aws.night_run import Ended
    from local_mode.aws.pausing import Paused
    from local_mode.aws.schedule import Schedule
    from local_mode.aws.stores import AwsStores

_STEPS = ", ".join(Step)


def run_nightly(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Start nothing; say what it would do.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Start nothing; watch the one that runs.")] = False,
    begin: Annotated[str, typer.Option("--from", help=f"First step: {_STEPS}.")] = Step.SNAPSHOT,
    night: Annotated[str, typer.Option(help="Night that is gone on with; default: with --from the newest.")] = "",
    accept: Annotated[
        list[str] | None, typer.Option(help=f"What may pass this once, repeatable: {', '.join(Accept)}.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch it until it ends.")] = True,
    home: HomeOption = DEFAULT_HOME,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Run the nightly retrain now and watch it. Ctrl-C leaves it running. Exit status 1 where it fails.

    Example: tandem aws run-nightly --dry-run
    """
    one_of("--from", begin, tuple(Step))
    for each in accept or ():
        one_of("--accept", each, tuple(Accept))
    wanted = NightInput(Step(begin), night, tuple(Accept(each) for each in accept or ()))
    with Where(prefix, outputs, profile, region).stores(home) as stores:
        from local_mode.aws import night_run

        machine = night_run.machine_of(stores)
        if dry_run:
            _show_plan(stores, machine, wanted, as_json)
            return
        execution = night_run.running(machine) if follow else night_run.begin(stores, machine, wanted)
        if not (wait or follow):
            emit(as_json, execution, lambda: _draw_started(execution))
            return
        ended = _watched(stores, machine, execution)
    emit(as_json, ended, lambda: _draw_ended(ended))
    if ended.failed:
        raise typer.Exit(1)


def _watched(stores: AwsStores, machine: NightMachine, execution: Execution) -> Ended:
    from local_mode.aws.night_run import ended, follow

    try:
        say(f"{execution.name} runs: {execution.arn}")
        for entered in follow(machine, execution.arn):
            err.print(f"{entered.at - execution.begun_at:8.0f} s  {escape(entered.state)}", highlight=False)
    except KeyboardInterrupt:
        _draw_started(execution)
        raise
    return ended(stores, machine, execution.arn)


def _draw_started(execution: Execution) -> None:
    say(f"{execution.name} goes on in AWS. Watch it: tandem aws run-nightly --follow")
    say(f"Stop it: aws stepfunctions stop-execution --execution-arn {execution.arn}")


def _draw_ended(ended: Ended) -> None:
    took = f"{ended.execution.seconds:.0f} s"
    written = ended.outcome
    if ended.failed or written is None:
        err.print(f"[bold red]failed[/] after {took}: {escape(ended.message)}", highlight=False, soft_wrap=True)
        say("What serves goes on serving.")
        return
    release = f": {written.publication} serves {written.release}" if written.publication else ""
    reason = f": {written.reason}" if written.reason else ""
    say(f"{written.night} {written.outcome} after {took}{release or reason}.")


def _show_plan(stores: AwsStores, machine: NightMachine, wanted: NightInput, as_json: bool) -> None:
    from local_mode.aws.night_plan import plan

    planned = plan(stores, machine, wanted)
    emit(as_json, {"can_begin": planned.can_begin, "plan": planned}, lambda: _draw_plan(planned))


def _draw_plan(planned: Plan) -> None:
    told = [[name, escape(found)] for name, found in _situation(planned).items()]
    out.print(table("Now", ["", ""], told, right=9))
    rows = [[step.step, "yes" if step.runs else "no", escape(step.does)] for step in planned.steps]
    out.print(table(f"A night that goes on with {planned.night or 'nothing'}", ["step", "runs", ""], rows, right=9))
    for problem in planned.lacks:
        err.print(f"[bold red]missing[/] {escape(problem)}", highlight=False)
    say("It could begin now: leave out --dry-run." if planned.can_begin else "It could not begin now.")


def _situation(planned: Plan) -> dict[str, str]:
    """What a night finds, for people."""
    lease, log, trains = planned.lease, planned.log, planned.training
    held = "nobody holds it" if lease is None or lease.released else f"{lease.night} since {lease.taken_at}"
    since = f"from the day before {log.day}" if log.day else "all there is"
    return {
        "runs now": ", ".join(one.name for one in planned.running) or "no night",
        "lease": held,
        "serves": planned.serving.release if planned.serving else "nothing yet",
        "dataset": ", ".join(planned.datasets) or "none is seeded: `tandem aws seed DATASET`",
        "grows from": planned.base or "the dataset alone",
        "event log": f"{log.objects:,} objects, {log.bytes / 1e6:,.1f} MB ({since})",
        "trains on": f"{trains['instances']} {trains['instance']}{' (spot)' if trains['spot'] else ''}",
        "image": trains["image"],
    }


def pause(
    stop_running: Annotated[bool, typer.Option("--stop-running", help="Also stop the night that runs.")] = False,
    home: HomeOption = DEFAULT_HOME,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Let no night begin by itself, and say what goes on being billed; what serves goes on serving. Safe to repeat.

    Example: tandem aws pause
    """
    with Where(prefix, outputs, profile, region).stores(home) as stores:
        from local_mode.aws.pausing import pause as pause_nights

        done = pause_nights(stores, stop_running=stop_running)
    emit(as_json, done, lambda: _draw_paused(done))


def _draw_paused(done: Paused) -> None:
    say(f"Nights are off{'' if done.changed else ', as before'}; tandem aws resume turns them on again.")
    for execution in done.stopped:
        say(f"{execution.name} is stopped; nothing of it was published.")
    for execution in done.running:
        say(f"{execution.name} runs on: --stop-running stops it.")
    rows = [[escape(one.what), escape(one.why), escape(one.end)] for one in done.billed]
    out.print(table("Billed by the hour all the same", ["what", "why it stays", "what ends it"], rows, right=9))
    say("Storage is billed by its size. tandem aws cost has the figures.")


def resume(
    home: HomeOption = DEFAULT_HOME,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Let nights begin by themselves again, and say when the next one does. Safe to repeat.

    Example: tandem aws resume
    """
    with Where(prefix, outputs, profile, region).stores(home) as stores:
        from local_mode.aws.pausing import resume as resume_nights

        schedule, changed = resume_nights(stores)
    payload = {"schedule": schedule, "changed": changed, "next_run": schedule.next_run}
    emit(as_json, payload, lambda: _draw_resumed(schedule, changed))


def _draw_resumed(schedule: Schedule, changed: bool) -> None:
    say(f"Nights are on{'' if changed else ', as before'}: next {schedule.when}.")


def draw_nights(told: Mapping[str, Any]) -> None:
    """The last nights of a deployment, below its status."""
    rows = [
        [
            one.night,
            one.outcome,
            f"{datetime.fromtimestamp(one.begun_at, UTC):%Y-%m-%d %H:%M}" if one.begun_at else "",
            "" if one.seconds is None else f"{one.seconds / 60:.0f} min",
            one.release or "",
            escape(": ".join(part for part in (one.step, one.reason) if part)),
        ]
        for one in told.get("last", ())
    ]
    if rows:
        out.print(table("Last nights", ["night", "outcome", "begun (UTC)", "took", "release", ""], rows, right=9))
