"""The study: it learns from its trials, goes on where it was killed, refuses what is not its own, trusts no luck."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import suppress
from dataclasses import replace

import numpy as np
import optuna
import pytest
from filelock import FileLock
from sqlalchemy import Engine, event

from contracts.errors import ExtraMissing, NotEnoughData, StateBusy, StudyUnusable, TrainingDiverged
from contracts.interactions import Interactions
from contracts.schema import TimeMeaning
from training_job import fit as fitting
from training_job.fit import Training, fit
from training_job.recipe import ROUNDS
from training_job.settings import Effort, TrainingSettings
from training_job.tuned import RecipeChanges
from training_job.tuning import search as searching
from training_job.tuning import study
from training_job.tuning.outcome import FALSE_ALARMS, Gain, errors_needed
from training_job.tuning.search import Budget, tune
from training_job.tuning.study import NAME

QUICK = TrainingSettings(effort=Effort.QUICK, threads=1)
TRIALS = 6
"""Of which the last are drawn by what the first taught, and some are pruned."""


@pytest.fixture(scope="module", autouse=True)
def _unsynced():
    """SQLite waits for the disk at every value, which is all that a trial of this size would do."""

    def hasty(connection, _record):
        with suppress(sqlite3.DatabaseError):  # of a file that is none
            connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", hasty)
    yield
    event.remove(Engine, "connect", hasty)


@pytest.fixture(scope="module")
def sets(clustered):
    """Without order, trials take a few hundredths of a second."""
    return clustered(time=TimeMeaning.NONE)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "tuned.study"


@pytest.fixture
def soon(monkeypatch):
    """A study that learns and prunes from its third trial on."""
    monkeypatch.setattr(study, "RANDOM_TRIALS", 3)
    monkeypatch.setattr(study, "UNPRUNED_TRIALS", 2)
    monkeypatch.setattr(study, "COMPARED_TRIALS", 1)


def _tuned(world, file, trials, settings=QUICK, **more):
    return tune(world, world.interactions, settings, file, Budget(trials), **more)


def _same(outcome):
    """What of an outcome the clock does not decide."""
    trials = [(trial.number, trial.changes, trial.ndcg, trial.gain) for trial in outcome.trials]
    return trials, outcome.changes, outcome.pruned, outcome.default_ndcg, outcome.errors_needed


def _told(file):
    """The trials as Optuna has them."""
    return optuna.load_study(study_name=NAME, storage=f"sqlite:///{file}").trials


@pytest.mark.parametrize("time", TimeMeaning)
def test_a_trial_is_the_training_that_its_changes_make(clustered, file, time):
    """Towers alone, and yet the very score of a whole training: nothing else of it touches their randomness."""
    world = clustered(time=time)
    outcome = _tuned(world, file, 2)
    assert {trial.number for trial in outcome.trials} == {1, 2}
    assert outcome.slice == fit(world, world.interactions, QUICK).report["slice"]
    for trial in outcome.trials:
        report = fit(world, world.interactions, QUICK, changes=RecipeChanges(trial.changes)).report
        kept = report["rounds"]["scores"]
        assert trial.ndcg in kept, (trial.ndcg, kept)
    assert [trial.ndcg for trial in outcome.trials] == sorted((trial.ndcg for trial in outcome.trials), reverse=True)


def test_the_first_trial_changes_nothing(sets, file):
    (default,) = (trial for trial in _tuned(sets, file, 2).trials if trial.number == 1)
    assert (default.changes, default.gain) == ({}, Gain(0.0, 0.0))


class _Killed(BaseException):
    """As sudden as a signal: nothing catches it."""


def test_a_study_that_was_killed_twice_goes_on_to_the_same_end(sets, tmp_path, soon, monkeypatch):
    whole = _tuned(sets, tmp_path / "whole", TRIALS)
    original, calls = Training.train, []

    def killed(self, stepper, *arguments, watch=None, **options):
        if watch is None:  # a short run
            return original(self, stepper, *arguments, **options)

        def watched(part, values):
            if len(calls) in (1, 6) and part > 0.2:  # the default, and one that the sampler has thought about
                raise _Killed
            watch(part, values)

        calls.append(self)
        return original(self, stepper, *arguments, watch=watched, **options)

    monkeypatch.setattr(Training, "train", killed)
    for _ in range(2):
        with pytest.raises(_Killed):
            _tuned(sets, tmp_path / "killed", TRIALS)
    assert _same(_tuned(sets, tmp_path / "killed", TRIALS)) == _same(whole)
    assert len(_told(tmp_path / "killed")) == TRIALS + 2, "those that were killed were drawn anew"


def test_trials_are_those_of_the_whole_study(sets, file):
    first = _tuned(sets, file, 2)
    assert len(first.trials) == 2
    assert _same(_tuned(sets, file, 2)) == _same(first)
    assert len(_tuned(sets, file, 3).trials) == 3


def test_out_of_minutes_no_trial_begins_but_the_default(sets, file):
    outcome = tune(sets, sets.interactions, QUICK, file, Budget(20, minutes=0))
    assert [trial.number for trial in outcome.trials] == [1]
    assert outcome.changes == {}


def test_what_falls_behind_is_stopped_early(sets, file, soon):
    outcome = _tuned(sets, file, TRIALS)
    pruned = [trial for trial in _told(file) if trial.state is optuna.trial.TrialState.PRUNED]
    complete = [trial for trial in _told(file) if trial.state is optuna.trial.TrialState.COMPLETE]
    assert 0 < outcome.pruned == len(pruned)
    assert len(outcome.trials) == len(complete) == TRIALS - outcome.pruned
    rounds, warmup = ROUNDS, int(searching.WARMUP_PART * ROUNDS)
    for trial in pruned:
        assert warmup <= trial.last_step < rounds
        others = [one.intermediate_values.get(trial.last_step) for one in complete if one.number < trial.number]
        assert max(trial.intermediate_values.values()) < np.median([value for value in others if value is not None])


def test_what_beats_the_default_is_recommended(sets, file, monkeypatch):
    """A default that finds half of what it finds is no match for the first draws."""
    original = Training.tuning_score

    def halved(self, stepper):
        score = original(self, stepper)
        return score if self.changes.values else lambda: score() / 2

    monkeypatch.setattr(Training, "tuning_score", halved)
    outcome = _tuned(sets, file, 4)
    best = outcome.trials[0]
    assert best.number > 1
    assert outcome.changes == best.changes != {}
    assert best.gain.exceeds(outcome.errors_needed)
    assert best.ndcg == pytest.approx(outcome.default_ndcg + best.gain.mean)


def test_of_a_world_without_structure_the_default_is_kept(clustered, file):
    world = clustered(features=False)
    random, old = np.random.default_rng(1), world.interactions
    items = random.integers(0, old.n_items, len(old))
    noise = replace(
        world,
        interactions=Interactions.from_events(old.users, items, old.times, old.weights, old.n_users, old.n_items),
    )
    outcome = _tuned(noise, file, 4)
    assert outcome.changes == {}


def test_luck_alone_is_rarely_recommended():
    """Trials that differ from the default by noise alone: by one standard error most studies would recommend one."""
    random = np.random.default_rng(1)
    studies, trials, users = 300, 19, 60
    by_rule = by_one_error = 0
    for _ in range(studies):
        default = random.normal(size=users)
        gains = [Gain.of(random.normal(size=users), default) for _ in range(trials)]
        by_rule += any(gain.exceeds(errors_needed(trials, users)) for gain in gains)
        by_one_error += any(gain.exceeds(1) for gain in gains)
    assert by_rule / studies <= FALSE_ALARMS
    assert by_one_error / studies > 0.6
    assert errors_needed(0, users) == errors_needed(1, users) > 1.6


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"effort": Effort.STANDARD}, r"effort quick \(now standard\)"), ({"seed": 1}, r"seed 0 \(now 1\)")],
)
def test_a_study_of_other_settings_is_refused_by_name(sets, file, changed, said):
    _tuned(sets, file, 1)
    before = file.read_bytes()
    with pytest.raises(StudyUnusable, match=said):
        _tuned(sets, file, 2, replace(QUICK, **changed))
    assert file.read_bytes() == before


def test_a_study_of_other_data_or_features_is_refused_by_name(clustered, sets, file):
    _tuned(sets, file, 1)
    with pytest.raises(StudyUnusable, match="made with other data, other features: its trials cannot be compared"):
        _tuned(clustered(time=TimeMeaning.NONE, seed=1, n_items=64), file, 2)
    other = replace(sets, items=sets.items.with_columns(kind=sets.items["kind"].reverse()))
    with pytest.raises(StudyUnusable, match="made with other features: "):
        _tuned(other, file, 2)


def test_a_file_that_is_no_study_is_refused_and_left_as_it_is(sets, file):
    file.write_bytes(b"not a database")
    with pytest.raises(StudyUnusable, match=r"tuned\.study: holds no study"):
        _tuned(sets, file, 1)
    assert file.read_bytes() == b"not a database"
    file.unlink()
    database = sqlite3.connect(file)
    database.execute("create table orders (id integer)")
    database.close()
    before = file.read_bytes()
    with pytest.raises(StudyUnusable, match="holds no study"):
        _tuned(sets, file, 1)
    assert file.read_bytes() == before


def test_a_study_in_use_is_left_to_who_uses_it(sets, file):
    with FileLock(f"{file}.lock"), pytest.raises(StateBusy, match=r"tuned\.study"):
        _tuned(sets, file, 1)


def test_a_trial_that_diverges_is_not_drawn_again(sets, file, monkeypatch):
    original, calls = Training.train, []

    def diverging(self, *arguments, **options):
        calls.extend([self.changes] if "watch" in options else [])  # else a short run
        if "watch" in options and len(calls) == 2:
            raise TrainingDiverged("the loss is not finite.")
        return original(self, *arguments, **options)

    monkeypatch.setattr(Training, "train", diverging)
    outcome = _tuned(sets, file, 3)
    assert (outcome.pruned, [trial.number for trial in outcome.trials if trial.number > 1]) == (1, [3])
    assert calls[1] != calls[2]


def test_a_default_that_diverges_ends_the_search(sets, file, monkeypatch):
    def diverging(*_arguments, **_options):
        raise TrainingDiverged("the loss is not finite.")

    monkeypatch.setattr(Training, "train", diverging)
    with pytest.raises(TrainingDiverged):
        _tuned(sets, file, 3)


def test_the_judging_half_is_never_scored(sets, file, monkeypatch):
    scored, original = [], fitting.user_ndcg

    def spy(scorer, split, users):
        scored.append((split, users))
        return original(scorer, split, users)

    monkeypatch.setattr(fitting, "user_ndcg", spy)
    _tuned(sets, file, 2)
    judging = set(fit(sets, sets.interactions, QUICK).validation.judging.judged.tolist())
    assert scored
    assert all(judging.isdisjoint(users.tolist()) for _, users in scored)
    assert all(judging.isdisjoint(split.judged.tolist()) for split, _ in scored)


def test_too_few_users_to_compare_are_refused(clustered, file):
    with pytest.raises(NotEnoughData):
        _tuned(clustered(n_users=2), file, 2)


def test_progress_says_which_trial_and_the_best_so_far(sets, file):
    lines = []
    _tuned(sets, file, 2, progress=lambda _done, _total, text: lines.append(text))
    assert any(line.startswith("trial 1/2, best 0.0000: epoch 1/") for line in lines)
    assert any(line.startswith("trial 2/2, best 0.") and "best 0.0000" not in line for line in lines)


def test_without_optuna_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("training_job.tuning")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ExtraMissing, match="needs Optuna") as caught:
        import training_job.tuning.search  # noqa: F401
    assert caught.value.fix == "pip install 'tandem-recommender[tune]'"
