"""Profile and request → candidates: the one entrance of retrieval.

    visitor ─▶ route ─▶ model and popularity ─▶ eligible candidates ─▶ filled from popularity if too few
                                                                    ─▶ a few fresh items to explore

The Lambda edge, the batch job and the offline evaluation all come in here, so what is judged is what serves. It knows
no HTTP and no stores but the vector index.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from contracts.candidates import Candidates
from contracts.chance import NO_SEED, Seed, seed_of
from contracts.deadline import Deadline
from contracts.fitted import Floats
from contracts.profile import Profile
from contracts.request import RecommendationRequest
from contracts.slate import Route
from contracts.treatment import Treatment
from retrieval.exploration import Drawn, draw, explored_places
from retrieval.found import Found
from retrieval.opened import OpenModel
from retrieval.popular import fill
from retrieval.query import Ask
from retrieval.routes import choose_route, find
from retrieval.settings import RetrievalSettings
from retrieval.visitor import Visitor, meet
from stores.vector_index import VectorIndex


@dataclass(frozen=True)
class Arrival:
    """A request whose visitor was met."""

    request: RecommendationRequest
    visitor: Visitor
    identity: str
    """Whom a draw is for; empty where nobody can be told from anybody else."""
    queries: dict[str, Floats] = field(default_factory=dict)
    """Model → the visitor's query vector [d], where it was made already."""

    def seed(self, treatment: Treatment, now_seconds: int) -> Seed:
        """What a variant leaves to chance in the visitor's slate is drawn by it; nothing is where it leaves nothing."""
        chance = treatment.random_places or treatment.interleave
        return seed_of(self.identity, now_seconds) if chance else NO_SEED


def find_candidates(
    model: OpenModel,
    index: VectorIndex,
    profile: Profile,
    request: RecommendationRequest,
    settings: RetrievalSettings,
    deadline: Deadline,
    now_seconds: int,
) -> Candidates:
    """Eligible candidates for a request, best first, each row once; empty only where nothing is eligible.

    `profile` is what is stored (empty for a stranger); what the request tells inline is laid over it here. `index` is
    where the release is searched: `model.index`, or a search engine that holds the same release. Seven parameters,
    because a request is met by a release, a place to search and a moment, and none of them belongs to another.

    Raises RequestInvalid for a filter that the items cannot answer.
    """
    return candidates_for(arrive(model, profile, request, settings), model, index, settings, deadline, now_seconds)


def arrive(model: OpenModel, profile: Profile, request: RecommendationRequest, settings: RetrievalSettings) -> Arrival:
    """The first step of `find_candidates`, which a batch takes for many users before it answers any of them."""
    return Arrival(request, meet(model.fitted, profile, request, settings.session_weight), _identity(profile, request))


def candidates_for(
    arrival: Arrival,
    model: OpenModel,
    index: VectorIndex,
    settings: RetrievalSettings,
    deadline: Deadline,
    now_seconds: int,
) -> Candidates:
    """The rest of `find_candidates`."""
    request, visitor = arrival.request, arrival.visitor
    restriction = model.filters.restriction(request.filters)
    mask = None if restriction is None else restriction.mask
    eligible = model.servable.for_request(visitor.barred, mask, now_seconds)
    ask = Ask(
        model,
        index,
        visitor,
        eligible,
        restriction,
        settings,
        deadline,
        request.num_items,
        now_seconds,
        request.explain,
        ahead=arrival.queries,
    )
    route = choose_route(visitor, request, settings)
    found, model_name, segment = find(route, ask, request)
    if len(found) < ask.places:
        found = fill(model, eligible, found, ask.places)
    explored = None if route is Route.BOTH_COLD else _explored(ask, found, arrival.identity)
    if explored is not None:
        found = found.take(~np.isin(found.rows, explored.rows))
    return found.candidates(
        route,
        model_name,
        segment,
        degraded=tuple(ask.degraded),
        unknown_items=visitor.unknown_items,
        explored=None if explored is None else explored.rows,
        explored_propensities=None if explored is None else explored.propensities,
    )


def _identity(profile: Profile, request: RecommendationRequest) -> str:
    """See `Arrival.identity`."""
    session = None if request.session is None else request.session.session_id
    return request.user_id or profile.user_id or session or profile.session_id or ""


def _explored(ask: Ask, found: Found, identity: str) -> Drawn | None:
    """Fresh items without events for the last places; None where there are none to give a place, or none is to go.

    What is among the first by its own score needs none: it is shown where it belongs.
    """
    fresh = ask.model.fresh
    if fresh is None:
        return None
    seed = seed_of(identity, ask.now_seconds)
    places = explored_places(ask.settings.exploration_share, ask.places, seed)
    if not places:
        return None
    untouched, keys = fresh.untouched, fresh.keys
    wanted = _not_leading(ask, found)[untouched]
    if not wanted.any():
        return None
    scores = _fresh_scores(ask)
    rows = untouched[wanted] + np.int32(ask.model.items.released)
    return draw(rows, keys[wanted], None if scores is None else scores[untouched[wanted]], places, seed)


def _not_leading(ask: Ask, found: Found) -> NDArray[np.bool_]:
    """Which of the fresh items [f] are eligible and not among the first that were found."""
    items, leading = ask.model.items, found.rows[: ask.places]
    wanted = ask.eligible.of(np.arange(items.released, len(items), dtype=np.int32))
    wanted[leading[leading >= items.released] - items.released] = False
    return wanted


def _fresh_scores(ask: Ask) -> Floats | None:
    """Of all fresh items [f], by the query that found the other items; None where none was made."""
    for model_name, query in ask.queries.items():
        scores: Floats = getattr(ask.model.items.fresh, model_name) @ query
        return scores
    return None
