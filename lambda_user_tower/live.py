"""What the store of fresh items has to tell, followed beside the requests (`looks.py`).

What is known stays in memory and is replaced whole where something changed, once whoever lays it over a release has
done so: what could not be applied is told again. It does not know what items are laid over; `serving.py` does that,
`places.py` counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Final

from contracts.errors import LiveDataUnavailable
from contracts.live import LiveItem
from lambda_user_tower.logs import Log
from lambda_user_tower.looks import NEVER, Clocks, Looks, Rhythm
from stores.fresh_items import FreshItems

OLD_SECONDS: Final = 10.0
"""News of this age is old: two looks have failed, or the process was frozen. With the looks themselves, a hidden item
is gone from every slate within fifteen seconds."""

FIRST_PATIENCE_SECONDS: Final = 2.0
"""A cold start waits so long for its first look; thousands of items are several pages."""

WHOLE_SECONDS: Final = 3_600.0
"""After so long everything is read anew, for what the store forgets (settled, removed) is no news."""


class LiveItems:
    """Live items as of the last look."""

    def __init__(
        self, store: Callable[[], FreshItems], check_seconds: float, log: Log, clocks: Clocks | None = None
    ) -> None:
        """Reads nothing yet. `store` opens the store or has it open; it is looked at every `check_seconds` at most."""
        self._store, self._clocks = store, clocks or Clocks()
        old_seconds = max(OLD_SECONDS, 2 * check_seconds)  # who looks more rarely asks for older news
        self.looks = Looks(self._read, Rhythm(check_seconds, old_seconds), log, self._clocks)
        self.items: Mapping[str, LiveItem] = {}
        """By id; replaced, never changed."""
        self.apply: Callable[[Mapping[str, LiveItem]], None] = lambda _: None
        """Called with the new items in the thread of the look that brought them."""
        self._cursor, self._read_whole = "", NEVER

    @property
    def age_seconds(self) -> float | None:
        """Since the store was read, to a tenth; None before it was."""
        age = self.looks.age_seconds
        return round(age, 1) if isfinite(age) else None

    def start_over(self) -> None:
        """Know nothing, and have everything told again: for one who could not apply what was told."""
        self.items, self._cursor, self._read_whole = {}, "", NEVER
        self.looks.forget()

    def _read(self) -> None:
        """Read what changed, and have it applied where it is new; it is known only then."""
        began = self._clocks.now()
        whole = self._clocks.since(self._read_whole) >= WHOLE_SECONDS
        news = self._store().changes("" if whole else self._cursor)
        if news.items or whole:
            items = ({} if whole else dict(self.items)) | {item.item_id: item for item in news.items}
            if items != self.items:
                self._apply(items)
                self.items = items
        self._cursor = news.cursor
        if whole:
            self._read_whole = began

    def _apply(self, items: Mapping[str, LiveItem]) -> None:
        try:
            self.apply(items)
        except (ValueError, MemoryError) as error:  # an item that no check foresaw, or too many of them
            raise LiveDataUnavailable(f"live items cannot be laid over the release: {error!r}.") from error
