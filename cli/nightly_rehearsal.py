"""`tandem aws nightly-rehearsal`: two nights of the synthesised state machine on this machine, with real data.

Builds what is deployed for this machine, synthesises the stacks, fills the stand-ins for AWS as `tandem aws seed` fills
a deployment, and runs the nights state by state. `cli/aws.py` registers it.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import JsonFlag, emit, one_of, out, progress_bar, say, table

if TYPE_CHECKING:
    from local_mode.rehearsal.deployed import Night
    from local_mode.rehearsal.night import Passage
    from local_mode.rehearsal.two_nights import TwoNights

SHOWN = 0.1
"""Seconds in a state, in the table at the end."""
STATES_THAT_WORK = ("Task", "Map", "Wait")
"""Types of states that are shown; the others choose and name, in no time."""


def nightly_rehearsal(
    data: Annotated[
        Path | None, typer.Option(help="MovieLens folder, LightGCN folder, sequences file or dataset; else generated.")
    ] = None,
    effort: Annotated[str, typer.Option(help="Of the nights: quick, standard or best.")] = "standard",
    as_json: JsonFlag = False,
) -> None:
    """Run two nights here, from the schedule's empty input to a release that serves, and roll back to the first.

    The state machine is the one that the stacks deploy; functions, jobs and stores are real as far as they run
    anywhere. Nothing is left behind. Exit status 1 where a night does not keep what it promises.

    Example: tandem aws nightly-rehearsal --data ../shared/data/ml-100k
    """
    from local_mode.demo import prepare
    from local_mode.rehearsal.deployed import Deployed
    from local_mode.rehearsal.newcomers import Shop
    from local_mode.rehearsal.night import nights_of
    from local_mode.rehearsal.recent import recent
    from local_mode.rehearsal.seeded import seed_with, stores_of
    from local_mode.rehearsal.serving import behind_a_gateway, functions_of
    from local_mode.rehearsal.stand_ins import stand_ins
    from local_mode.rehearsal.synthesis import context_of, synthesise
    from local_mode.rehearsal.two_nights import Rehearsal, two_nights
    from training_job.settings import Effort

    one_of("--effort", effort, tuple(Effort))
    say("Building what is deployed, for this machine …")
    serving, night, jobs = built()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tandem-nights-")))
        say("Synthesising the stacks …")
        assembly = synthesise(folder / "cdk", context_of(serving, night, jobs, effort=effort))
        say("Starting DynamoDB Local, OpenSearch and moto …")
        standing = stack.enter_context(stand_ins(folder))
        dataset = recent(prepare(folder, data, 0, say), folder / "recent" / "shop")
        stores = stack.enter_context(stores_of(standing, folder))
        with progress_bar() as progress:
            seed_with(stores, dataset, progress)
        functions = stack.enter_context(functions_of(serving, standing, folder))
        api = stack.enter_context(behind_a_gateway(functions))
        deployed = Deployed(assembly, standing)
        nights = stack.enter_context(nights_of(deployed, standing, night, folder / "night"))
        shop = Shop(api.url, dataset, stores.data)
        done = two_nights(Rehearsal(nights, stores, shop, lambda passage: _show(passage, deployed.night), say))
    show(as_json, done)


def show(as_json: bool, done: TwoNights) -> None:
    """What was seen, as JSON or as a table of seconds and the promises that were kept."""
    emit(as_json, done, lambda: _draw(done))


def built() -> tuple[Path, Path, Path]:
    """The bundles of the API and of the night's functions, and the archive of its jobs, built for this machine."""
    from infra.bundle.build import REPOSITORY, Recipe, beside, build
    from infra.bundle.contents import JOBS, NIGHT, SERVING
    from infra.bundle.target import host_target

    folders = []
    for contents in (SERVING, NIGHT, JOBS):
        folders.append(REPOSITORY / contents.folder(host=True))
        build(Recipe(host_target(), contents), folders[-1])
    serving, night, jobs = folders
    return serving, night, beside(jobs, JOBS.packed)


def _show(passage: Passage, night: Night) -> None:
    """A line as a state is entered, and one with its seconds as it is left."""
    if night.states.get(passage.state, {}).get("Type", "Task") not in STATES_THAT_WORK:
        return
    if passage.what == "entered":
        say(f"  → {passage.state}")
    elif passage.what == "left":
        say(f"  ✓ {passage.state} {passage.seconds:.1f} s")
    else:
        say(f"  ✗ {passage.state} {passage.seconds:.1f} s: {passage.detail}")


def _draw(done: TwoNights) -> None:
    longest = {state: max(night.states.get(state, 0.0) for night in done.nights) for state in done.nights[0].states}
    states = [state for state, seconds in longest.items() if seconds >= SHOWN]
    rows = [[state, *(f"{night.states.get(state, 0.0):.1f}" for night in done.nights)] for state in states]
    rows.append(["the whole night", *(f"{night.seconds:.1f}" for night in done.nights)])
    out.print(table("Seconds by state", ["state", *(night.outcome.night for night in done.nights)], rows))
    for promise in done.checked:
        out.print(f"✓ {promise}", highlight=False)
