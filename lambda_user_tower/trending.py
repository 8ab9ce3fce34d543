"""What has become popular since the release was trained: the counts of all processes, read beside the requests.

Buckets of ten minutes that are over stay in memory; the present one and the one before are read again now and then, by
a look of its own thread. A request gets sums by item, faded to its moment, and never waits for more than a share of its
time: a store that fails leaves what was read last, and the answer says so. It knows no release and no items;
`edge.py` owns one, `retrieval.popular.trending_items` puts the sums beside a release's table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.candidates import Degraded
from contracts.deadline import Deadline
from contracts.live import BUCKET_SECONDS, COUNTED_ITEMS, COUNTS_KEPT_SECONDS, Counts
from contracts.trending import WINDOWS, half_life_seconds
from lambda_user_tower.logs import Log
from lambda_user_tower.looks import Clocks, Looks, Rhythm
from stores.live_counts import LiveCounts

LOOK_SECONDS: Final = 60.0
"""From one look to the next: what is popular in an hour does not change within a minute, and a look of two buckets of
many processes is many pages."""

TOLD_ITEMS: Final = COUNTED_ITEMS
"""Items of most weight that a request is told: ten times the longest slate."""


class LiveWeights(NamedTuple):
    """What was counted, for one request."""

    weights: Mapping[str, float]
    """Item id → sum of faded event weights; TOLD_ITEMS at most, the heaviest."""
    degraded: tuple[Degraded, ...]
    """LIVE_DATA_OLD where the counts could not be read for a while."""


class _Bucket(NamedTuple):
    """What all processes counted in ten minutes. m items."""

    numbers: NDArray[np.int32]
    """[m] places in `_View.names`; an item that several processes counted has several."""
    weights: NDArray[np.float32]
    """[m]"""


class _Sums(NamedTuple):
    """The heaviest items of a window, faded to the moment `at_seconds`."""

    names: list[str]
    weights: NDArray[np.float64]
    at_seconds: int


@dataclass(frozen=True)
class _View:
    """What was read, replaced whole by each look."""

    first: int
    """The bucket from which on everything was read."""
    last: int
    """The bucket in which it was read: this one and the one before were not over for certain."""
    buckets: Mapping[int, _Bucket]
    names: list[str]
    sums: dict[tuple[str, int], _Sums] = field(default_factory=dict)
    """By window and first bucket, as far as requests have asked."""

    def summed(self, window: str, first: int) -> _Sums:
        """The sums of a window from a bucket on; each event is taken to lie in the middle of its bucket."""
        if (known := self.sums.get((window, first))) is None:
            known = self.sums[window, first] = self._sum(half_life_seconds(window), first)
        return known

    def _sum(self, half_life: float, first: int) -> _Sums:
        at_seconds = self.last * BUCKET_SECONDS
        until = self.last + 1  # what a process writes whose clock is far ahead counts for nothing
        numbers, weights = [np.empty(0, np.int32)], [np.empty(0, np.float32)]
        for number, bucket in self.buckets.items():
            if first <= number <= until:
                numbers.append(bucket.numbers)
                weights.append(bucket.weights * np.float32(2 ** ((_middle(number) - at_seconds) / half_life)))
        summed = np.bincount(np.concatenate(numbers), np.concatenate(weights), len(self.names))
        totals = np.asarray(summed, np.float64)
        best = np.flatnonzero(totals > 0)
        if len(best) > TOLD_ITEMS:
            best = best[np.argpartition(-totals[best], TOLD_ITEMS - 1)[:TOLD_ITEMS]]
        return _Sums([self.names[number] for number in best.tolist()], totals[best], at_seconds)


_NOTHING: Final = 1 << 62
"""As a bucket: later than all, so that nothing was read from it on."""


class Trends:
    """The counts of all processes, as of the last look."""

    def __init__(
        self,
        counts: Callable[[], LiveCounts],
        log: Log,
        look_seconds: float = LOOK_SECONDS,
        clocks: Clocks | None = None,
    ) -> None:
        """Reads nothing yet. `counts` opens the store or has it open."""
        self._counts, self._clocks = counts, clocks or Clocks()
        # old: two looks have failed, or the process was frozen
        self._looks = Looks(self._look, Rhythm(look_seconds, 2 * look_seconds), log, self._clocks)
        self._wanted = _NOTHING
        self._view = _View(_NOTHING, 0, {}, [])
        self._numbers: dict[str, int] = {}

    def weights(self, window: str, watermark_seconds: int, now_seconds: int, deadline: Deadline) -> LiveWeights:
        """Faded sums of what was counted in a window after the watermark (0 where the data has no times).

        weight of an item = sum over buckets of its count × 2^(-(now - middle of the bucket) / half-life). Buckets
        count whole: those that began after the watermark and whose middle lies in the window, so up to ten minutes
        after the watermark are in neither the release nor here. What a frozen process wrote into a bucket that was
        over when it was read here is not seen. Never raises.
        """
        wanted = max(watermark_seconds // BUCKET_SECONDS + 1, (now_seconds - COUNTS_KEPT_SECONDS) // BUCKET_SECONDS)
        if wanted < self._wanted:
            self._looks.forget()
        self._wanted = wanted
        reliable = self._looks.refresh_within(deadline)
        view = self._view
        reliable = reliable and view.first <= wanted
        first = max(wanted, (now_seconds - WINDOWS[window] + BUCKET_SECONDS // 2) // BUCKET_SECONDS)
        names, weights, at_seconds = view.summed(window, first)
        faded = weights * 2 ** ((at_seconds - now_seconds) / half_life_seconds(window))
        degraded = () if reliable else (Degraded.LIVE_DATA_OLD,)
        return LiveWeights(dict(zip(names, faded.tolist(), strict=True)), degraded)

    def close(self) -> None:
        """Look no more."""
        self._looks.close()

    def _look(self) -> None:
        """Read what is not over, or everything from an earlier bucket than before. One thread at a time."""
        old, wanted = self._view, self._wanted
        now = int(self._clocks.wall()) // BUCKET_SECONDS
        start = wanted if wanted < old.first else max(wanted, old.last - 1)
        counts = self._counts().since(start)
        buckets = {number: bucket for number, bucket in old.buckets.items() if wanted <= number < start}
        for number, several in groupby(counts, attrgetter("bucket")):
            buckets[number] = self._numbered(several)
        names = list(self._numbers)
        self._view = self._with_fewer_names(_View(wanted, now, buckets, names))

    def _numbered(self, several: Iterable[Counts]) -> _Bucket:
        """The counts of several processes, their items as numbers."""
        weights = [counts.weights for counts in several]
        numbers = [self._numbers.setdefault(name, len(self._numbers)) for name in chain.from_iterable(weights)]
        summands = chain.from_iterable(one.values() for one in weights)
        return _Bucket(np.array(numbers, np.int32), np.fromiter(summands, np.float32, len(numbers)))

    def _with_fewer_names(self, view: _View) -> _View:
        """The same, without the names of items that no bucket has any more, once these are the most."""
        used = np.zeros(len(view.names), np.bool_)
        for bucket in view.buckets.values():
            used[bucket.numbers] = True
        if 2 * np.count_nonzero(used) >= len(used):
            return view
        place = (np.cumsum(used) - 1).astype(np.int32)
        names = [view.names[number] for number in np.flatnonzero(used).tolist()]
        self._numbers = {name: number for number, name in enumerate(names)}
        buckets = {number: _Bucket(place[bucket.numbers], bucket.weights) for number, bucket in view.buckets.items()}
        return _View(view.first, view.last, buckets, names)


def _middle(bucket: int) -> float:
    """Unix seconds."""
    return (bucket + 0.5) * BUCKET_SECONDS
