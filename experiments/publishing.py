"""The next envelope: what follows the one that is in force, or that nothing has to.

Knows no store: bytes of the envelope in, bytes of the next one out. `tandem experiments push` and the function that
fetches from GrowthBook call it, and write what it returns under the tag of what they read.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from contracts.errors import EnvelopeRefused
from experiments.changes import refuse_moves
from experiments.envelope import claimed_sequence, read_envelope, seal
from experiments.payload import Payload

REISSUE_SECONDS: Final = 24 * 3_600
"""The same payload is sealed again after a day, so that one that is still wanted does not become too old to be served:
it may be a week old."""


class Next(NamedTuple):
    """What is to be in force."""

    sequence: int
    data: bytes | None
    """To be written; None where what is there already says the same, and lately."""


def following(kept: bytes | None, payload: Payload, key: bytes, now_seconds: int, *, force: bool = False) -> Next:
    """The envelope of a payload after the one that is `kept`, None where there is none.

    Raises PayloadInvalid where people would be moved between arms, and EnvelopeRefused where what is kept cannot be
    read, so that nobody knows; neither with `force`.
    """
    if kept is None:
        return Next(1, seal(payload, 1, now_seconds, key))
    try:
        before, running = read_envelope(kept, key)
    except EnvelopeRefused:
        if not force:
            raise
        sequence = claimed_sequence(kept) + 1
        return Next(sequence, seal(payload, sequence, now_seconds, key))
    if running.encode() == payload.encode() and now_seconds - before.issued_at < REISSUE_SECONDS:
        return Next(before.sequence, None)
    if not force:
        refuse_moves(running, payload)
    return Next(before.sequence + 1, seal(payload, before.sequence + 1, now_seconds, key))
