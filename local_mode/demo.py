"""The whole loop, shown: data → check → train → gate → publish → recommendations → evaluation.

Without data it generates a world; with data it recognises what the folder holds and imports it. Everything runs
through the functions that the single commands call. `tandem demo` prints what this returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from contracts.errors import DatasetError
from data_sources.checks import Status
from data_sources.dataset import TRAINING_COLUMNS, open_dataset
from data_sources.doctor import Diagnosis, diagnose
from data_sources.generator import WorldSettings, generate
from data_sources.importers.lightgcn import import_lightgcn
from data_sources.importers.movielens import import_movielens
from data_sources.importers.sequences import import_sequences
from data_sources.indexed import IndexedDataset, index_dataset
from evaluation.result import Evaluation
from local_mode.asking import ask, titles
from local_mode.engine import Index, engine_client
from local_mode.publishing import Progress, StepClock
from local_mode.retrain import Retrained, retrain
from retrieval.settings import RetrievalSettings
from training_job.backtest import judge_fitted
from training_job.settings import TrainingSettings

WORLD: Final = WorldSettings(users=2_000, items=500)
"""Small enough for a minute on two cores, large enough that the towers beat popularity beyond doubt."""

_MOVIELENS_FILES: Final = ("u.data", "ratings.dat", "ratings.csv")


@dataclass(frozen=True)
class Demo:
    """Everything that the demo showed."""

    dataset: Path
    check: Diagnosis
    night: Retrained
    slates: dict[str, dict[str, Any]]
    """Who asked → the handler's answer."""
    titles: dict[str, str]
    evaluation: Evaluation
    seconds: dict[str, float]


def run_demo(
    home: Path, data: Path | None, seed: int, say: Callable[[str], None], progress: Progress, index: Index = Index.AUTO
) -> Demo:
    """Run the loop in the folder `home`. Raises whatever a step raises, by name."""
    clock = StepClock()
    if index is Index.OPENSEARCH:
        engine_client(home)
    with clock("data"):
        dataset = prepare(home, data, seed, say)
    with clock("check"):
        check = _checked(dataset, say)
    say("Training …")
    night = retrain(dataset, home, TrainingSettings(seed=seed), index=index, progress=progress)
    clock.seconds |= night.seconds
    indexed = index_dataset(open_dataset(dataset, event_columns=TRAINING_COLUMNS))
    with clock("recommend"):
        slates = {who: ask(home, body) for who, body in visitors(indexed).items()}
        names = titles(home, [item["item_id"] for slate in slates.values() for item in slate["items"]])
    say("Evaluating on the judging half of the held-out slice …")
    with clock("evaluate"):
        evaluation = judge_fitted(night.fitted, indexed)
    return Demo(dataset, check, night, slates, names, evaluation, clock.seconds)


def prepare(home: Path, data: Path | None, seed: int, say: Callable[[str], None]) -> Path:
    """A dataset folder: `data` itself where it is one, else imported or generated under `home`."""
    out = home / "datasets" / (data.resolve().name if data else "generated")
    if data is None:
        say(f"Generating a world of {WORLD.users} users and {WORLD.items} items …")
        generate(out, replace(WORLD, seed=seed))
    elif (data / "schema.toml").is_file():
        return data
    elif any((data / name).is_file() for name in _MOVIELENS_FILES):
        say(f"Importing MovieLens from {data} …")
        import_movielens(data, out)
    elif (data / "train.txt").is_file():
        say(f"Importing a LightGCN split from {data} …")
        import_lightgcn(data, out)
    elif data.is_file():
        say(f"Importing sequences from {data} …")
        import_sequences(data, out)
    else:
        raise DatasetError(
            f"{data}: holds neither a dataset (schema.toml), nor MovieLens ({', '.join(_MOVIELENS_FILES)}), nor a "
            "LightGCN split (train.txt).",
            fix="Name such a folder, or a file of sequences (user TAB item item …).",
        )
    return out


def _checked(dataset: Path, say: Callable[[str], None]) -> Diagnosis:
    diagnosis = diagnose(dataset)
    say("Data doctor: " + ", ".join(f"{number} {verdict}" for verdict, number in diagnosis.counts.items()))
    for check in diagnosis.checks:
        if check.status is not Status.PASS:
            say(f"  {check.status} {check.name}: {check.found}")
    return diagnosis


def visitors(indexed: IndexedDataset) -> dict[str, dict[str, Any]]:
    """A warm, a cold, an anonymous and an unknown visitor, as request bodies."""
    lengths = indexed.interactions.lengths
    popular = int(indexed.interactions.item_counts().argmax())
    warm = int(lengths.argmax())
    bodies: dict[str, dict[str, Any]] = {f"warm user {indexed.user_ids[warm]}": {"user_id": indexed.user_ids[warm]}}
    few = ((lengths > 0) & (lengths < RetrievalSettings().cold_user_events)).nonzero()[0]
    if len(few):
        cold = indexed.user_ids[int(few[0])]
        bodies[f"cold user {cold}"] = {"user_id": cold}
    else:  # nobody has few events: a newcomer with one, of whom nothing else is known
        first = indexed.item_ids[popular]
        bodies["a newcomer with one event"] = {"user_id": "a newcomer", "history": [{"item_id": first}]}
    bodies["an anonymous session"] = {"session": {"history": [{"item_id": indexed.item_ids[popular]}]}}
    bodies["somebody unknown"] = {}
    return {who: {**body, "num_items": SHOWN, "explain": True} for who, body in bodies.items()}


SHOWN: Final = 5
"""Places of each slate that the demo prints."""
