"""Profile and request → candidates: the one entrance of retrieval.

    visitor ─▶ route ─▶ model and popularity ─▶ eligible candidates ─▶ filled from popularity if too few

The Lambda edge, the batch job and the offline evaluation all come in here, so what is judged is what serves. It knows
no HTTP and no stores but the vector index.
"""

from __future__ import annotations

from contracts.candidates import Candidates
from contracts.deadline import Deadline
from contracts.profile import Profile
from contracts.request import RecommendationRequest
from retrieval.opened import OpenModel
from retrieval.popular import fill
from retrieval.query import Ask
from retrieval.routes import choose_route, find
from retrieval.settings import RetrievalSettings
from retrieval.visitor import meet
from stores.vector_index import VectorIndex


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
    visitor = meet(model.fitted, profile, request)
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
    )
    route = choose_route(visitor, request, settings)
    found, model_name, segment = find(route, ask, request)
    if len(found) < ask.places:
        found = fill(model, eligible, found, ask.places)
    return found.candidates(
        route, model_name, segment, degraded=tuple(ask.degraded), unknown_items=visitor.unknown_items
    )
