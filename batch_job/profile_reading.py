"""Records of many users read at once: one that is damaged is told from a store that does not answer.

A store in which one record after the other cannot be read is down. It does not know what records are read for: repairs
bring them up to the log, a batch makes recommendations of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from contracts.errors import ProfilesUnavailable
from stores.profiles import Profiles, Stored

TRIED_IN_VAIN: Final = 10
"""Users in a row without a readable record, after which it is the store that does not answer."""


class ProfileReading:
    """Reads records, and counts by code of the failure those that cannot be read."""

    def __init__(self, profiles: Profiles, failed: Counter[str]) -> None:
        """`failed` is added to."""
        self._profiles, self._failed = profiles, failed
        self._in_vain = 0

    def read(self, user_ids: Sequence[str]) -> dict[str, Stored]:
        """The records of some users, without those that cannot be read, which are counted.

        Raises ProfilesUnavailable after TRIED_IN_VAIN of these in a row.
        """
        try:
            return self._profiles.read(user_ids)
        except ProfilesUnavailable:
            found: dict[str, Stored] = {}
        for user_id in user_ids:
            try:
                found |= self._profiles.read([user_id])
                self._in_vain = 0
            except ProfilesUnavailable as error:
                self._in_vain += 1
                if self._in_vain >= TRIED_IN_VAIN:
                    raise
                self._failed[error.code] += 1
        return found
