"""The whole policy as a ranker: what a user would really be served.

Routing, the model, blending, eligibility and re-ranking, by the very functions that answer a request, one user at a
time (a few milliseconds each, so it is judged on a sample whose size is stated). The backtest puts it beside the bare
models: the difference is what the policy costs or brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from contracts.deadline import Deadline
from contracts.fitted import Rows
from contracts.profile import HISTORY_LIMIT, SEEN_LIMIT, HistoryEvent, Profile
from contracts.request import RecommendationRequest
from evaluation.splits import Split
from reranking.rerank import rerank
from reranking.rules import SlateRules
from reranking.settings import RerankSettings
from retrieval.opened import OpenModel
from retrieval.recommend import find_candidates
from retrieval.settings import RetrievalSettings


class ServedRanker:
    """Slates of a release with the default settings, at the moment of the cut."""

    def __init__(
        self, model: OpenModel, split: Split, users: pl.DataFrame, retrieval: RetrievalSettings | None = None
    ) -> None:
        """`users`: a row of features for every user of the split, in code order."""
        self._model, self._split, self._users = model, split, users
        self._retrieval, self._reranking = retrieval or RetrievalSettings(), RerankSettings()
        self._now = model.fitted.watermark if split.cut is None else split.cut

    def rank(self, users: NDArray[np.integer], k: int) -> Rows:
        """See `evaluation.rankers.Ranker.rank`."""
        rows: Rows = np.full((len(users), k), -1, np.int32)
        features = self._users[users].to_dicts()
        for line, user in enumerate(users):
            served = self._serve(self._profile(int(user), features[line]), k)
            rows[line, : len(served)] = served
        return rows

    def _serve(self, profile: Profile, k: int) -> Rows:
        request = RecommendationRequest(num_items=k)
        candidates = find_candidates(
            self._model, self._model.index, profile, request, self._retrieval, Deadline.never(), self._now
        )
        return rerank(candidates, self._model.items, SlateRules(places=k), self._reranking, self._now).rows

    def _profile(self, user: int, features: Mapping[str, Any]) -> Profile:
        """What the profile store would hold of the user at the cut."""
        past, known = self._split.histories, self._split.known
        events = past.of(user)
        newest = slice(max(events.start, events.stop - HISTORY_LIMIT), events.stop)
        ids = self._model.items.ids
        timed = self._model.fitted.schema.timed
        history = [
            HistoryEvent(ids.text(row), time if timed else None, weight)
            for row, time, weight in zip(
                past.items[newest].tolist(), past.times[newest].tolist(), past.weights[newest].tolist(), strict=True
            )
        ]
        seen = [ids.text(row) for row in known.items[known.of(user)][-SEEN_LIMIT:].tolist()]
        return Profile(
            user_id=str(user), history=history, n_events=events.stop - events.start, seen=seen, features=dict(features)
        )
