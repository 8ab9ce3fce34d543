"""Forget a user wherever something of them lies, look that nothing is left, and say so in a certificate.

Buried first, so that nobody brings them back meanwhile; then the profile, the sessions that were theirs, and every
place file by file; then everything is read again. The names of their sessions are the last to go: without them a run
that was killed could not find the rest. It can be killed anywhere and run again, and still counts what the first run
did. It does not know where files lie (`forget_places.py`). `tandem forget` and `python -m batch_job forget` call it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import msgspec

from batch_job.forget_journal import Journals, Taken
from batch_job.forget_places import Place
from batch_job.forget_rows import FileUnreadable, Leaver, Rows
from contracts.certificate import Certificate, Checked, Remaining, Removed
from contracts.errors import ForgetIncomplete
from contracts.live import Tombstone, user_digest
from stores.identities import Identities
from stores.profile_records import check_ids, has_only_left
from stores.profiles import Profiles

FILES_AT_ONCE: Final = 8
"""Looked through: an object of a log takes 50 ms to come, and a year has a hundred thousand."""
SHOWN: Final = 5
"""Places that a message names."""

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Stores:
    """What knows users by their ids."""

    profiles: Profiles
    identities: Identities
    journals: Journals


@dataclass(frozen=True)
class Asked:
    """What is to be forgotten."""

    user_id: str
    now_seconds: int
    again: bool = False
    """As of now, although the user left before; otherwise what they did since stays, as a new beginning.

    A run that was killed is gone on with without it."""
    late_seconds: int = 0
    """What was told before the user left may reach the log so much later."""


def forget_everywhere(
    asked: Asked,
    stores: Stores,
    places: Sequence[Place],
    remains: Sequence[Remaining] = (),
    progress: Progress | None = None,
) -> Certificate:
    """Forget a user; `remains`: what is left all the same, and until when.

    Raises ForgetIncomplete where something is still there afterwards, and what the stores raise; run it again then.
    """
    check_ids((asked.user_id,), "a user's")
    work = _Forgetting(asked, stores, progress or (lambda _done, _total, _text: None))
    for place in places:
        work.take_out(place)
    checked = [work.check(place) for place in places]
    work.check_stores()
    work.forget_sessions()
    return work.certificate(places, checked, remains)


def forget_at_once(asked: Asked, stores: Stores) -> Tombstone:
    """What of it takes no time: they are buried and their profile is gone; `forget_everywhere` does the rest."""
    check_ids((asked.user_id,), "a user's")
    return _Forgetting(asked, stores, lambda _done, _total, _text: None).left


class _Forgetting:
    """One run."""

    def __init__(self, asked: Asked, stores: Stores, tell: Progress) -> None:
        self._asked, self._stores, self._tell = asked, stores, tell
        self.left = self._buried()
        merges = [merge for merge in stores.identities.merges() if merge.user_id == asked.user_id]
        self._sessions = sorted(merge.session for merge in merges if merge.merged_at <= self.left.deleted_at)
        self._leaver = Leaver((asked.user_id, *self._sessions), self.left.deleted_at)
        self._name = f"{self.left.digest}-{self.left.deleted_at}"
        self._journal = stores.journals.read(self._name)
        self._pending: dict[str, str] = {}
        self._forget_profiles()

    def take_out(self, place: Place) -> None:
        """Leave their rows out of every file of a place."""
        for name, taken in self._journal.places.get(place.where, {}).items():
            place.mend(name, taken)
        for name, rows in self._rows(place, f"files of {place.where}"):
            if rows.gone:
                place.take_out(name, self._leaver, partial(self._note, place, name))

    def check(self, place: Place) -> Checked:
        """Read every file of a place again. Raises ForgetIncomplete."""
        found = dict(self._rows(place, f"files of {place.where} looked through again"))
        if left := [f"{place.where}: {name} ({rows.gone} rows)" for name, rows in found.items() if rows.gone]:
            raise _incomplete(left)
        since = sum(rows.since for rows in found.values())
        return Checked(kind=place.kind, where=place.where, files=len(found), rows_since=since)

    def check_stores(self) -> None:
        """Raise ForgetIncomplete where a profile still holds anything from before."""
        for user_id in self._leaver.ids:
            profile = self._stores.profiles.get(user_id)
            if profile.deleted_at < self.left.deleted_at:
                raise _incomplete(["the profile" if user_id == self._asked.user_id else "the profile of a session"])

    def forget_sessions(self) -> None:
        """Take the user's name from what was theirs: its own departure keeps it out from now on."""
        for session in self._sessions:
            self._stores.identities.forget_merge(session)
        again = [one for one in self._stores.identities.merges() if one.session in self._sessions]
        if again:
            raise _incomplete([f"{len(again)} sessions still name the user"])

    def certificate(self, places: Sequence[Place], checked: list[Checked], remains: Sequence[Remaining]) -> Certificate:
        removed = []
        for place in places:
            taken = self._journal.places.get(place.where, {}).values()
            rows = sum(one.rows for one in taken)
            removed.append(Removed(kind=place.kind, where=place.where, files=len(taken), rows=rows))
        until = self.left.deleted_at + self._asked.late_seconds
        late = f"events from before may still be on their way to the log until {_text(until)}: run this again then"
        pending = [late] if self._asked.now_seconds < until else []
        return Certificate(
            user_id=self._asked.user_id,
            user_digest=self.left.digest,
            left_at=_text(self.left.deleted_at),
            made_at=_text(self._asked.now_seconds),
            sessions=len(self._journal.sessions),
            profile=self._journal.profile,
            removed=removed,
            checked=checked,
            pending=[*self._pending.values(), *pending],
            remains=list(remains),
        )

    def _buried(self) -> Tombstone:
        """When they left: now, where nobody has said so before, or it is said again."""
        identities, asked = self._stores.identities, self._asked
        there = None if asked.again else identities.tombstone(asked.user_id)
        return there or identities.bury(asked.user_id, asked.now_seconds)

    def _forget_profiles(self) -> None:
        """What a deletion through the API does, as far as it is not done."""
        for session in self._sessions:
            self._stores.identities.bury(session, self.left.deleted_at)
        held = [one for one in self._leaver.ids if self._holds(one)]
        digests = {user_digest(one) for one in self._sessions}
        self._journal.sessions = sorted({*self._journal.sessions, *digests})
        self._journal.profile |= bool(held)
        self._stores.journals.write(self._name, self._journal)
        for user_id in self._leaver.ids:
            if self._stores.profiles.get(user_id).deleted_at < self.left.deleted_at:
                self._stores.profiles.forget(user_id, self.left.deleted_at)

    def _holds(self, user_id: str) -> bool:
        """Whether a profile has anything that is to go."""
        profile = self._stores.profiles.get(user_id)
        return profile.deleted_at < self.left.deleted_at and profile.version > 0 and not has_only_left(profile)

    def _rows(self, place: Place, text: str) -> Iterator[tuple[str, Rows]]:
        """What each file of a place has of the user; one that is damaged is noted and left out."""
        names = place.names()
        pool = ThreadPoolExecutor(FILES_AT_ONCE)
        try:
            waiting = [pool.submit(place.rows, name, self._leaver) for name in names]
            for done, (name, one) in enumerate(zip(names, waiting, strict=True)):
                self._tell(done, len(names), text)
                try:
                    yield name, one.result()
                except FileUnreadable as error:
                    told = (
                        f"{place.where}: {name} is damaged, nobody can say what is in it: {error}; restore or remove it"
                    )
                    self._pending[f"{place.where}\0{name}"] = told
        finally:
            pool.shutdown(cancel_futures=True)

    def _note(self, place: Place, name: str, taken: Taken) -> None:
        there = self._journal.places.setdefault(place.where, {})
        rows = max(taken.rows, there[name].rows if name in there else 0)  # killed half-way it finds fewer
        there[name] = msgspec.structs.replace(taken, rows=rows)
        self._stores.journals.write(self._name, self._journal)


def _incomplete(left: list[str]) -> ForgetIncomplete:
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    return ForgetIncomplete(f"still there: {'; '.join(left[:SHOWN])}{more}.", fix="Run it again; it goes on.")


def _text(unix_seconds: int) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
