"""One request from start to end: profile, experiments, retrieval under a deadline, re-ranking, exposure, slate.

Everything is served from the one publication that the request pinned. It finds and orders nothing itself, knows no
HTTP, and stores nothing but that somebody was served a variant. `edge.py` calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
import numpy as np

from contracts.candidates import Candidates, Degraded, Ranked, Source
from contracts.deadline import Deadline
from contracts.errors import ItemNotFound, ProfilesUnavailable, StateBusy, StorageFull
from contracts.fitted import FittedModel
from contracts.ids import IdTable
from contracts.live import session_user
from contracts.profile import Profile
from contracts.request import PopularRequest, RecommendationRequest, SimilarRequest
from contracts.segments import category_key, segment_label
from contracts.slate import Slate, SlateItem, Why
from contracts.treatment import Treatment
from lambda_user_tower.experimenting import Experiments
from lambda_user_tower.features import check_features
from lambda_user_tower.fresh_id import fresh_id
from lambda_user_tower.laps import Laps
from lambda_user_tower.payload import invalid
from lambda_user_tower.serving import Served
from lambda_user_tower.serving_log import ServingLog
from lambda_user_tower.trending import Trends
from lambda_user_tower.variants import (
    Answered,
    Part,
    attributes,
    country_of,
    exposures_of,
    features_of,
    identity_of,
    labels_of,
)
from reranking.rerank import rerank_both
from reranking.rules import SlateRules
from retrieval.popular import popular_items, trending_items
from retrieval.recommend import Arrival, arrive, candidates_for
from retrieval.settings import RetrievalSettings
from retrieval.similar import similar_items
from retrieval.treated import TreatedCandidates, treated_candidates
from retrieval.visitor import current_session
from stores.profiles import Profiles

PROFILE_UNAVAILABLE: Final = "profile_unavailable"
"""The profile store did not answer: the user was served as a stranger, from what the request tells."""

_NO_PART: Final = Part()
_NO_PROFILE: Final = (ProfilesUnavailable, StateBusy, StorageFull, OSError)


class Turn(NamedTuple):
    """What one request is answered from."""

    served: Served
    profiles: Callable[[], Profiles]
    """Opens the profile store, or has it open."""
    trends: Trends
    """What has become popular since the release was trained."""
    deadline: Deadline
    now_seconds: int
    laps: Laps
    """Where the stages say how long they took."""
    promoted_share: float = 0.0
    """Least share of a slate that `served.promoted` must have."""
    experiments: Experiments | None = None
    """Who is in which variant; None: nobody is in any."""
    logs: ServingLog | None = None
    """Where it is written who was served what; None: nowhere."""
    headers: object = None
    """Of the call, as they came."""


def answer(request: RecommendationRequest | SimilarRequest | PopularRequest, turn: Turn) -> Answered:
    """The slate of any request."""
    if isinstance(request, SimilarRequest):
        return similar(request, turn)
    if isinstance(request, PopularRequest):
        return popular(request, turn)
    return recommend(request, turn)


def recommend(request: RecommendationRequest, turn: Turn) -> Answered:
    """The slate of a recommendation request.

    Raises RequestInvalid for what only the release can tell is wrong: a filter or the type of a feature.
    """
    served, model = turn.served, turn.served.model
    if request.features:
        check_features(request.features, model.fitted.schema.users)
    profile, degraded = _profile(turn, profile_id(request))
    turn.laps.lap("profile")
    part = _part(request, profile, turn)
    treatment = part.assigned.treatment
    if treatment.num_items is not None:
        request = msgspec.structs.replace(request, num_items=treatment.num_items)
    arrival = arrive(model, profile, request, served.retrieval.treated(treatment))
    found = _found(arrival, treatment, turn)
    turn.laps.lap("retrieval")
    rules = SlateRules(
        request.num_items,
        promoted=served.promoted,
        promoted_share=turn.promoted_share,
        explain=request.explain,
        deadline=turn.deadline,
        random_places=treatment.random_places or 0,
        seed=arrival.seed(treatment, turn.now_seconds),
    )
    ranked = rerank_both(*found, model.items, rules, served.rerank.treated(treatment), turn.now_seconds)
    turn.laps.lap("rerank")
    if turn.experiments is not None:
        degraded = (*degraded, *turn.experiments.degraded(turn.now_seconds))
    notes = (*degraded, *found.first.degraded, *ranked.degraded)
    notes += _expose(part, found.first, notes, turn)
    return Answered(_slate(served, found.first, ranked, notes, part), ranked, part)


def _part(request: RecommendationRequest, profile: Profile, turn: Turn) -> Part:
    """Who asks, and in which variants they are."""
    if turn.logs is None:
        return _NO_PART
    identity = identity_of(request)
    country = country_of(turn.headers, features_of(request, profile))
    if not identity or turn.experiments is None:
        return Part(identity, country)
    schema = turn.served.model.fitted.schema
    assigned = turn.experiments.assigned(
        lambda: attributes(identity, request, profile, country, schema), turn.now_seconds
    )
    turn.laps.lap("assignment")
    return Part(identity, country, assigned)


def _found(arrival: Arrival, treatment: Treatment, turn: Turn) -> TreatedCandidates:
    """Candidates as a variant wants them."""
    served = turn.served

    def find(settings: RetrievalSettings) -> Candidates:
        return candidates_for(arrival, served.model, served.index, settings, turn.deadline, turn.now_seconds)

    return treated_candidates(find, served.model, served.retrieval, treatment, turn.deadline)


def _expose(part: Part, candidates: Candidates, degraded: tuple[str, ...], turn: Turn) -> tuple[str, ...]:
    """Have it written that somebody is served their variants, before the answer leaves; what is to be said of that."""
    if not part.assigned.assignments or turn.logs is None:
        return ()
    rows = exposures_of(
        part,
        turn.now_seconds,
        route=candidates.route.value,
        release=turn.served.publication.release,
        model=candidates.model,
        degraded=bool(degraded or turn.served.degraded),
    )
    exposed = turn.logs.exposed(rows, turn.deadline)
    turn.laps.lap("exposure")
    return () if exposed else (Degraded.EXPOSURE_NOT_LOGGED,)


def similar(request: SimilarRequest, turn: Turn) -> Answered:
    """Items like an item, in the order of their likeness. Raises ItemNotFound."""
    model = turn.served.model
    row = model.items.ids.row(request.item_id)
    if row < 0:
        raise ItemNotFound("the release that serves has no item of that id.")
    patience = turn.deadline.share(turn.served.retrieval.index_share)
    found = similar_items(model, row, request.num_items, turn.now_seconds, turn.served.index, patience)
    turn.laps.lap("retrieval")
    return _told(turn.served, found, found.degraded, explain=request.explain)


def popular(request: PopularRequest, turn: Turn) -> Answered:
    """A popularity table as it is, or what is popular now.

    Raises RequestInvalid for a category or a segment that the release has not, and for a window of either.
    """
    if request.window is not None:
        return _trending(request, request.window, turn)
    _check_table(request, turn.served.model.fitted)
    found = popular_items(
        turn.served.model, request.num_items, turn.now_seconds, category=request.category, segment=request.segment
    )
    turn.laps.lap("retrieval")
    return _told(turn.served, found, found.degraded, explain=request.explain)


def _trending(request: PopularRequest, window: str, turn: Turn) -> Answered:
    """What is popular in a window that ends now: the release's table of it, and what was counted since."""
    if request.category is not None or request.segment:
        raise invalid("window", "it cannot be combined with a category or a segment")
    fitted = turn.served.model.fitted
    watermark = fitted.watermark if fitted.schema.timed else 0
    live = turn.trends.weights(window, watermark, turn.now_seconds, turn.deadline)
    turn.laps.lap("counts")
    found = trending_items(turn.served.model, request.num_items, turn.now_seconds, window, live.weights)
    turn.laps.lap("retrieval")
    return _told(turn.served, found, (*found.degraded, *live.degraded), explain=request.explain)


def _check_table(request: PopularRequest, fitted: FittedModel) -> None:
    if request.category is not None:
        if request.segment:
            raise invalid("category", "it cannot be combined with a segment")
        if fitted.popularity.get(category_key(request.category)) is None:
            raise invalid("category", "the release that serves has no list of that category")
    for name in request.segment:
        if name not in fitted.schema.segment:
            raise invalid(f"segment.{name}", "it is no feature of the segment")


def profile_id(request: RecommendationRequest) -> str | None:
    """Under which id the stored history of a request is kept: the user's, or that of a session which tells none."""
    session = request.session
    if request.user_id is not None or request.history is not None or session is None or session.history:
        return request.user_id
    return None if session.session_id is None else session_user(session.session_id)


def _profile(turn: Turn, user_id: str | None) -> tuple[Profile, tuple[str, ...]]:
    """What is stored of a user, empty for a stranger, and what could not be done."""
    if user_id is None:
        return Profile(), ()
    try:
        return current_session(turn.profiles().get(user_id, turn.deadline), turn.now_seconds), ()
    except _NO_PROFILE:
        return Profile(user_id=user_id), (PROFILE_UNAVAILABLE,)


def _told(served: Served, candidates: Candidates, degraded: tuple[str, ...], *, explain: bool) -> Answered:
    """Candidates in the order in which they were found, as the answer; no experiment is about it."""
    ranked = _as_found(candidates, explain)
    return Answered(_slate(served, candidates, ranked, degraded, _NO_PART), ranked, _NO_PART)


def _as_found(candidates: Candidates, explain: bool) -> Ranked:
    """Candidates in the order in which they were found, as the slate."""
    parts = dict(candidates.parts) if explain else {}
    if explain and candidates.sources is not None:
        parts["source"] = candidates.sources.astype(np.float32)
    return Ranked(candidates.rows, candidates.scores, parts)


def _slate(served: Served, candidates: Candidates, ranked: Ranked, degraded: tuple[str, ...], part: Part) -> Slate:
    publication = served.publication
    why = Why(
        route=candidates.route,
        model=candidates.model,
        release=publication.release,
        publication=publication.id,
        variant=",".join(labels_of(part.assigned)) or None,
        degraded=[*served.degraded, *degraded],
        segment=None if candidates.segment is None else segment_label(candidates.segment),
        explored=0 if candidates.explored is None else int(np.isin(candidates.explored, ranked.rows).sum()),
    )
    return Slate(fresh_id(), _places(served.model.items.ids, ranked), why)


def _places(ids: IdTable, ranked: Ranked) -> list[SlateItem]:
    places = zip(ids.texts(ranked.rows), ranked.scores.tolist(), strict=True)
    if not ranked.parts:
        return [SlateItem(item_id, score) for item_id, score in places]
    parts = {name: part.tolist() for name, part in ranked.parts.items()}
    return [
        SlateItem(item_id, score, _explained({name: part[place] for name, part in parts.items()}))
        for place, (item_id, score) in enumerate(places)
    ]


def _explained(parts: dict[str, float]) -> dict[str, float | str | bool]:
    """Parts as a person reads them: where an item came from by name, whether it was promoted as true or false."""
    shown: dict[str, float | str | bool] = dict(parts)
    if "source" in shown:
        shown["source"] = Source(int(parts["source"])).name.lower()
    if "promoted" in shown:
        shown["promoted"] = bool(parts["promoted"])
    return shown
