"""Experiments on their way: who was put where, and the signed envelope in which a payload travels.

A payload is what the GrowthBook API hands to its SDKs: features with rules. Those whose key begins with FEATURE_PREFIX
are ours, one experiment each, and their values are `Treatment`s. `experiments/` reads and writes all of this, the
stores keep envelopes as bytes, the Lambda edge serves by them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from contracts.treatment import Treatment

FEATURE_PREFIX: Final = "tandem."
"""Of the keys of features that decide about slates; others of a payload are left out before anything looks at it."""

CURRENT_ENVELOPE_VERSION: Final = 1
OLDEST_READABLE_ENVELOPE_VERSION: Final = 1

MAX_PAYLOAD_BYTES: Final = 256 * 1024
"""Of a reduced payload: a hundred experiments of four variants are 80 KB."""

MAX_ENVELOPE_BYTES: Final = 2 * MAX_PAYLOAD_BYTES + 4_096
"""A payload is text within text there, where every quotation mark takes two bytes."""

ENVELOPE_MAX_AGE_SECONDS: Final = 7 * 24 * 3_600
"""An envelope is served for so long after it was issued, whatever became of what issues them; then control is."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A payload with what is needed to trust it. `experiments/envelope.py` seals and opens it."""

    format_version: int = CURRENT_ENVELOPE_VERSION
    sequence: int
    """Higher than that of every envelope before it: an older one is refused, whoever signed it."""
    issued_at: int
    """Unix seconds."""
    payload: str
    """JSON text of the reduced payload, byte for byte what `sha256` is of."""
    sha256: str
    signature: str
    """HMAC-SHA256, as hexadecimal digits, over version, sequence, issued_at and sha256."""


class Assignment(msgspec.Struct, frozen=True):
    """Where one user is in one experiment that they take part in."""

    experiment: str
    """Key of the experiment."""
    variation: str
    """Key of the variation, as GrowthBook names it in its results."""

    @property
    def label(self) -> str:
        """As `why.variant` and the log of slates show it."""
        return f"{self.experiment}:{self.variation}"


class Assigned(msgspec.Struct, frozen=True):
    """What becomes of one request."""

    treatment: Treatment = Treatment()
    """Of all experiments together."""
    assignments: tuple[Assignment, ...] = ()
    """Experiments that the user takes part in, the control's included; whoever is not in one is not listed."""
    sequence: int = 0
    """Of the payload that decided; 0: none did."""


NOBODY: Final = Assigned()
"""Of a request that no experiment is about."""
