"""The experiments that run, followed beside the requests (`looks.py`): who is in which variant is decided here.

    memory ─▶ store ─▶ the envelope of the deployment package ─▶ everybody is control

An envelope is opened and checked whole before it takes over, in one assignment. One that is refused leaves the last
good one deciding, and is logged once; none goes back before it. No request waits for any of this but the first of a
process, and none asks the network. Where nobody has ever pushed experiments, nothing of them is imported. It does not
know what variants change, nor who asks; `edge.py` owns one, `recommend.py` asks it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from contracts.candidates import Degraded
from contracts.errors import EnvelopeRefused, ExperimentsUnavailable
from contracts.experiment import ENVELOPE_MAX_AGE_SECONDS, NOBODY, Assigned
from lambda_user_tower.logs import Log
from lambda_user_tower.looks import Clocks, Looks, Rhythm
from lambda_user_tower.settings import LambdaSettings
from lambda_user_tower.storage import Storage

if TYPE_CHECKING:
    from experiments.payload import Payload
    from experiments.running import Running

FIRST_PATIENCE_SECONDS: Final = 3.0
"""A cold start waits so long for its first look: a key, an envelope, and 0.3 s of GrowthBook's SDK."""

JITTER: Final = 0.2
"""A thousand processes of one deployment spread over 24 of 60 seconds with their second look."""

FOLDER: Final = "experiments"
"""Of a home: there is one where somebody has pushed experiments."""

_OLD_SECONDS: Final = 600.0
"""What was seen so long ago is old for a process that begins or comes back, and waits; a request never does."""


class Deciding(NamedTuple):
    """What decides, and since when."""

    running: Running
    issued_at: int
    """Unix seconds."""

    @property
    def sequence(self) -> int:
        return self.running.sequence

    def is_too_old(self, now_seconds: float) -> bool:
        """Whether nothing may be decided by it any more."""
        return now_seconds - self.issued_at > ENVELOPE_MAX_AGE_SECONDS


class Experiments:
    """Those that run. Threads may share one."""

    def __init__(self, storage: Storage, settings: LambdaSettings, log: Log, clocks: Clocks | None = None) -> None:
        """Reads nothing yet."""
        self._storage, self._settings, self._log, self._clocks = storage, settings, log, clocks or Clocks()
        seconds = settings.experiments_check_seconds
        rhythm = Rhythm(seconds, max(_OLD_SECONDS, 2 * seconds), JITTER, "experiments-not-read")
        self.looks = Looks(self._look, rhythm, log, self._clocks)
        self.deciding: Deciding | None = None
        """None: nothing does, and everybody is control."""
        self._only_too_old = False
        self._etag, self._key = "", b""
        self._complaints: dict[str, str] = {}
        self._on, self._look_for_it = bool(settings.in_aws and settings.experiments_key_secret), -float("inf")
        self._waited, self._first = False, threading.Lock()

    @property
    def on(self) -> bool:
        """Whether anybody has experiments here; on a laptop somebody may begin to while the process runs."""
        if not self._on and not self._settings.in_aws:
            now = self._clocks.monotonic()
            if now < self._look_for_it:
                return False
            self._look_for_it = now + self._settings.experiments_check_seconds
            self._on = (self._settings.home / FOLDER).is_dir()
        return self._on

    def follow(self) -> None:
        """Have the store looked at where that is due; the first time, wait for it. Never raises."""
        if self._waited:
            self.looks.refresh()
            return
        with self._first:
            if not self._waited:
                self.looks.refresh(FIRST_PATIENCE_SECONDS)
                self._waited = True

    def look_now(self, patience_seconds: float) -> None:
        """Look at once, and wait so long: for a process that comes back after an unknown time."""
        self.looks.forget()
        self.looks.refresh(patience_seconds)

    def is_too_old(self, now_seconds: float) -> bool:
        """Whether experiments were told to run and what was told is too old."""
        deciding = self.deciding
        return self._only_too_old if deciding is None else deciding.is_too_old(now_seconds)

    def assigned(self, attributes: Callable[[], Mapping[str, Any]], now_seconds: float) -> Assigned:
        """Who asks, in the experiments; the attributes are made where anything decides. Never raises."""
        deciding = self.deciding
        if deciding is None or not deciding.running.payload.features or deciding.is_too_old(now_seconds):
            return NOBODY
        return deciding.running.assign(attributes())

    def degraded(self, now_seconds: float) -> tuple[str, ...]:
        """What an answer says of them."""
        return (Degraded.EXPERIMENTS_OLD,) if self.is_too_old(now_seconds) else ()

    def _look(self) -> None:
        """Read the store, and let what is new there take over. In a thread of its own, one at a time."""
        try:
            kept = self._storage.experiments.read()
        except EnvelopeRefused as error:  # larger than one can be: it was not read
            self._complain("store", error)
            kept = None
        except ExperimentsUnavailable:
            self._take_packaged()
            raise
        if kept is not None and (kept.etag == self._etag or self._taken("store", kept.data)):
            self._etag = kept.etag
        else:
            self._take_packaged()

    def _take_packaged(self) -> None:
        """The envelope of the package, where nothing decides and there is one."""
        path = self._settings.experiments_packaged
        if self.deciding is None and path.is_file():
            self._taken("package", path.read_bytes())

    def _taken(self, source: str, data: bytes) -> bool:
        """Let an envelope decide; False where it is refused, and what decided before goes on."""
        from experiments.envelope import open_envelope

        now_seconds = int(self._clocks.wall())
        after = 0 if self.deciding is None else self.deciding.sequence
        try:
            envelope, payload = open_envelope(data, self._current_key(), after=after, now_seconds=now_seconds)
            running = _running(payload, envelope.sequence)
        except EnvelopeRefused as error:
            self._only_too_old |= self.deciding is None and self._is_merely_old(data, now_seconds)
            self._complain(source, error)
            self._key = b""  # it may have been exchanged
            return False
        self.deciding = Deciding(running, envelope.issued_at)
        self._only_too_old = False
        self._complaints.clear()
        number = len(payload.experiments)
        self._log.write("INFO", "experiments-taken-over", sequence=envelope.sequence, experiments=number)
        return True

    def _current_key(self) -> bytes:
        """Raises EnvelopeRefused where there is none, ExperimentsUnavailable where it cannot be read."""
        if not self._key:
            key = self._storage.experiments_key()
            if key is None:
                raise EnvelopeRefused("there is no key to check it by.", fix="Push the experiments again.")
            self._key = key
        return self._key

    def _is_merely_old(self, data: bytes, now_seconds: int) -> bool:
        """Whether an envelope that was refused would have been taken in its time."""
        from experiments.envelope import read_envelope

        try:
            envelope, _ = read_envelope(data, self._key)
        except EnvelopeRefused:
            return False
        return now_seconds - envelope.issued_at > ENVELOPE_MAX_AGE_SECONDS

    def _complain(self, source: str, error: EnvelopeRefused) -> None:
        """Log what is wrong, once."""
        if self._complaints.get(source) != str(error):
            self._complaints[source] = str(error)
            self._log.write("ERROR", "experiments-refused", source=source, error=str(error))


def _running(payload: Payload, sequence: int) -> Running:
    """A payload at work. Raises ExperimentsUnavailable without GrowthBook's SDK, EnvelopeRefused where it gives up."""
    from experiments.running import Running

    try:
        return Running(payload, sequence)
    except ImportError as error:
        message = f"GrowthBook's SDK is not installed: {error}."
        raise ExperimentsUnavailable(message, fix="pip install 'tandem-recommender[experiments]'") from error
    except (TypeError, ValueError, LookupError, AttributeError) as error:  # what no check of ours foresaw
        raise EnvelopeRefused(f"Envelope {sequence}: GrowthBook's SDK does not take it: {error!r}.") from error
