"""`tandem aws rehearse-serving`: the deployed serving half on this machine, with real data.

Builds the bundle for this machine, fills the stand-ins for AWS as `tandem aws seed` fills a deployment, and calls the
API as its callers will. `cli/aws.py` registers it.
"""

from __future__ import annotations

import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import JsonFlag, emit, out, progress_bar, say
from cli.serving import draw_slate

if TYPE_CHECKING:
    from local_mode.rehearsal.walk import Step


def rehearse_serving(
    data: Annotated[
        Path | None, typer.Option(help="MovieLens folder, LightGCN folder, sequences file or dataset; else generated.")
    ] = None,
    user_id: Annotated[str, typer.Option(help="Who walks through the API.")] = "rehearsal-user",
    port: Annotated[int, typer.Option(help="Port on the loopback address; 0: a free one.")] = 8080,
    once: Annotated[bool, typer.Option("--once", help="End after the walk instead of serving until Ctrl-C.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run what is deployed here: the bundle under AWS's runtime client, DynamoDB Local, OpenSearch, moto for the rest.

    Example: tandem aws rehearse-serving --once
    """
    from infra.bundle.build import REPOSITORY, Recipe, build
    from infra.bundle.target import host_target
    from local_mode.rehearsal.newcomers import popular_item
    from local_mode.rehearsal.seeded import seeded
    from local_mode.rehearsal.serving import behind_a_gateway, functions_of
    from local_mode.rehearsal.stand_ins import stand_ins
    from local_mode.rehearsal.tested import ask, begin, check_logs, end, names
    from local_mode.rehearsal.walk import live_walk, walk

    say("Building the bundle for this machine …")
    bundle = REPOSITORY / "build" / "serving-host"
    report = build(Recipe(host_target()), bundle)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tandem-rehearsal-")))
        say("Starting DynamoDB Local, OpenSearch and moto …")
        standing = stack.enter_context(stand_ins(folder))
        with progress_bar() as progress:
            dataset, done = seeded(standing, folder, data, say, progress)
        functions = stack.enter_context(functions_of(bundle, standing, folder))
        api = stack.enter_context(behind_a_gateway(functions, port))
        begin(api.url)
        tested = ask(api.url, names("visitor"))
        end(api.url)
        steps = [*walk(api.url, user_id), *live_walk(api.url, user_id, *popular_item(dataset))]
        checked = [*check_logs(tested)]
        experiment = {"arms": tested.arms, "checked": checked}
        payload = {"url": api.url, "bundle": report, "seeded": done, "steps": steps, "experiment": experiment}
        emit(as_json, payload, lambda: _draw(steps, tested.arms, checked))
        if not once:
            _until_stopped(api.url)


def _draw(steps: list[Step], arms: dict[str, str], checked: Sequence[str]) -> None:
    for step in steps:
        out.print(f"[bold]{step.what}[/]")
        out.print(step.command, markup=False, highlight=False, soft_wrap=True)
        _draw_answer(step.answer, step.what)
    counted = ", ".join(f"{count} users in {arm}" for arm, count in sorted(Counter(arms.values()).items()))
    out.print(f"✓ an experiment: {counted}, before it was ended", highlight=False)
    for promise in checked:
        out.print(f"✓ {promise}", highlight=False)


def _draw_answer(answer: dict[str, Any], what: str) -> None:
    if "items" in answer:
        draw_slate(answer, what, {})
    else:
        out.print(answer.get("counts", answer))


def _until_stopped(url: str) -> None:
    say(f"The API answers at {url} until Ctrl-C; the commands above work with any user.")
    stop = threading.Event()
    before = {sign: signal.signal(sign, lambda *_: stop.set()) for sign in (signal.SIGINT, signal.SIGTERM)}
    stop.wait()
    for sign, action in before.items():
        signal.signal(sign, action)
