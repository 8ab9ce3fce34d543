"""Two nights in a row, as a deployment has them, each asked for what it promised; then the first one again.

Seed, a day of events, a night; an item and a user that were not there before, what changes live (`live_day.py`),
another night on top, with an experiment all the while (`tested.py`); a rollback. Every promise is asked of the API over
HTTP, and a broken one ends it. `tandem aws nightly-rehearsal` prints what it returns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from contracts.errors import VerificationFailed
from contracts.night import NightOutcome, Outcome
from contracts.release import Publication
from local_mode.aws.operate import rollback
from local_mode.aws.stores import AwsStores
from local_mode.publishing import StepClock
from local_mode.rehearsal.live_day import TOLD_ITEM, LiveDay, check_night, live_day, never_missing, tell_late
from local_mode.rehearsal.newcomers import NEW_ITEM, NEW_USER, Shop, expected
from local_mode.rehearsal.night import Ended, Nights, Passage
from local_mode.rehearsal.tested import Tested, ask, begin, check_logs, end, names
from stores.nights import Nights as NightStore

AFTER_SNAPSHOT: Final = "Seal"
"""State of a night whose dataset has long been taken."""

See = Callable[[Passage], None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class SeenNight:
    """A night that ended well."""

    outcome: NightOutcome
    publication: Publication
    states: dict[str, float]
    """State → seconds in it, all visits together."""
    seconds: float

    def told(self) -> str:
        """The publication in a line."""
        moved = self.publication
        gate = Counter(str(check.verdict) for check in moved.gate.checks) if moved.gate else {}
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in gate.items())
        recall = moved.verification.get("recall", 0.0)
        where = f"index {moved.index}, recall {recall:.3f}" if moved.index else "searched without an index"
        serves = f"{self.outcome.night}: {moved.id} serves {moved.release} after {self.seconds:.0f} s"
        return f"{serves} ({where}; gate: {verdicts})."


@dataclass
class TwoNights:
    """What was seen."""

    nights: list[SeenNight] = field(default_factory=list)
    slates: dict[str, dict[str, Any]] = field(default_factory=dict)
    """When → the newcomer's slate."""
    checked: list[str] = field(default_factory=list)
    """Promises that were kept."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by part."""


@dataclass(frozen=True)
class Rehearsal:
    """Everything at work."""

    nights: Nights
    stores: AwsStores
    shop: Shop
    see: See
    """Told of each state as it is entered and left."""
    say: Say


def two_nights(rehearsal: Rehearsal) -> TwoNights:
    """Run both and check. Raises VerificationFailed, naming what was promised, and whatever a step of ours raises."""
    done, clock = TwoNights(), StepClock()
    with clock("first day"):
        rehearsal.say(f"The first day: {rehearsal.shop.day(1)} events through the API.")
    with clock("first night"):
        first = a_night(rehearsal, done)
    on_top(rehearsal, done, first, clock)
    done.seconds = clock.seconds
    return done


def a_night(rehearsal: Rehearsal, done: TwoNights) -> SeenNight:
    """One night, from the schedule's empty input to a release that the API serves."""
    clock, store = StepClock(), NightStore(rehearsal.stores.data)
    with clock("night"):
        ended = rehearsal.nights.run(see=rehearsal.see)
    seen = published(ended, store, clock.seconds["night"], rehearsal.nights.logs)
    done.nights.append(seen)
    rehearsal.say(seen.told())
    rehearsal.shop.await_release(seen.publication.release)
    _kept(done, rehearsal.say, f"the API serves {seen.publication.release} of {seen.outcome.night}")
    return seen


def on_top(rehearsal: Rehearsal, done: TwoNights, first: SeenNight, clock: StepClock) -> None:
    """A second day and night after the first one, and then what it was before. Raises as `two_nights`."""
    shop = rehearsal.shop
    with clock("experiment"):
        begin(shop.url)
        tested = ask(shop.url, names("visitor"))
    with clock("second day"):
        shop.new_item()
        events = shop.day(2) + shop.newcomers()
        rehearsal.say(f"The second day: {events} events, {NEW_USER} and {NEW_ITEM} among them.")
        done.slates["before"] = shop.recommend(NEW_USER)
        expected(not shop.similar(NEW_ITEM), f"{NEW_ITEM} is known before the night that trains on it.")
    with clock("live"):
        day = live_day(shop)
        rehearsal.say(f"Told live: {TOLD_ITEM if day.like else 'nothing of items'}; {day.leaver} has left.")
    with clock("second night"):
        second = _night_without_a_gap(rehearsal, done, day)
    with clock("what it serves"):
        _check_second(rehearsal, done, second.publication.release)
        for promise in check_night(shop, rehearsal.stores, second.outcome.night, second.publication.release, day):
            _kept(done, rehearsal.say, promise)
        tested = _ask_again(rehearsal, done, tested)
    with clock("rollback"):
        _check_rollback(rehearsal, done, first.publication.release)
        if day.like:
            expected(bool(shop.similar(TOLD_ITEM)), f"{TOLD_ITEM} is not known after the rollback.")
            _kept(done, rehearsal.say, f"{TOLD_ITEM} is served over the release that lacks it")
    with clock("logs of the experiment"):
        for promise in check_logs(tested):
            _kept(done, rehearsal.say, promise)
        end(shop.url)


def _night_without_a_gap(rehearsal: Rehearsal, done: TwoNights, day: LiveDay) -> SeenNight:
    """A night that takes an item in, while the API is asked for it all the time."""
    if not day.like:
        return a_night(rehearsal, done)

    def see(passage: Passage) -> None:
        rehearsal.see(passage)
        if (passage.state, passage.what) == (AFTER_SNAPSHOT, "entered"):
            tell_late(rehearsal.shop)

    with never_missing(rehearsal.shop, TOLD_ITEM):
        seen = a_night(replace(rehearsal, see=see), done)
    _kept(done, rehearsal.say, f"{TOLD_ITEM} was known from before the night until {seen.publication.release}")
    return seen


def published(ended: Ended, store: NightStore, seconds: float, logs: Callable[[], str]) -> SeenNight:
    """A night that has published. Raises VerificationFailed with its error, and what it has written, where it has not.

    `logs`: of functions and jobs.
    """
    if ended.status != "SUCCEEDED":
        tail = "\n".join(logs().splitlines()[-40:])
        raise VerificationFailed(f"the night {ended.status}: {ended.error}: {ended.cause}\n{tail}")
    night = store.ids()[-1]
    outcome = store.read(night, NightOutcome)
    if outcome.outcome is not Outcome.PUBLISHED:
        raise VerificationFailed(f"{night} ended with {outcome.outcome}: {outcome.reason}")
    lease = store.lease()
    if lease is None or not lease.released:
        raise VerificationFailed(f"{night} has ended and holds the lease.")
    return SeenNight(outcome, store.read(night, Publication), ended.seconds(), round(seconds, 1))


def _check_second(rehearsal: Rehearsal, done: TwoNights, release: str) -> None:
    shop, say = rehearsal.shop, rehearsal.say
    expected(bool(shop.similar(NEW_ITEM)), f"{release} does not know {NEW_ITEM}.")
    _kept(done, say, f"{NEW_ITEM} is known, and has neighbours")
    slate = done.slates["after"] = shop.recommend(NEW_USER)
    seen = {item["item_id"] for item in slate["items"]}
    expected(NEW_ITEM not in seen, f"{NEW_USER} is shown {NEW_ITEM}, which they have taken.")
    expected(slate["why"]["route"] != "unknown", f"{NEW_USER} is not known: {slate['why']}.")
    _kept(done, say, f"{NEW_USER} is served by route {slate['why']['route']}, without what they have seen")


def _ask_again(rehearsal: Rehearsal, done: TwoNights, before: Tested) -> Tested:
    """Everybody who was asked before a night; with what they were answered since."""
    later = ask(rehearsal.shop.url, [*before.arms])
    expected(later.arms == before.arms, f"somebody has changed arms: {before.arms}, then {later.arms}.")
    _kept(done, rehearsal.say, f"{len(later.arms)} users are in the arms that they were in before the second night")
    return Tested(before.arms, before.slates | later.slates)


def _check_rollback(rehearsal: Rehearsal, done: TwoNights, release: str) -> None:
    moved = rollback(rehearsal.stores, None)
    expected(moved.release == release, f"the rollback went to {moved.release}.")
    rehearsal.shop.await_release(release)
    _kept(done, rehearsal.say, f"rolled back: the API serves {release} again")


def _kept(done: TwoNights, say: Say, promise: str) -> None:
    done.checked.append(promise)
    say(f"✓ {promise}")
