"""Whom a request is for: the stored profile and what the request tells inline, as rows of one release.

Inline history replaces the stored one, inline features lie over the stored ones, a session is the newest end of the
history. Ids that the release does not know are skipped and counted. Seen and excluded items become rows here, too.
Routing reads nothing of a person but this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contracts.fitted import FittedModel, Floats, Rows
from contracts.profile import HistoryEvent, Profile
from contracts.request import Interaction, RecommendationRequest
from contracts.schema import EventWeights


@dataclass(frozen=True)
class Visitor:
    """What is known of whoever asks."""

    rows: Rows
    """[events] known items, oldest first, session last."""
    weights: Floats
    """[events] of the event types."""
    events: int
    """How many events routing counts: ever, where the profile says so; 0 where no item of them is known."""
    features: Mapping[str, Any]
    """Features that the schema names, without nulls."""
    anonymous: bool
    """Nobody's profile, only a session."""
    session_rows: Rows
    """[session events] known items of the session, oldest first."""
    barred: Rows
    """Rows not to serve, seen or excluded, each once; -1 for unknown ids."""
    unknown_items: int
    """Events skipped because the release does not know their item."""


def meet(model: FittedModel, profile: Profile, request: RecommendationRequest) -> Visitor:
    """Who asks. Applying it to a profile that already carries what the request tells changes nothing."""
    session = profile.session if request.session is None else _told(request.session.history, model.schema.event_weights)
    if request.history is None:
        history, ever = profile.history, profile.n_events
    else:
        history, ever = _told(request.history, model.schema.event_weights), 0
    only_session = bool(session) and not history
    if session:
        again = {event.item_id for event in session}
        history = [*(event for event in history if event.item_id not in again), *session]
    ids = model.items.ids
    touched = [event.item_id for event in history]
    rows = ids.rows(touched)
    weights = np.array([event.weight for event in history], np.float32)
    known = rows >= 0
    unknown = len(rows) - int(np.count_nonzero(known))
    if unknown:
        rows, weights = rows[known], weights[known]
    session_rows = ids.rows([event.item_id for event in session])
    return Visitor(
        rows=rows,
        weights=weights,
        events=max(ever, len(rows)) if len(rows) else 0,
        features=_known_features(model, profile, request),
        anonymous=only_session and profile.user_id is None and request.user_id is None,
        session_rows=session_rows[session_rows >= 0],
        barred=ids.rows({*touched, *profile.seen, *request.exclude_ids}),
        unknown_items=unknown,
    )


def _told(events: Sequence[Interaction], weights: EventWeights) -> list[HistoryEvent]:
    return [
        HistoryEvent(
            event.item_id, None if event.timestamp is None else int(event.timestamp), weights.of(event.event_type)
        )
        for event in events
    ]


def _known_features(model: FittedModel, profile: Profile, request: RecommendationRequest) -> dict[str, Any]:
    features = {**profile.features, **request.features} if request.features else profile.features
    return {name: features[name] for name in model.schema.users if features.get(name) is not None}
