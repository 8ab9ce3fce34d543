"""`tandem aws train`: one training in SageMaker, from this machine, on what the deployment has.

Parses, calls `local_mode.aws`, prints. `cli/aws.py` adds the command to its group.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from cli.aws_options import DEFAULT_PREFIX, OutputsOption, PrefixOption, ProfileOption, RegionOption, Where
from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, err, one_of, say
from cli.tune import TunedOption, tuned_text

if TYPE_CHECKING:
    from local_mode.aws.account import Account
    from local_mode.aws.stores import AwsStores
    from local_mode.aws.training_run import Started
    from local_mode.aws.training_source import Source

_DEPLOYED = "default: as deployed."


def train(
    night: Annotated[str, typer.Option(help="Night whose snapshot is trained on; default: the newest checked.")] = "",
    dataset: Annotated[str, typer.Option(help="A seeded dataset by its name, instead of a snapshot.")] = "",
    effort: Annotated[str, typer.Option(help="quick, standard or best: the budget, nothing else.")] = "standard",
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
    deterministic: Annotated[bool, typer.Option("--deterministic", help="The same bytes twice; slower.")] = False,
    tuned: TunedOption = None,
    instance: Annotated[str, typer.Option(help=f"Training instance; {_DEPLOYED}")] = "",
    count: Annotated[int, typer.Option(min=0, help=f"How many; 0, the {_DEPLOYED}")] = 0,
    image: Annotated[str, typer.Option(help="Training container; default: as deployed, or AWS's own for a GPU.")] = "",
    spot: Annotated[
        bool | None, typer.Option("--spot/--no-spot", help=f"A third of the price, may be interrupted; {_DEPLOYED}")
    ] = None,
    code: Annotated[
        Path | None, typer.Option(help="Archive of the code; default: what `make build` made here.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Print its lines until it ends.")] = True,
    home: HomeOption = DEFAULT_HOME,
    prefix: PrefixOption = DEFAULT_PREFIX,
    outputs: OutputsOption = None,
    profile: ProfileOption = None,
    region: RegionOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Train once in SageMaker with the code of this checkout, and publish nothing. Ctrl-C leaves the job running.

    Example: tandem aws train --effort quick --no-wait
    """
    if night and dataset:
        raise typer.BadParameter("give --night or --dataset, not both", param_hint="--dataset")
    with Where(prefix, outputs, profile, region).stores(home) as stores:
        from local_mode.aws.training_run import ARCHIVE, Request, image_for, start
        from training_job.settings import Effort, TrainingSettings

        one_of("--effort", effort, tuple(Effort))
        deployed = stores.deployment
        deployed.needed("training_role", "training_image", "training_instance")
        chosen = instance or deployed.training_instance
        request = Request(
            source=_source(stores, night, dataset),
            settings=TrainingSettings(Effort(effort), seed, deterministic, tuned=tuned_text(tuned, effort)),
            image=image or image_for(deployed, stores.account.named_region(), chosen),
            instance=chosen,
            instances=count or int(deployed.training_instances or 1),
            spot=deployed.training_spot != "false" if spot is None else spot,
            archive=code or ARCHIVE,
        )
        say(f"Training on {request.source.uri} …")
        started = start(stores.account, deployed, request)
        if wait:
            _watch(stores.account, started)
    emit(as_json, started, lambda: _draw(started, wait))


def _source(stores: AwsStores, night: str, dataset: str) -> Source:
    from local_mode.aws.training_source import dataset_source, snapshot_source
    from stores.nights import Nights

    return dataset_source(stores.data, dataset) if dataset else snapshot_source(Nights(stores.data), night)


def _watch(account: Account, started: Started) -> None:
    from local_mode.aws.job_watch import follow

    try:
        say(f"{started.job} trains on {started.instances} {started.instance}{' (spot)' if started.spot else ''}.")
        for news in follow(account, started.job):
            err.print(escape(news.text) if news.is_log else f"[bold]{escape(news.text)}[/]", highlight=False)
    except KeyboardInterrupt:
        say(f"{started.job} goes on. Stop it: aws sagemaker stop-training-job --training-job-name {started.job}")
        raise


def _draw(started: Started, waited: bool) -> None:
    say(f"{started.job} {'has trained' if waited else 'trains'}; its model {'lies' if waited else 'will lie'} at")
    say(started.model)
    say(f"Next{'' if waited else ', once it is done'}: {started.next}")
