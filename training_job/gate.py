"""The gate: may this candidate serve, and with which model?

Blocked: corruption, parity failure, a significant loss to popularity or to the release that serves. Losing to ALS warns
and makes `als` the model that is served; a baseline that is not beaten warns, and is named. Whatever the slice is too
small to show warns and claims nothing. It judges on the half of the validation slice that training never looked at, on
users with enough history that the model answers them; all verdicts go into the report. The nightly run calls it between
sealing and publishing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.fitted import FittedModel
from contracts.interactions import Interactions
from contracts.release import GateCheck, GateReport, Verdict
from data_sources.indexed import IndexedDataset
from evaluation.answers import Answers, PerUser, accuracy, ask
from evaluation.facts import COLD_BELOW
from evaluation.metrics.coverage import coverage, exposures
from evaluation.rankers import (
    Encode,
    Ranker,
    VectorRanker,
    als_encoder,
    popular_list,
    popularity_ranker,
    tower_encoder,
)
from evaluation.splits import Split
from training_job.common_items import CommonItems, common_items, renumber
from training_job.contest import FEWEST_USERS, METRICS, Contest
from training_job.gate_arrays import ARRAY_CHECKS, SOUNDNESS_CHECKS
from training_job.vocabulary import encode_table

SAME_LISTS: Final = 0.5
"""Share of a list that two random users have in common, above which personal lists are hardly personal."""

SMALLEST_CATALOGUE: Final = 200
"""Items below which lists of 20 overlap by themselves."""

COVERAGE_DROP: Final = 0.5
"""Share of the serving release's coverage below which the candidate's has collapsed."""

LOST_ITEMS: Final = 0.5
"""Share of the serving release's items whose disappearance looks like half a catalogue feed."""


def judge_candidate(
    candidate: FittedModel,
    judging: Split,
    serving: FittedModel | None,
    indexed: IndexedDataset,
    *,
    release: str,
    serving_release: str | None = None,
    serving_model: str = "two_tower",
) -> GateReport:
    """Every verdict on a candidate.

    `judging`: the half of its validation slice that training never looked at. `serving` is the release that serves
    (None: there is none) and `serving_model` the model that answers from it.
    """
    checks = [check(candidate) for check in SOUNDNESS_CHECKS]
    served_model = "two_tower"
    if any(check.verdict is Verdict.BLOCK for check in checks):
        checks.append(GateCheck("quality", Verdict.WARN, "not compared with any baseline: such arrays score nothing."))
    else:
        checks += [check(candidate) for check in ARRAY_CHECKS]
        candidacy = Candidacy(candidate, judging, serving, indexed, serving_model)
        checks += [check(candidacy) for check in QUALITY_CHECKS]
        served_model = candidacy.served_model
    return GateReport(release=release, compared_with=serving_release, checks=checks, served_model=served_model)


class Candidacy:
    """A candidate, what it is held against, and the lists of both; each computed once, when first needed."""

    def __init__(
        self,
        model: FittedModel,
        judging: Split,
        serving: FittedModel | None,
        indexed: IndexedDataset,
        serving_model: str,
    ) -> None:
        self.model, self.split, self.serving = model, judging, serving
        self.indexed, self.serving_model = indexed, serving_model

    @cached_property
    def users(self) -> NDArray[np.int32]:
        """Judged users whom the model answers (at least COLD_BELOW events); those with any, where these are few."""
        judged = self.split.judged
        events = self.split.histories.lengths[judged]
        warm = judged[events >= COLD_BELOW]
        return warm if len(warm) >= FEWEST_USERS else judged[events > 0]

    def encoder(self, model: FittedModel, name: str, histories: Interactions) -> Encode:
        """Users → queries of one of the models of a release; `histories` in its own item rows."""
        if name == "als":
            return als_encoder(model.als, model.items.als, histories)
        return tower_encoder(model, histories, encode_table(model.user_encoder, self.indexed.users))

    @cached_property
    def answers(self) -> dict[str, Answers]:
        """Lists of both models and of popularity over the whole catalogue."""
        split, items = self.split, self.model.items
        rankers: dict[str, Ranker] = {
            name: VectorRanker(self.encoder(self.model, name, split.histories), vectors, split.known)
            for name, vectors in (("two_tower", items.two_tower), ("als", items.als))
        }
        rankers["popularity"] = popularity_ranker(popular_list(self.model, split.train), split.known)
        return {name: _answer(ranker, split, self.users) for name, ranker in rankers.items()}

    def contest(self, ours: str, theirs: str) -> Contest:
        """Two of the candidate's own rankers."""
        return Contest(_metrics(self.answers[ours]), _metrics(self.answers[theirs]), (ours, theirs))

    @cached_property
    def served_model(self) -> str:
        """The towers, unless ALS is significantly better."""
        return "als" if self.contest("two_tower", "als").lost else "two_tower"

    @cached_property
    def common(self) -> CommonItems | None:
        return None if self.serving is None else common_items(self.indexed.item_ids, self.serving.items.ids)

    @cached_property
    def against_serving(self) -> tuple[Answers, Answers] | None:
        """What would be served against what is, on items that both know; None where nothing serves."""
        if self.serving is None or self.common is None:
            return None
        split, common = self._unseen_by_serving(self.serving, self.common), self.common
        users = self.users[split.test.lengths[self.users] > 0]
        sides = (
            (self.model, self.served_model, self.split.histories, common.ours),
            (self.serving, self.serving_model, renumber(self.split.histories, common.to_theirs), common.theirs),
        )
        answers = []
        for model, name, histories, rows in sides:
            vectors = model.items.als if name == "als" else model.items.two_tower
            ranker = VectorRanker(self.encoder(model, name, histories), vectors[rows], split.known)
            answers.append(_answer(ranker, split, users))
        return answers[0], answers[1]

    def _unseen_by_serving(self, serving: FittedModel, common: CommonItems) -> Split:
        """The slice after the watermark of both, in the numbering of the common items."""
        test = self.split.test
        if self.model.schema.timed:
            test = test.select(test.times > serving.watermark)
        return Split(
            renumber(self.split.known, common.to_common), renumber(test, common.to_common), self.split.protocol
        )


def beats_popularity(candidacy: Candidacy) -> GateCheck:
    """Neither the towers nor the model that will answer lose to a list that is the same for everybody."""
    contests = {name: candidacy.contest(name, "popularity") for name in ("two_tower", candidacy.served_model)}
    worst = min(contests, key=lambda name: (not contests[name].lost, name != candidacy.served_model))
    return _beaten("popularity", contests[worst], Verdict.BLOCK)


def beats_als(candidacy: Candidacy) -> GateCheck:
    """The towers are worth their training; where they are not, ALS is served."""
    check = _beaten("als", candidacy.contest("two_tower", "als"), Verdict.WARN)
    return GateCheck(check.name, check.verdict, f"{check.detail} {candidacy.served_model} is served.", check.figures)


def beats_serving(candidacy: Candidacy) -> GateCheck:
    """What would be served is not worse than what is.

    Without timestamps nobody can say that the serving release was not trained on these very events, so there a loss
    warns instead of blocking.
    """
    answers = candidacy.against_serving
    if answers is None:
        return GateCheck("serving_release", Verdict.PASS, "nothing serves yet.")
    timed = candidacy.model.schema.timed
    other = "what serves" if timed else "what serves, which may have been trained on these events (no timestamps)"
    contest = Contest(_metrics(answers[0]), _metrics(answers[1]), (candidacy.served_model, other))
    verdict = Verdict.PASS if contest.decided else Verdict.WARN
    if contest.lost:
        verdict = Verdict.BLOCK if timed else Verdict.WARN
    nobody = "" if contest.users else " Nothing in the slice is newer than both and of an item that both know."
    return GateCheck("serving_release", verdict, f"{contest.describe()}{nobody}", contest.figures)


def lists_personal(candidacy: Candidacy) -> GateCheck:
    """Lists did not collapse onto the same popular items for everybody."""
    answer, n = candidacy.answers[candidacy.served_model], len(candidacy.model.items)
    shown, users = exposures(answer.rows, n), len(answer.users)
    same = float((shown * (shown - 1)).sum() / max(users * (users - 1) * min(answer.rows.shape[1], n), 1))
    figures = {"users": users, "coverage": coverage(shown), "in_common": same}
    if not users:
        return GateCheck("coverage", Verdict.PASS, "no user to make a list for.", figures)
    detail = f"two users share {same:.0%} of their lists; {coverage(shown):.1%} of the catalogue is shown."
    if users < FEWEST_USERS or n < SMALLEST_CATALOGUE:
        return GateCheck(
            "coverage", Verdict.PASS, f"{detail} Too few users or items to read anything into it.", figures
        )
    dropped = _coverage_dropped(candidacy)
    if dropped:
        return GateCheck("coverage", Verdict.WARN, f"{detail} {dropped}", figures)
    return GateCheck("coverage", Verdict.WARN if same > SAME_LISTS else Verdict.PASS, detail, figures)


def _coverage_dropped(candidacy: Candidacy) -> str:
    if candidacy.against_serving is None or candidacy.common is None:
        return ""
    m = len(candidacy.common.ours)
    ours, theirs = (coverage(exposures(answer.rows, m)) for answer in candidacy.against_serving)
    return (
        f"The serving release shows {theirs:.1%} of the common items, this one {ours:.1%}."
        if ours < (COVERAGE_DROP * theirs)
        else ""
    )


def catalogue_kept(candidacy: Candidacy) -> GateCheck:
    """The catalogue did not shrink, and the data are not older than what serves."""
    if candidacy.serving is None or candidacy.common is None:
        return GateCheck("catalogue", Verdict.PASS, "nothing serves yet.")
    before, kept = len(candidacy.serving.items), len(candidacy.common.ours)
    figures = {"items": len(candidacy.model.items), "before": before, "kept": kept}
    older = candidacy.model.watermark < candidacy.serving.watermark
    if before - kept > LOST_ITEMS * before:
        return GateCheck("catalogue", Verdict.WARN, f"{before - kept} of {before} items have disappeared.", figures)
    if older:
        return GateCheck("catalogue", Verdict.WARN, "trained on older events than the serving release.", figures)
    return GateCheck("catalogue", Verdict.PASS, f"{kept} of {before} items are still there.", figures)


QUALITY_CHECKS: Final[tuple[Callable[[Candidacy], GateCheck], ...]] = (
    beats_popularity,
    beats_als,
    beats_serving,
    lists_personal,
    catalogue_kept,
)


def _beaten(name: str, contest: Contest, when_lost: Verdict) -> GateCheck:
    """A baseline is beaten, or named."""
    verdict = Verdict.PASS if contest.won else when_lost if contest.lost else Verdict.WARN
    nobody = "" if contest.users else " Nobody in the judged half of the slice has a history and something new to find."
    return GateCheck(name, verdict, f"{contest.describe()}{nobody}", contest.figures)


def _answer(ranker: Ranker, split: Split, users: NDArray[np.int32]) -> Answers:
    return ask(ranker, split, users, np.ones(len(users), bool), max(int(name.split("@")[1]) for name in METRICS))


def _metrics(answer: Answers) -> PerUser:
    values = accuracy(answer.hits, (10, 20))
    return {name: values[name] for name in METRICS}
