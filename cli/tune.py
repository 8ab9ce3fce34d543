"""`tandem tune`: search for a better recipe than the derived one, on the tuning half of the validation slice.

Parses, calls `training_job.tuning`, writes tuned.json, prints. `cli/main.py` registers it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from cli.console import JsonFlag, emit, one_of, out, progress_bar, say, table

if TYPE_CHECKING:
    from training_job.tuning.outcome import Outcome

TunedOption = Annotated[
    Path | None, typer.Option("--tuned", help="tuned.json of `tandem tune`: train with what it found.")
]
_SHOWN: Final = 4
"""Trials in the table, as many as 80 columns hold; tuned.json and --json have all."""


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("tune")(tune)


def tune(
    dataset: Annotated[Path, typer.Argument(help="Folder with schema.toml and the tables.")],
    trials: Annotated[int, typer.Option(min=1, help="Wanted of the whole study, earlier runs included.")] = 20,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="No trial begins later than this; default: all trials.")
    ] = None,
    effort: Annotated[str, typer.Option(help="quick, standard or best: the budget of a trial.")] = "quick",
    study: Annotated[Path, typer.Option(help="File of the trials; run again, it goes on.")] = Path("tuned.study"),
    output: Annotated[Path, typer.Option("--out", help="Where the changes are written.")] = Path("tuned.json"),
    seed: Annotated[int, typer.Option(min=0, help="Of the slice, of every training and of what is drawn.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Try other recipes on the tuning half of the validation slice, and say whether one beats the derived recipe.

    Killed or out of minutes, it goes on from the study file when it is run again. Train with what it found:
    tandem train DATASET --tuned tuned.json

    Example: tandem tune dataset --trials 3
    """
    from data_sources.dataset import read_schema

    read_schema(dataset)  # a wrong path is said before torch has taken its seconds to load
    one_of("--effort", effort, ("quick", "standard", "best"))
    from data_sources.streamed import index_folder
    from stores.release_files import write_atomically
    from training_job.settings import Effort, TrainingSettings
    from training_job.tuning.search import Budget
    from training_job.tuning.search import tune as search

    settings = TrainingSettings(effort=Effort(effort), seed=seed)
    with progress_bar() as progress:
        progress(0, 1, "reading the dataset")
        indexed = index_folder(dataset)
        found = search(indexed, indexed.interactions, settings, study, Budget(trials, minutes), progress)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, msgspec.json.format(msgspec.json.encode(found), indent=2))
    emit(as_json, found, lambda: _draw(found, output))


def tuned_text(path: Path | None, effort: str) -> str:
    """What the settings of a training carry of a tuned.json; nothing of none. Raises SettingsInvalid."""
    if path is None:
        return ""
    from training_job.tuned import RecipeChanges, TunedFile

    file = TunedFile.read(path)
    if file.effort not in ("", effort):
        say(f"{path} was tuned at effort {file.effort}; another budget may want other changes.")
    return RecipeChanges(file.changes).text


def _draw(found: Outcome, output: Path) -> None:
    """The best trials beside the default, a column each, and what to do."""
    from training_job.tuned import RecipeChanges

    default = [trial for trial in found.trials if trial.number == 1]
    best = [trial for trial in found.trials if trial.number > 1][:_SHOWN]
    shown = default + best
    rows = [
        ["NDCG@20", *(f"{trial.ndcg:.4f}" for trial in shown)],
        ["gain", "", *(f"{trial.gain.mean:+.4f}" for trial in best)],
        ["± standard error", "", *(f"{trial.gain.standard_error:.4f}" for trial in best)],
        ["seconds", *(f"{trial.seconds:.1f}" for trial in shown)],
        *([name, *(f"{trial.changes.get(name, of):g}" for trial in shown)] for name, of in found.derived.items()),
    ]
    trials = len(found.trials) + found.pruned
    title = f"{trials} trials judged by {found.users} tuning users, {found.pruned} stopped early"
    out.print(table(title, ["", "default", *(f"trial {trial.number}" for trial in best)], rows))
    luck = f"by more than {found.errors_needed:.1f} standard errors, which luck hardly would"
    if found.changes:
        say(f"It beats the default {luck}. Next: tandem train DATASET --effort {found.effort} --tuned {output}")
        say(f"In AWS: -c tuned={RecipeChanges(found.changes).text}")
    else:
        say(f"Nothing beats the default {luck}: {output} changes nothing.")
