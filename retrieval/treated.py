"""Candidates as a variant of an experiment asks for them: by another model, and by a second one to be interleaved.

A model that the release does not have, or whose query fails, costs nobody their slate: the publication's model answers
instead, marked, and the user stays in the variant. It does not know who is in which variant, nor what becomes of
candidates; the Lambda edge and the batch job call it, with a way to find that knows everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from contracts.candidates import Candidates, Degraded
from contracts.deadline import Deadline
from contracts.treatment import Treatment
from retrieval.opened import OpenModel
from retrieval.routes import BY_SERVED_MODEL
from retrieval.settings import RetrievalSettings

Find = Callable[[RetrievalSettings], Candidates]

_FAILS: Final = (ValueError, ArithmeticError, LookupError, MemoryError)
"""What arrays raise that do not fit each other; a mistake of the client is none of them."""


class TreatedCandidates(NamedTuple):
    """What a slate is made of."""

    first: Candidates
    second: Candidates | None = None
    """Of the model that is interleaved; None where none is, or where it had no time."""


def treated_candidates(
    find: Find, model: OpenModel, settings: RetrievalSettings, treatment: Treatment, deadline: Deadline
) -> TreatedCandidates:
    """What `find` finds under the settings of a variant; `settings` are those without it.

    What the variant's models could not do is in `degraded` of the first. Raises what `find` raises under `settings`.
    """
    wanted = settings.treated(treatment)
    first = find(wanted) if treatment.model is None else _tried(find, model, wanted)
    if first is None:
        wanted = replace(wanted, served_model=settings.served_model)
        first = _marked(find(wanted))
    if treatment.interleave is None or first.route not in BY_SERVED_MODEL:
        return TreatedCandidates(first)
    second = None
    if not deadline.expired:
        second = _tried(find, model, replace(wanted, served_model=treatment.interleave, exploration_share=0.0))
    if second is None or Degraded.MODEL_SKIPPED in second.degraded:
        return TreatedCandidates(_marked(first))
    return TreatedCandidates(first, second)


def _tried(find: Find, model: OpenModel, settings: RetrievalSettings) -> Candidates | None:
    """What a model finds; None where it is not there or fails."""
    if not model.can_serve(settings.served_model):
        return None
    try:
        return find(settings)
    except _FAILS:
        return None


def _marked(candidates: Candidates) -> Candidates:
    return replace(candidates, degraded=tuple(dict.fromkeys((*candidates.degraded, Degraded.VARIANT_NOT_SERVED))))
