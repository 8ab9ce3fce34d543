"""The signed envelope of a payload: sealed where payloads come from, opened where people are served by them.

Whoever can write to the store of experiments cannot thereby change what people are served: HMAC-SHA256 under a key that
only publishers and servers have. Everything is checked before anything is swapped. GrowthBook's own encryption would
not do: it has no authentication code, and a flipped bit decrypts to another payload. The Lambda edge opens;
`publishing.py` seals.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

import msgspec

from contracts.errors import EnvelopeRefused, PayloadInvalid
from contracts.experiment import (
    CURRENT_ENVELOPE_VERSION,
    ENVELOPE_MAX_AGE_SECONDS,
    MAX_ENVELOPE_BYTES,
    OLDEST_READABLE_ENVELOPE_VERSION,
    Envelope,
)
from experiments.payload import Payload, read_payload
from experiments.refusal import cut

MAX_SEQUENCE: Final = 2**53
"""What every language counts to exactly; sequences and moments are below it."""
CLOCK_SECONDS: Final = 300
"""An envelope may be from so far in the future: clocks differ, by less than this where time is kept at all."""
MIN_KEY_BYTES: Final = 16
"""128 bits; the keys that are made here have 32 bytes."""

_PURPOSE: Final = b"tandem experiments envelope"
"""Begins what is signed, so that no signature of something else under the same key is one of an envelope."""
_PUSH: Final = "Push the experiments again; what served before goes on."

_decode: Final = msgspec.json.Decoder(Envelope).decode
_encode: Final = msgspec.json.Encoder().encode


def seal(payload: Payload, sequence: int, issued_at: int, key: bytes) -> bytes:
    """The envelope of a payload. `issued_at`: Unix seconds; `key`: MIN_KEY_BYTES or more. Raises EnvelopeRefused."""
    text = payload.encode()
    unsigned = Envelope(
        sequence=sequence, issued_at=issued_at, payload=text, sha256=sha256(text.encode()).hexdigest(), signature=""
    )
    _check_numbers(unsigned)
    return _encode(msgspec.structs.replace(unsigned, signature=_signature(unsigned, key)))


def open_envelope(data: bytes, key: bytes, *, after: int, now_seconds: int) -> tuple[Envelope, Payload]:
    """The envelope and its payload, checked through and through. Raises EnvelopeRefused for whatever is wrong.

    `after`: sequence of the last good one; the same is not refused, a smaller one is. `now_seconds`: Unix seconds.
    """
    envelope, payload = read_envelope(data, key)
    if envelope.sequence < after:
        raise EnvelopeRefused(f"The envelope has sequence {envelope.sequence}, after {after}.", fix=_PUSH)
    if (age := now_seconds - envelope.issued_at) > ENVELOPE_MAX_AGE_SECONDS:
        raise EnvelopeRefused(f"Envelope {envelope.sequence} is {age // 86_400} days old.", fix=_PUSH)
    if age < -CLOCK_SECONDS:
        raise EnvelopeRefused(
            f"Envelope {envelope.sequence} was issued {-age} s in the future.", fix="Set the clock of who issues it."
        )
    return envelope, payload


def read_envelope(data: bytes, key: bytes) -> tuple[Envelope, Payload]:
    """The same for one of any age and sequence: what a publisher goes on from. Raises EnvelopeRefused."""
    envelope = _parsed(data)
    if not hmac.compare_digest(_signature(envelope, key).encode(), envelope.signature.encode()):
        raise EnvelopeRefused(
            "The envelope is not signed with this key.", fix="Give both sides the same key, or push again with --force."
        )
    if sha256(envelope.payload.encode()).hexdigest() != envelope.sha256:
        raise EnvelopeRefused("The payload of the envelope is not the one that was signed.", fix=_PUSH)
    try:
        return envelope, read_payload(envelope.payload)
    except PayloadInvalid as error:
        raise EnvelopeRefused(f"Envelope {envelope.sequence}: {error.message}", fix=error.fix) from error


def claimed_sequence(data: bytes) -> int:
    """The sequence that an envelope has, whoever signed it; 0 of what is none."""
    try:
        return _parsed(data).sequence
    except EnvelopeRefused:
        return 0


def _parsed(data: bytes) -> Envelope:
    if len(data) > MAX_ENVELOPE_BYTES:
        raise EnvelopeRefused(f"The envelope has {len(data)} bytes, over {MAX_ENVELOPE_BYTES}.", fix=_PUSH)
    try:
        envelope = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EnvelopeRefused(f"The envelope is damaged: {cut(str(error))}.", fix=_PUSH) from error
    if not OLDEST_READABLE_ENVELOPE_VERSION <= envelope.format_version <= CURRENT_ENVELOPE_VERSION:
        raise EnvelopeRefused(
            f"The envelope is of version {cut(str(envelope.format_version))}.",
            fix=f"Deploy code that reads it; this reads {OLDEST_READABLE_ENVELOPE_VERSION} to "
            f"{CURRENT_ENVELOPE_VERSION}.",
        )
    _check_numbers(envelope)
    return envelope


def _check_numbers(envelope: Envelope) -> None:
    if not 1 <= envelope.sequence < MAX_SEQUENCE or not 0 <= envelope.issued_at < MAX_SEQUENCE:
        raise EnvelopeRefused("The envelope has a sequence or a moment that nothing counts to.", fix=_PUSH)


def _signature(envelope: Envelope, key: bytes) -> str:
    if len(key) < MIN_KEY_BYTES:
        raise EnvelopeRefused(
            f"The key of the experiments has {len(key)} bytes.", fix=f"Give {MIN_KEY_BYTES} or more, better 32."
        )
    told = f"{envelope.format_version}\n{envelope.sequence}\n{envelope.issued_at}\n{envelope.sha256}"
    return hmac.new(key, b"\n".join((_PURPOSE, told.encode())), sha256).hexdigest()
