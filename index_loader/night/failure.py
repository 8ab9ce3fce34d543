"""The end of a night that failed: the reason in one message, what is half made removed, the lease given back.

What it may touch is decided by the lease: a run that never got it, or has lost it to another, only says why it failed.
Whatever fails in here is said in the message and hides no reason. `handler.py` calls it; the state machine sends the
message to people.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from contracts.errors import GateBlocked, NightRunning, PointerConflict, TandemError
from contracts.night import LoadedIndex, NightFacts, NightOutcome, Outcome, Step
from contracts.release import Publication
from index_loader.night.ending import METRICS, end, figures_of
from index_loader.night.events import Fail
from index_loader.night.reasons import Reason, reason_of
from index_loader.night.workplace import Workplace, naming_engine_faults
from index_loader.sweep import is_published
from stores.publications import now_text

SUBJECT: Final = 99
"""Characters that SNS takes, all of them ASCII."""
_CONSOLES: Final = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}
"""Partition → where its console is."""


def fail(place: Workplace, event: Fail) -> dict[str, Any]:
    """Subject and message for people, and the code under which the state machine ends."""
    execution, reason = str(event.execution), reason_of(event.state)
    troubles: list[str] = []
    facts = _own_night(place, execution, troubles)
    serves, published = _serves(place, facts, troubles)
    done: list[str] = []
    if facts is not None:
        _try(troubles, "writing the outcome", lambda: _write_outcome(place, facts, reason, published))
        _try(troubles, "removing the unpublished index", lambda: _drop_index(place, facts, done))
    elif reason.code != NightRunning.code:
        place.telemetry.count({METRICS[Outcome.FAILED]: ("Count", 1)})
    _try(troubles, "giving the lease back", lambda: _release_lease(place, execution))
    night = facts.night if facts else _named_night(event.state)
    lines = [
        _headline(place, night, reason),
        reason.text,
        *([reason.fix] if reason.fix else []),
        serves,
        *done,
        *(f"Besides, {trouble}" for trouble in troubles),
        _what_to_do(reason, night, dropped=bool(done)),
        *_where_to_look(reason, execution),
    ]
    return {"subject": _subject(place, night, reason), "message": "\n\n".join(lines), "code": reason.code}


def _own_night(place: Workplace, execution: str, troubles: list[str]) -> NightFacts | None:
    """The night that this execution has begun and nobody has taken from it; None where there is none."""
    found: list[NightFacts] = []

    def look() -> None:
        lease = place.nights.lease()
        if lease is not None and lease.execution == execution:  # one given back by a call before this one, too
            facts = place.nights.find(lease.night, NightFacts)
            if facts is not None and facts.token == lease.token:
                found.append(facts)

    _try(troubles, "reading the lease", look)
    return found[0] if found else None


def _serves(place: Workplace, facts: NightFacts | None, troubles: list[str]) -> tuple[str, Publication | None]:
    """What people get now, in a sentence; and the publication of this very night, where it is that."""
    found: list[Publication | None] = []

    def look() -> None:
        current = place.releases.current()
        found.append(current.publication if current else None)

    _try(troubles, "reading what serves", look)
    if not found:
        return "What served before goes on serving.", None
    publication = found[0]
    if publication is None:
        return "Nothing serves yet.", None
    if facts is not None and publication.night == facts.night:
        return f"It had published already: {publication.id} (release {publication.release}) serves.", publication
    by = f" of {publication.night}" if publication.night else ""
    return f"What served before goes on serving: {publication.id}{by}, release {publication.release}.", None


def _write_outcome(place: Workplace, facts: NightFacts, reason: Reason, published: Publication | None) -> None:
    outcome = NightOutcome(
        night=facts.night,
        outcome=Outcome.FAILED,
        code=reason.code,
        reason=reason.text,
        step=reason.step,
        release=published.release if published else None,
        publication=published.id if published else None,
        ended_at=now_text(),
    )
    figures = figures_of(place.nights, facts.night) if reason.code == GateBlocked.code else {}
    end(place, facts, outcome, figures)


def _drop_index(place: Workplace, facts: NightFacts, done: list[str]) -> None:
    """No later night goes on with it; this one, gone on with, loads another."""
    index = place.nights.find(facts.night, LoadedIndex)
    if index is None or is_published(place.releases, index.name):
        return
    place.nights.forget(facts.night, LoadedIndex)
    with naming_engine_faults():
        place.engine.indices.delete(index=index.name, params={"ignore_unavailable": "true"})
    done.append(f"The index {index.name}, which was not published, is removed.")


def _release_lease(place: Workplace, execution: str) -> None:
    lease = place.nights.lease()
    if lease is not None and lease.execution == execution:
        place.nights.release_lease(lease.token)


def _try(troubles: list[str], what: str, act: Callable[[], object]) -> None:
    """Do it, or note what went wrong: the message must be sent whatever happens."""
    try:
        act()
    except (TandemError, OSError) as error:
        troubles.append(f"{what} failed: {error}")


def _named_night(state: object) -> str:
    """The night that the state machine knows of; empty where none began."""
    run = state.get("run") if isinstance(state, dict) else None
    return str(run.get("night", "")) if isinstance(run, dict) else ""


def _headline(place: Workplace, night: str, reason: Reason) -> str:
    who = f"Night {night} of {place.settings.prefix}" if night else f"A night of {place.settings.prefix}"
    if reason.code == NightRunning.code:
        return f"{who} was not begun: another one runs. This start has changed nothing."
    return f"{who} failed{f' at {reason.step}' if reason.step else ''}: {reason.code}."


def _subject(place: Workplace, night: str, reason: Reason) -> str:
    """One short line of ASCII."""
    where = f" at {reason.step}" if reason.step else ""
    text = f"{place.settings.prefix}: night {night or 'start'} failed{where}: {reason.code}"
    plain = text.encode("ascii", "replace").decode()
    return " ".join(plain.split())[:SUBJECT]


def _what_to_do(reason: Reason, night: str, *, dropped: bool) -> str:
    """How to go on, where there is something to go on with."""
    again = "the next night begins by itself, or start one now: `tandem aws run-nightly`."
    if reason.code == NightRunning.code:
        return "What to do: nothing, unless it hangs: `tandem aws run-nightly --follow` shows it."
    if not night or reason.step not in tuple(Step):
        return f"What to do: put right what is said above; {again}"
    step = reason.step
    if reason.code == PointerConflict.code:
        step = Step.GATE  # it has judged against what serves no longer
    elif dropped:
        step = Step.INDEX
    return (
        f"What to do: put right what is said above, then `tandem aws run-nightly --from {step} --night {night}` goes "
        f"on with this night; or {again}"
    )


def _where_to_look(reason: Reason, execution: str) -> list[str]:
    """Commands and links."""
    lines = ["How to look: `tandem aws status`."]
    if link := console_link(execution):
        lines.append(f"The execution: {link}")
    if reason.job:
        group = "TrainingJobs" if reason.training else "ProcessingJobs"
        lines.append(f"The log of the job: CloudWatch, group /aws/sagemaker/{group}, streams {reason.job}/…")
    return lines


def console_link(execution: str) -> str:
    """Where a browser shows an execution; empty where its ARN is none or its partition has a console nobody told."""
    parts = execution.split(":")
    if len(parts) < 6 or parts[2] != "states" or parts[1] not in _CONSOLES:
        return ""
    region = parts[3]
    return f"https://{region}.{_CONSOLES[parts[1]]}/states/home?region={region}#/v2/executions/details/{execution}"
