"""Whom a request is for: the stored profile and what the request tells inline, as rows of one release.

Inline history replaces the stored one, inline features lie over the stored ones, a session is the newest end of the
history and weighs more than what came before it. Ids that the release does not know are skipped and counted. Seen and
excluded items become rows here, too. Routing reads nothing of a person but this; whoever reads a profile from a store
asks `current_session` first, which is where a visit ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import msgspec
import numpy as np

from contracts.fitted import FittedModel, Floats, Rows
from contracts.live import is_anonymous
from contracts.profile import SESSION_LIMIT, HistoryEvent, Profile
from contracts.request import Interaction, RecommendationRequest
from contracts.schema import EventWeights

SESSION_SECONDS: Final = 1_800
"""A visit is over after half an hour without an event, as web analytics count it."""


@dataclass(frozen=True)
class Visitor:
    """What is known of whoever asks."""

    rows: Rows
    """[events] known items, oldest first, session last."""
    weights: Floats
    """[events] of the event types, with their signs; those of the session times `session_weight`."""
    events: int
    """How many events routing counts: ever, where the profile says so; 0 where no item of them is known."""
    features: Mapping[str, Any]
    """Features that the schema names, without nulls."""
    anonymous: bool
    """Nobody's profile, only a session, told or stored."""
    barred: Rows
    """Rows not to serve, seen or excluded, each once; -1 for unknown ids."""
    unknown_items: int
    """Events skipped because the release does not know their item."""


def meet(model: FittedModel, profile: Profile, request: RecommendationRequest, session_weight: float) -> Visitor:
    """Who asks. Applying it to a profile that already carries what the request tells changes nothing.

    An event of the session weighs `session_weight` times as much as it would before it; a session that is all there is
    has nothing to outweigh.
    """
    told = [] if request.session is None else request.session.history
    session = _told(told, model.schema.event_weights) if told else profile.session
    if request.history is None:
        history, ever = profile.history, profile.n_events
    else:
        history, ever = _told(request.history, model.schema.event_weights), 0
    older = len(history)
    if session:
        again = {event.item_id for event in session}
        before = [event for event in history if event.item_id not in again]
        history, older = [*before, *session], len(before)
    touched = [event.item_id for event in history]
    rows = model.items.ids.rows(touched)
    weights = np.array([event.weight for event in history], np.float32)
    if older:
        weights[older:] *= np.float32(session_weight)
    known = rows >= 0
    unknown = len(rows) - int(np.count_nonzero(known))
    if unknown:
        rows, weights = rows[known], weights[known]
    return Visitor(
        rows=rows,
        weights=weights,
        events=max(ever, len(rows)) if len(rows) else 0,
        features=_known_features(model, profile, request),
        anonymous=bool(touched) and not request.history and _of_nobody(profile, request),
        barred=model.items.ids.rows({*touched, *profile.seen, *request.exclude_ids}),
        unknown_items=unknown,
    )


def current_session(profile: Profile, now_seconds: int) -> Profile:
    """The profile with the visit that is going on as its session, with none where that is over: its events are history.

    A visit is told by its id. Where the newest one with an id is over, it is the newest events that follow each other
    within SESSION_SECONDS, up to now. Events without times have no gaps: there an id is needed, and lasts.
    """
    if profile.session and not _is_over(profile.session[-1], now_seconds):
        return profile
    session = _without_gaps(profile.history, now_seconds)
    if not session and not profile.session:
        return profile
    return msgspec.structs.replace(profile, session_id=None, session=session)


def _of_nobody(profile: Profile, request: RecommendationRequest) -> bool:
    return request.user_id is None and (profile.user_id is None or is_anonymous(profile.user_id))


def _is_over(newest: HistoryEvent, now_seconds: int) -> bool:
    return newest.timestamp is not None and now_seconds - newest.timestamp > SESSION_SECONDS


def _without_gaps(history: Sequence[HistoryEvent], now_seconds: int) -> list[HistoryEvent]:
    """The newest events, oldest first, as far back as none is over SESSION_SECONDS before the next, or before now."""
    count, later = 0, now_seconds
    for event in islice(reversed(history), SESSION_LIMIT):
        if event.timestamp is None or later - event.timestamp > SESSION_SECONDS:
            break
        count, later = count + 1, event.timestamp
    return list(history[len(history) - count :])


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
