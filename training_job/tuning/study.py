"""The file of a study: made whole, held by one process, and refused where it is of other data or settings.

A study is Optuna's, in SQLite: every report and every value is a transaction, so a kill loses the trial that was
running and nothing else. That trial is forgotten and drawn anew: the sampler is seeded by the seed and by how many
trials are done, so a study that was killed goes on as one that was not. It knows no towers; `search.py` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from contracts.errors import StateBusy, StudyUnusable
from training_job.tuned import Choice, Range

NAME: Final = "tandem"
"""Of the study in its file."""
MADE_OF: Final = "made_of"
SHOWN: Final = 20
"""Characters of a value that a message may hold; what is longer is a digest."""
RANDOM_TRIALS: Final = 8
"""Before the sampler learns from what it has seen: Optuna's ten would be half of the usual study."""
UNPRUNED_TRIALS: Final = 5
"""To be trained to their end first, so that their median means something."""
COMPARED_TRIALS: Final = 3
"""That must have been scored at the same part of their passes."""
_WRITABLE: Final = "Free space, or give the right to write to it and its folder; then run it again."
_DONE: Final = (TrialState.COMPLETE, TrialState.PRUNED)


@contextmanager
def opened(path: Path, made_of: Mapping[str, str], warmup: int) -> Iterator[Study]:
    """The study of a file, made where there is none. No trial is pruned before step `warmup`.

    Raises StateBusy where another process has it, StudyUnusable where it is of anything else than `made_of`, is no
    study, or cannot be read or written, also while it is open.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would print a line a trial
    with _alone(path), _naming_failures(path):
        if not path.exists():
            _make(path, made_of)
        with _storage(path) as storage:
            study = _loaded(path, storage)
            study.pruner = MedianPruner(UNPRUNED_TRIALS, warmup, n_min_trials=COMPARED_TRIALS)
            _refuse_other(study.user_attrs.get(MADE_OF, {}), made_of, path)
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                study.tell(trial.number, state=TrialState.FAIL)  # it was killed
            yield study


def done(study: Study) -> list[FrozenTrial]:
    """Trials that have told what they had to tell, in order."""
    return study.get_trials(deepcopy=False, states=_DONE)


def seeded(study: Study, seed: int) -> None:
    """Draw the next trial as any other process would draw it."""
    state = np.random.SeedSequence((seed, len(done(study)))).generate_state(1)
    study.sampler = TPESampler(n_startup_trials=RANDOM_TRIALS, seed=int(state[0]))


def distribution(domain: Range | Choice) -> BaseDistribution:
    """As Optuna draws from it."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if domain.whole:
        return IntDistribution(int(domain.low), int(domain.high), log=domain.log)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two processes would take each other's running trials for killed ones."""
    lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise StateBusy(f"{path}: another process has this study.", fix="Wait for it, or name another file.") from error
    except OSError as error:
        raise StudyUnusable(f"{path}: {error.strerror}.", fix=_WRITABLE) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _storage(path: Path) -> Iterator[RDBStorage]:
    url = URL.create("sqlite", database=str(path)).render_as_string()
    try:
        storage = RDBStorage(url, skip_table_creation=path.exists())  # nothing is added to a database of somebody else
    except (RuntimeError, StorageInternalError, SQLAlchemyError) as error:  # the first: of another version of Optuna
        raise _no_study(path) from error
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _make(path: Path, made_of: Mapping[str, str]) -> None:
    """An empty study beside its name, then under it: a kill leaves none, or a whole one."""
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with _storage(partial) as storage:
            study = optuna.create_study(study_name=NAME, storage=storage, direction="maximize")
            study.set_user_attr(MADE_OF, dict(made_of))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _loaded(path: Path, storage: RDBStorage) -> Study:
    try:
        return optuna.load_study(study_name=NAME, storage=storage)
    except KeyError as error:  # so Optuna says that there is none of that name
        raise _no_study(path) from error


def _refuse_other(was: Mapping[str, str], made_of: Mapping[str, str], path: Path) -> None:
    other = [
        f"{name} {was.get(name)} (now {now})" if len(now) <= SHOWN else f"other {name}"
        for name, now in made_of.items()
        if was.get(name) != now
    ]
    if other:
        raise StudyUnusable(
            f"{path}: the study was made with {', '.join(other)}: its trials cannot be compared with new ones.",
            fix="Name another file, or remove this one to begin anew.",
        )


@contextmanager
def _naming_failures(path: Path) -> Iterator[None]:
    """What SQLite says while a study is open; Optuna wraps what a statement raises, but not what a connection does."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        said = getattr(error.__cause__, "orig", None) or getattr(error, "orig", None) or error
        raise StudyUnusable(f"{path}: the study cannot be read or written: {said}.", fix=_WRITABLE) from error


def _no_study(path: Path) -> StudyUnusable:
    return StudyUnusable(f"{path}: holds no study that this version can go on with.", fix="Name another file.")
