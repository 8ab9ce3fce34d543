"""Envelopes: what was sealed is opened, and nothing else is, whichever byte is touched."""

from __future__ import annotations

import json
from hashlib import sha256

import msgspec
import pytest

from contracts.errors import EnvelopeRefused
from contracts.experiment import ENVELOPE_MAX_AGE_SECONDS, MAX_ENVELOPE_BYTES, MAX_PAYLOAD_BYTES, Envelope
from experiments.envelope import (
    CLOCK_SECONDS,
    MAX_SEQUENCE,
    claimed_sequence,
    open_envelope,
    read_envelope,
    seal,
)
from experiments.payload import Payload, read_payload
from tests.experiments.payloads import RICH, running_payload

KEY = bytes(range(32))
NOW = 1_795_176_000
"""2026-11-20, 12:00 UTC."""
PAYLOAD = read_payload(RICH)
SEALED = seal(PAYLOAD, 5, NOW, KEY)


def opened(data: bytes, key: bytes = KEY, after: int = 0, now: int = NOW) -> tuple[Envelope, Payload]:
    return open_envelope(data, key, after=after, now_seconds=now)


def changed(**fields: object) -> bytes:
    """The envelope with other fields, unsigned."""
    return json.dumps(json.loads(SEALED) | fields).encode()


def test_what_was_sealed_is_opened() -> None:
    found, payload = opened(SEALED, after=5, now=NOW + ENVELOPE_MAX_AGE_SECONDS)
    assert (found.sequence, found.issued_at, found.format_version) == (5, NOW, 1)
    assert payload == PAYLOAD
    assert found.sha256 == sha256(PAYLOAD.encode().encode()).hexdigest()
    assert opened(SEALED, now=NOW - CLOCK_SECONDS)[1] == PAYLOAD


@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
def test_no_touched_byte_passes(flip: int) -> None:
    """Flipped, cut out, doubled: refused, or the same content in other words."""
    for position, byte in enumerate(SEALED):
        before, behind = SEALED[:position], SEALED[position + 1 :]
        for data in (before + bytes([byte ^ flip]) + behind, before + behind, before + bytes([byte, byte]) + behind):
            try:
                found = opened(data)
            except EnvelopeRefused:
                continue
            assert found == opened(SEALED), data


def test_no_cut_or_extended_envelope_passes() -> None:
    for length in range(len(SEALED)):
        with pytest.raises(EnvelopeRefused):
            opened(SEALED[:length])
    for more in (b"}", b"x", b"\x00", b"{}", SEALED):
        with pytest.raises(EnvelopeRefused, match="damaged"):
            opened(SEALED + more)
    assert opened(SEALED + b"\n")[1] == PAYLOAD


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "damaged"),
        (b"null", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b'{"sequence": "5"}', "damaged"),
        (b"\xff" * 10, "damaged"),
        (b" " * (MAX_ENVELOPE_BYTES + 1), f"{MAX_ENVELOPE_BYTES + 1} bytes"),
        (b" " * 10_000_000, "10000000 bytes"),
        (changed(format_version=2), "version 2"),
        (changed(format_version=0), "version 0"),
        (changed(sequence=6), "not signed"),
        (changed(issued_at=NOW + 1), "not signed"),
        (changed(signature=""), "not signed"),
        (changed(signature="ä"), "not signed"),
        (changed(signature=json.loads(SEALED)["signature"].upper()), "not signed"),
        (changed(sha256="0" * 64), "not signed"),
        (changed(payload='{"features":{}}'), "not the one that was signed"),
        (changed(sequence=0), "nothing counts to"),
        (changed(sequence=-1), "nothing counts to"),
        (changed(sequence=MAX_SEQUENCE), "nothing counts to"),
        (changed(issued_at=2**63), "nothing counts to"),
    ],
)
def test_a_wrong_envelope_is_refused_by_name(data: bytes, named: str) -> None:
    with pytest.raises(EnvelopeRefused, match=named) as caught:
        opened(data)
    assert caught.value.fix


def test_neither_old_nor_future_nor_backwards() -> None:
    with pytest.raises(EnvelopeRefused, match="sequence 5, after 6"):
        opened(SEALED, after=6)
    with pytest.raises(EnvelopeRefused, match="7 days old"):
        opened(SEALED, now=NOW + ENVELOPE_MAX_AGE_SECONDS + 1)
    with pytest.raises(EnvelopeRefused, match="in the future"):
        opened(SEALED, now=NOW - CLOCK_SECONDS - 1)
    assert read_envelope(SEALED, KEY)[1] == PAYLOAD


def test_the_key_decides() -> None:
    with pytest.raises(EnvelopeRefused, match="not signed with this key"):
        opened(SEALED, key=bytes(32))
    with pytest.raises(EnvelopeRefused, match="has 0 bytes"):
        opened(SEALED, key=b"")
    with pytest.raises(EnvelopeRefused, match="has 8 bytes"):
        seal(PAYLOAD, 1, NOW, b"8 bytes!")
    with pytest.raises(EnvelopeRefused, match="nothing counts to"):
        seal(PAYLOAD, 0, NOW, KEY)


def test_a_payload_that_was_signed_and_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by code that is newer than this one."""
    monkeypatch.setattr(Payload, "encode", lambda _: '{"features":{"tandem.a":{"defaultValue":{"new":1}}}}')
    newer = seal(Payload({}), 6, NOW, KEY)
    with pytest.raises(EnvelopeRefused, match=r"Envelope 6: Feature 'tandem\.a'"):
        opened(newer)


def test_the_sequence_of_what_nobody_can_check() -> None:
    assert claimed_sequence(changed(signature="")) == 5
    assert claimed_sequence(b"{") == claimed_sequence(b"") == claimed_sequence(changed(sequence=-3)) == 0


def test_the_largest_payload_fits() -> None:
    """Its text is JSON in JSON: each of its bytes becomes two at most."""
    text = '"' * MAX_PAYLOAD_BYTES
    worst = Envelope(sequence=MAX_SEQUENCE - 1, issued_at=MAX_SEQUENCE - 1, payload=text, sha256="f" * 64, signature="")
    assert len(msgspec.json.encode(worst)) + 64 <= MAX_ENVELOPE_BYTES
    assert len(seal(running_payload(10), 1, NOW, KEY)) < 10_000
