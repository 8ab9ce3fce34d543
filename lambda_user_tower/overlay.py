"""One opened release and the live items over it, with the encodings that the store does not have for this release.

A rollback, or an item told while the pointer moved, leaves items without an encoding for the release that serves: they
are encoded here, in the thread that lays over, and kept for as long as the release is open. Nothing is written back;
the process that answers slates only reads. `serving.py` makes one for each publication that it opens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from heapq import nsmallest

import msgspec

from contracts.live import Encoding, LiveItem
from retrieval.fresh import FreshEncoder, with_fresh
from retrieval.opened import OpenModel


class Overlay:
    """What live items are laid over."""

    def __init__(self, base: OpenModel, release: str, limit: int) -> None:
        """`base`: the release alone; `limit`: how many items that it does not know are served."""
        self.base, self._release, self._limit = base, release, limit
        self._encoder = FreshEncoder(base.fitted, release)
        self._made: dict[str, Encoding] = {}

    def over(self, items: Mapping[str, LiveItem]) -> OpenModel:
        """The release with live items over it; what is missing is encoded first."""
        self.encode(items)
        return with_fresh(self.base, self._completed(items), self._release, self._limit)

    def encode(self, items: Mapping[str, LiveItem]) -> None:
        """Make the missing encodings of those items that will be served, and forget those that are not needed."""
        lacking = [item for item in items.values() if item.features is not None and not self._has_one(item)]
        served = self._served(items) if lacking else frozenset()
        wanted = {item.item_id: item for item in lacking if item.item_id in served}
        made = {item_id: self._made[item_id] for item_id, item in wanted.items() if self._is_made(item)}
        self._made = made | self._encoder.missing({name: item for name, item in wanted.items() if name not in made})

    def _served(self, items: Mapping[str, LiveItem]) -> Collection[str]:
        """The earliest of the items that the release does not know, as many as there is place for."""
        told = {item.item_id: item.created_at for item in items.values() if item.features is not None}
        known = self.base.items.ids.rows(told) >= 0
        fresh = [item_id for item_id, is_known in zip(told, known.tolist(), strict=True) if not is_known]
        return frozenset(nsmallest(self._limit, fresh, lambda item_id: (told[item_id], item_id)))

    def _has_one(self, item: LiveItem) -> bool:
        encoding = item.encodings.get(self._release)
        return encoding is not None and encoding.digest == item.digest

    def _is_made(self, item: LiveItem) -> bool:
        made = self._made.get(item.item_id)
        return made is not None and made.digest == item.digest

    def _completed(self, items: Mapping[str, LiveItem]) -> Mapping[str, LiveItem]:
        if not self._made:
            return items
        return dict(items) | {
            item_id: msgspec.structs.replace(
                items[item_id], encodings={**items[item_id].encodings, self._release: encoding}
            )
            for item_id, encoding in self._made.items()
        }
