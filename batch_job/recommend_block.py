"""Slates of a block of users: the functions that answer a request, over an index that was asked for all at once.

    visitors ─▶ their query vectors ─▶ one exact top-k of the block ─▶ candidates and slate, user by user

Nothing is decided here. Each user is met and routed by the very functions of a request; what is different is where a
query's rows come from: matrix products over a block cost a sixth of a scan a user. A search that was not foreseen (a
wider one, another query) is scanned on the spot, so foreseeing wrongly costs time and never an answer. It knows no
store and no file; `recommend_parts.py` calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.candidates import Candidates, Ranked
from contracts.deadline import Deadline
from contracts.fitted import Floats, Rows
from contracts.profile import Profile
from contracts.request import RecommendationRequest
from contracts.restriction import Restriction
from contracts.treatment import Treatment
from reranking.rerank import rerank_both
from reranking.rules import SlateRules
from reranking.settings import RerankSettings
from retrieval.opened import OpenModel
from retrieval.query import query_vector
from retrieval.recommend import Arrival, arrive, candidates_for
from retrieval.settings import RetrievalSettings
from retrieval.treated import treated_candidates
from retrieval.visitor import Visitor, current_session
from stores.vector_index import QUERIES_AT_ONCE, ExactIndex

BLOCK_USERS: Final = QUERIES_AT_ONCE
"""Users whose queries are one product, and whose profiles are held at once."""


@dataclass(frozen=True)
class Ground:
    """What all slates of a batch are made on."""

    model: OpenModel
    """The release with live items over it."""
    retrieval: RetrievalSettings
    """With the publication's model."""
    rerank: RerankSettings
    num_items: int
    now_seconds: int
    promoted: NDArray[np.bool_] | None = None
    """[n] items of the promotion."""
    promoted_share: float = 0.0
    treatment: Treatment = field(default_factory=Treatment)
    """Of the variant of an experiment that all users are in; as it is, of none."""

    @cached_property
    def places(self) -> int:
        """Items of a slate."""
        return self.treatment.num_items or self.num_items

    @cached_property
    def treated(self) -> RetrievalSettings:
        """Retrieval's settings for everybody, by a model that the release has."""
        settings = self.retrieval.treated(self.treatment)
        can = self.model.can_serve(settings.served_model)
        return settings if can else replace(settings, served_model=self.retrieval.served_model)

    @cached_property
    def treated_rerank(self) -> RerankSettings:
        """Re-ranking's settings for everybody."""
        return self.rerank.treated(self.treatment)


class UserSlate(NamedTuple):
    """What one user would be served."""

    user_id: str
    ranked: Ranked
    explored: Rows
    """[x] rows of the slate that were given a place to find out whom they please."""
    route: str
    model: str


def slates_of(ground: Ground, user_ids: Sequence[str], profiles: Sequence[Profile]) -> list[UserSlate]:
    """The slates of a block of users [b], in their order; `profiles` [b] are what is stored of them."""
    arrivals = []
    for user_id, profile in zip(user_ids, profiles, strict=True):
        request = RecommendationRequest(user_id=user_id, num_items=ground.places)
        current = current_session(profile, ground.now_seconds)
        arrivals.append(arrive(ground.model, current, request, ground.treated))
    return [_slate(ground, arrival, index) for arrival, index in zip(arrivals, _foresee(ground, arrivals), strict=True)]


def _slate(ground: Ground, arrival: Arrival, index: Foreseen) -> UserSlate:
    """What `lambda_user_tower/recommend.py` does with a request, without a deadline."""
    model, now_seconds, never = ground.model, ground.now_seconds, Deadline.never()

    def find(settings: RetrievalSettings) -> Candidates:
        return candidates_for(arrival, model, index, settings, never, now_seconds)

    found, other = treated_candidates(find, model, ground.retrieval, ground.treatment, never)
    rules = SlateRules(
        ground.places,
        promoted=ground.promoted,
        promoted_share=ground.promoted_share,
        random_places=ground.treatment.random_places or 0,
        seed=arrival.seed(ground.treatment, now_seconds),
    )
    ranked = rerank_both(found, other, model.items, rules, ground.treated_rerank, now_seconds)
    explored = np.empty(0, np.int32) if found.explored is None else found.explored
    return UserSlate(arrival.request.user_id or "", ranked, explored, found.route.value, found.model)


class Foreseen:
    """The index of one user, whose query was answered with those of the block."""

    def __init__(self, scanned: ExactIndex, query: Floats | None, rows: Rows, scores: Floats) -> None:
        """`rows` and `scores` [k], best first, are what `query` finds; `scanned` answers everything else."""
        self._scanned, self._query, self._rows, self._scores = scanned, query, rows, scores

    def search(
        self, model_name: str, query: Floats, k: int, restriction: Restriction | None, deadline: Deadline
    ) -> tuple[Rows, Floats]:
        """See `VectorIndex.search`."""
        if query is self._query and restriction is None and k <= len(self._rows):
            return self._rows[:k], self._scores[:k]
        return self._scanned.search(model_name, query, k, restriction, deadline)


def _foresee(ground: Ground, arrivals: Sequence[Arrival]) -> list[Foreseen]:
    """An index for each visitor [b], with the rows that the search of the served model will ask for."""
    scanned, name = ground.model.index, ground.treated.served_model
    asking = [arrival for arrival in arrivals if arrival.visitor.events and name != "popularity"]
    for arrival in asking:
        arrival.queries[name] = query_vector(ground.model, arrival.visitor, name)
    most = max((first_fetch(ground.treated, ground.places, arrival.visitor) for arrival in asking), default=0)
    queries = np.array([arrival.queries[name] for arrival in asking], np.float32)
    found = scanned.search_many(name, queries, min(most, ground.model.items.released)) if asking else ()
    lines = zip(*found, strict=True)
    nothing = (np.empty(0, np.int32), np.empty(0, np.float32))
    return [
        Foreseen(scanned, arrival.queries.get(name), *(next(lines) if arrival.queries else nothing))
        for arrival in arrivals
    ]


def first_fetch(settings: RetrievalSettings, places: int, visitor: Visitor) -> int:
    """Rows that the first search of a visitor asks for."""
    return min(settings.pool(places) + len(visitor.barred), settings.max_fetch)
