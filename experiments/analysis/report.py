"""A test judged as a whole: the split first, then effects, what could have been seen, and what is to be said of it.

Takes the frames of `exposures.py` and `event_files.py`; knows no files and prints nothing. `tandem experiments report`
calls it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from contracts.errors import ExposuresInvalid
from experiments.analysis.effects import Effect, Metric, effects
from experiments.analysis.exposures import DAY_SECONDS
from experiments.analysis.findings import Verdict, broken_split_sentence, verdicts
from experiments.analysis.notices import Notice, notice
from experiments.analysis.power import Power, power
from experiments.analysis.sample_ratio import ALARM, equal_weights, sample_ratio
from experiments.analysis.sequential import PLANNED_USERS
from experiments.analysis.user_metrics import Intake, only_experiment, user_table

METRICS: Final[Mapping[str, Metric]] = {
    one.name: one
    for one in (
        Metric("clicks", "mean", "clicks", before="clicks_before"),
        Metric("sessions", "mean", "sessions", before="sessions_before"),
        Metric("retention", "share", "retained", before="active_days_before"),
        Metric("value", "mean", "value", before="value_before"),
        Metric("active_days", "mean", "active_days", before="active_days_before"),
        Metric("clicks_per_session", "ratio", "clicks", "sessions", "clicks_before", "sessions_before"),
    )
}
"""By name. Ratios are sums over sums of all users, with users as the unit."""
DEFAULT_METRICS: Final = ("clicks", "sessions", "retention")
"""And `value`, where events have one."""
CONTROLS: Final = ("control", "0")
"""What a control is called where nobody says; "0" is GrowthBook's key of the first variation."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of a test."""

    experiment: str | None = None
    """None: the only one of the log."""
    control: str | None = None
    """None: the first of CONTROLS that is there."""
    metrics: Sequence[str] = ()
    """Names of METRICS; the first decides. None: DEFAULT_METRICS."""
    weights: Mapping[str, float] | None = None
    """Arm → share of the split; None: equal, with a notice."""
    event_types: Sequence[str] = ()
    """Which events are clicks; none: all."""
    looks: bool = False
    """Whether somebody looks before the end: verdicts go by what holds at every look."""
    planned_users: int = PLANNED_USERS


@dataclass(frozen=True)
class ArmUsers:
    """Users of one arm."""

    arm: str
    users: int
    weight: float


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that is to be said of a test; NaN is what cannot be computed."""

    experiment: str
    control: str
    first_exposure: int
    """Unix seconds."""
    last_exposure: int
    arms: list[ArmUsers]
    sample_ratio_p: float
    split_broken: bool
    """Then there are no verdicts, and the effects are of no worth."""
    effects: list[Effect]
    power: list[Power]
    verdicts: list[Verdict]
    findings: list[str]
    """The sentences, for people."""
    users: int
    users_in_two_variations: int
    events: int
    events_of_others: int
    """Of users who are in no arm, or in two."""
    before_days: int
    """Over which what users did before was counted; 0: not at all."""
    notices: list[Notice]


def judge(exposures: pl.DataFrame, events: pl.DataFrame, asked: Question, notices: Sequence[Notice] = ()) -> Report:
    """The report on a test. `notices`: those of the readers. Raises ExposuresInvalid where nothing can be judged."""
    intake = Intake(notices=list(notices))
    experiment = only_experiment(exposures, asked.experiment)
    metrics = _metrics(asked, events)
    users = user_table(exposures, events, experiment, event_types=asked.event_types, intake=intake)
    counts = {str(arm): int(number) for arm, number in users.group_by("variation_id").len().sort("variation_id").rows()}
    control = _control(asked, counts)
    weights = _weights(asked, counts, intake)
    p_value = sample_ratio(counts, weights)
    found = effects(users, metrics, control, looks=asked.looks, planned_users=asked.planned_users)
    days = (users["first_exposure"].to_numpy().max() - users["first_exposure"].to_numpy().min()) / DAY_SECONDS
    arms = [arm for arm in counts if arm != control]
    powers = [
        power(users, metric, (arm, control), comparisons=len(arms), days=max(float(days), 1.0))
        for metric in metrics
        for arm in arms
    ]
    said = [] if p_value < ALARM else verdicts(found, powers)
    _note_what_is_missing(intake, metrics, users)
    times = exposures.filter(pl.col("experiment_id") == experiment)["timestamp"].to_numpy()
    return Report(
        experiment=experiment,
        control=control,
        first_exposure=int(times.min()),
        last_exposure=int(times.max()),
        arms=[ArmUsers(arm, counts.get(arm, 0), weight / sum(weights.values())) for arm, weight in weights.items()],
        sample_ratio_p=p_value,
        split_broken=p_value < ALARM,
        effects=found,
        power=powers,
        verdicts=said,
        findings=[one.sentence for one in said] or [broken_split_sentence(p_value)],
        users=intake.users,
        users_in_two_variations=intake.users_in_two,
        events=intake.events,
        events_of_others=intake.events_of_others,
        before_days=intake.before_days,
        notices=intake.notices,
    )


def _metrics(asked: Question, events: pl.DataFrame) -> list[Metric]:
    names = tuple(asked.metrics)
    if not names:
        names = (*DEFAULT_METRICS, "value") if events["value"].is_not_null().any() else DEFAULT_METRICS
    for name in names:
        if name not in METRICS:
            raise ExposuresInvalid(f"{name!r} is no metric.", fix=f"Name some of {', '.join(METRICS)} (--metrics).")
    return [METRICS[name] for name in dict.fromkeys(names)]


def _control(asked: Question, counts: Mapping[str, int]) -> str:
    named = asked.control or next((name for name in CONTROLS if name in counts), None)
    if named is None:
        raise ExposuresInvalid(
            f"which arm is the control? There are {', '.join(counts) or 'none'}.", fix="Name it (--control)."
        )
    return named


def _weights(asked: Question, counts: Mapping[str, int], intake: Intake) -> Mapping[str, float]:
    if asked.weights is not None:
        return asked.weights
    said = "the split is taken to be into equal parts; give the weights where it is not (--weights)."
    notice(intake.notices, "weights-assumed", said)
    return equal_weights(counts)


def _note_what_is_missing(intake: Intake, metrics: Sequence[Metric], users: pl.DataFrame) -> None:
    if not intake.before_days:
        said = "the events reach back less than a week before the first exposure, so what users did before is not used."
        notice(intake.notices, "no-history", said)
    whole = int(users["retained"].count())
    if whole < len(users) and METRICS["retention"] in metrics:
        said = f"retention is of the {whole} of {len(users)} users whose days 28 to 34 are over."
        notice(intake.notices, "retention-incomplete", said)
    if not intake.events:
        said = "none of the events is of a user of the test: are the user ids of both logs the same?"
        notice(intake.notices, "no-events", said, loud=True)
