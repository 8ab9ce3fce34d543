"""What live stores keep, as bytes: msgpack of the structs of `contracts/live.py` behind a byte that tells the format.

It knows no store. The local and the AWS classes of the live stores write and read with it.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

CURRENT_FORMAT: Final = 1
OLDEST_READABLE_FORMAT: Final = 1

Kept = TypeVar("Kept")

_encode = msgspec.msgpack.Encoder().encode


def pack(value: Any) -> bytes:
    """A value as bytes. Raises TypeError for what is no plain data, OverflowError for integers beyond 64 bits."""
    return bytes((CURRENT_FORMAT,)) + _encode(value)


def unpack(packed: bytes, kind: type[Kept]) -> Kept:
    """The value again. Raises msgspec.DecodeError for what is damaged or of another format, without what it held."""
    if not packed:
        raise msgspec.DecodeError("an empty record")
    if not OLDEST_READABLE_FORMAT <= packed[0] <= CURRENT_FORMAT:
        raise msgspec.DecodeError(
            f"format {packed[0]} is outside the readable range {OLDEST_READABLE_FORMAT} to {CURRENT_FORMAT}"
        )
    try:
        return msgspec.msgpack.decode(memoryview(packed)[1:], type=kind)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("text of a record is no UTF-8") from error
