"""One request's part in experiments: who asks, as experiments know them, and what the logs say of the answer.

Nobody takes part who cannot be told from anybody else. It decides nothing (`experimenting.py` does) and writes nothing
(`serving_log.py` does). `recommend.py` calls it between profile and retrieval, and where the slate is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from contracts.candidates import Ranked
from contracts.experiment import NOBODY, Assigned
from contracts.live import session_user
from contracts.profile import Profile
from contracts.request import RecommendationRequest
from contracts.schema import DatasetSchema
from contracts.segments import GLOBAL_KEY, segment_keys, segment_label
from contracts.served import Exposure, ServedSlate
from contracts.slate import Slate
from experiments.attributes import attributes_of

COUNTRY_HEADER: Final = "cloudfront-viewer-country"
"""Two letters; CloudFront says where a request comes from, and no client can say otherwise behind it."""
COUNTRY_FEATURE: Final = "country"
"""Of a user, where no header says more."""

_COUNTRY_LETTERS: Final = 2


class Part(NamedTuple):
    """Who asks, and which part they take."""

    identity: str = ""
    """User id, or that of an anonymous session; empty: nobody can tell."""
    country: str | None = None
    assigned: Assigned = NOBODY


class Answered(NamedTuple):
    """A slate with what the log of slates says beyond it."""

    slate: Slate
    ranked: Ranked
    part: Part


def identity_of(request: RecommendationRequest) -> str:
    """By whom a request can be told from others: the user, else the session."""
    if request.user_id is not None:
        return request.user_id
    session = None if request.session is None else request.session.session_id
    return "" if session is None else session_user(session)


def country_of(headers: object, features: Mapping[str, Any]) -> str | None:
    """Where a visitor is: by the header of CloudFront, else by their feature of that name."""
    header = headers.get(COUNTRY_HEADER) if isinstance(headers, dict) else None
    if isinstance(header, str) and len(header) == _COUNTRY_LETTERS and header.isascii() and header.isalnum():
        return header.upper()
    told = features.get(COUNTRY_FEATURE)
    return told if isinstance(told, str) else None


def features_of(request: RecommendationRequest, profile: Profile) -> Mapping[str, Any]:
    """What is told of a user over what is stored, as routing reads it."""
    return {**profile.features, **request.features} if request.features else profile.features


def attributes(
    identity: str, request: RecommendationRequest, profile: Profile, country: str | None, schema: DatasetSchema
) -> dict[str, Any]:
    """What conditions of experiments may ask of a visitor."""
    features = {name: value for name, value in features_of(request, profile).items() if value is not None}
    segment = segment_keys(schema.segment, features)[0]
    return attributes_of(
        identity,
        user_id=request.user_id,
        session_id=None if request.session is None else request.session.session_id,
        country=country,
        segment=None if segment == GLOBAL_KEY else segment_label(segment),
        events=profile.n_events,
        features=features,
    )


def exposures_of(part: Part, now_seconds: int, **served: Any) -> list[Exposure]:
    """One for each experiment that a visitor takes part in; `served`: what they were served by."""
    return [
        Exposure(
            user_id=part.identity,
            timestamp=now_seconds,
            experiment_id=assignment.experiment,
            variation_id=assignment.variation,
            country=part.country,
            sequence=part.assigned.sequence,
            **served,
        )
        for assignment in part.assigned.assignments
    ]


def labels_of(assigned: Assigned) -> list[str]:
    """The variants of a visitor, one each experiment."""
    return [assignment.label for assignment in assigned.assignments]


def slate_row(answered: Answered, now_seconds: int) -> ServedSlate:
    """An answer as the log of slates keeps it."""
    slate, ranked, part = answered
    why = slate.why
    return ServedSlate(
        recommendation_id=slate.recommendation_id,
        user_id=part.identity,
        timestamp=now_seconds,
        route=why.route.value,
        model=why.model,
        release=why.release,
        publication=why.publication,
        items=[item.item_id for item in slate.items],
        scores=[item.score for item in slate.items],
        propensities=[1.0] * len(slate.items) if ranked.propensities is None else ranked.propensities.tolist(),
        teams=[] if ranked.teams is None else ranked.teams.tolist(),
        variants=labels_of(part.assigned),
        degraded=list(why.degraded),
        country=part.country,
    )
