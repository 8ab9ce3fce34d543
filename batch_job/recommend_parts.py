"""The parts of a batch, made in this process or in several: profiles in, a file of slates out.

Every process opens the release and the stores for itself and is given parts by number. A process whose parent was
killed ends with it, between two files. It does not know which users are listed, nor what is done with what was made;
`recommend.py` calls it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Self

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from batch_job.profile_reading import ProfileReading
from batch_job.recommend_block import BLOCK_USERS, Ground, UserSlate, slates_of
from batch_job.recommend_folder import COLUMNS, BatchFolder
from batch_job.recommend_plan import Plan, Sources
from batch_job.recommend_users import read_list
from batch_job.side_by_side import end_with_parent, one_thread_each
from contracts.batch import BatchManifest, PartCounts
from contracts.errors import JobFailed
from contracts.fitted import Floats, Rows
from contracts.ids import IdTable
from contracts.live import LiveItem, user_digest
from contracts.profile import Profile
from retrieval.fresh import FreshEncoder, with_fresh
from retrieval.opened import OpenModel, open_model


@dataclass(frozen=True)
class Work:
    """What every process is given."""

    plan: Plan
    sources: Sources
    manifest: BatchManifest
    folder: BatchFolder
    live: Mapping[str, LiveItem]
    """Live items by id."""
    left: Mapping[str, int]
    """`user_digest` of those who had left when this run began → Unix seconds."""


def make_parts(work: Work, numbers: Sequence[int]) -> Generator[PartCounts]:
    """Make these parts, each visible before its counts come; in `plan.processes` processes, in no order.

    Raises what the stores raise, StorageFull, RequestInvalid for a promotion that the items cannot answer, JobFailed
    where a process was ended from outside; parts that came are there.
    """
    if not numbers:
        return
    if work.plan.processes < 2 or len(numbers) < 2:
        with PartMaker(work) as maker:
            yield from map(maker.make, numbers)
        return
    work.sources.releases().open(work.manifest.release)  # one process at a time fetches what is kept elsewhere
    with one_thread_each():
        pool = ProcessPoolExecutor(
            min(work.plan.processes, len(numbers)), get_context("spawn"), initializer=_begin, initargs=(work,)
        )
        waiting = [pool.submit(_make, number) for number in numbers]  # the first one starts the processes
    try:
        yield from (one.result() for one in as_completed(waiting))
    except BrokenProcessPool as error:
        raise JobFailed(
            "a process that makes recommendations was ended from outside, most likely for want of memory.",
            fix="Run it again with fewer --processes; the parts that are there stay.",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


class PartMaker:
    """Makes parts with a release and stores that it opens once."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._open = ExitStack()
        try:
            self._failed: Counter[str] = Counter()
            self._records = ProfileReading(self._open.enter_context(work.sources.profiles()), self._failed)
            self._ground = _ground(work)
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def make(self, number: int) -> PartCounts:
        """Make a part visible; what is in it."""
        users = read_list(self._work.folder.lists, number)
        unreadable, left, slates = self._failed.total(), 0, _Columns(self._ground.model.items.ids)
        for first in range(0, len(users), BLOCK_USERS):
            block = users[first : first + BLOCK_USERS]
            stored = self._records.read(block)
            profiles = [stored[user].profile if user in stored else Profile(user_id=user) for user in block]
            here = [place for place, profile in enumerate(profiles) if not self._has_left(block[place], profile)]
            left += len(block) - len(here)
            for slate in slates_of(self._ground, [block[place] for place in here], [profiles[place] for place in here]):
                slates.add(slate)
        frame = slates.frame()
        counts = PartCounts(
            users=slates.routes.total(),
            rows=len(frame),
            left=left,
            without_items=slates.without_items,
            unreadable=self._failed.total() - unreadable,
            routes=dict(sorted(slates.routes.items())),
        )
        self._work.folder.write_part(number, frame, counts)
        return counts

    def _has_left(self, user_id: str, profile: Profile) -> bool:
        """Whether a user left and nothing came since: what did come is a new beginning."""
        began_anew = profile.deleted_at and (profile.history or profile.features)
        if profile.deleted_at and not began_anew:
            return True
        left_at = self._work.left.get(user_digest(user_id)) if self._work.left else None
        return left_at is not None and not (began_anew and profile.deleted_at >= left_at)


def _ground(work: Work) -> Ground:
    plan, manifest = work.plan, work.manifest
    retrieval = replace(plan.retrieval, served_model=manifest.served_model)
    fitted = work.sources.releases().open(manifest.release)
    released = open_model(fitted, retrieval.cold_item_events)
    model = with_fresh(released, _encoded(released, work), manifest.release, retrieval.fresh_items)
    promoted = model.filters.mask(plan.promoted)
    return Ground(model, retrieval, plan.rerank, manifest.num_items, manifest.moment, promoted, plan.promoted_share)


def _encoded(released: OpenModel, work: Work) -> Mapping[str, LiveItem]:
    """The live items, with encodings for the release where the store has none: told after a rollback, say."""
    release, live = work.manifest.release, work.live
    made = FreshEncoder(released.fitted, release).missing(live)
    return dict(live) | {
        item_id: msgspec.structs.replace(live[item_id], encodings={**live[item_id].encodings, release: encoding})
        for item_id, encoding in made.items()
    }


class _Columns:
    """The slates of a part, gathered as columns."""

    def __init__(self, ids: IdTable) -> None:
        self._ids = ids
        self._users: list[str] = []
        self._places: list[int] = []
        self._of_user: dict[str, list[str]] = {"route": [], "model": []}
        self._rows: list[Rows] = []
        self._scores: list[Floats] = []
        self._explored: list[NDArray[np.bool_]] = []
        self.routes: Counter[str] = Counter()
        """Users who have a slate, by route."""
        self.without_items = 0

    def add(self, slate: UserSlate) -> None:
        """A user's slate, after those before."""
        rows = slate.ranked.rows
        if not len(rows):
            self.without_items += 1
            return
        self.routes[slate.route] += 1
        self._users.append(slate.user_id)
        self._of_user["route"].append(slate.route)
        self._of_user["model"].append(slate.model)
        self._places.append(len(rows))
        self._rows.append(rows)
        self._scores.append(slate.ranked.scores)
        self._explored.append(np.isin(rows, slate.explored) if len(slate.explored) else np.zeros(len(rows), np.bool_))

    def frame(self) -> pl.DataFrame:
        """A row a place."""
        if not self._users:
            return pl.DataFrame(schema=COLUMNS)
        owner = np.repeat(np.arange(len(self._users)), self._places)
        rank = np.arange(len(owner)) - np.repeat(np.cumsum([0, *self._places[:-1]]), self._places) + 1
        known, place = np.unique(np.concatenate(self._rows), return_inverse=True)
        columns = {
            "user_id": pl.Series(self._users)[owner],
            "rank": rank,
            "item_id": pl.Series(self._ids.texts(known))[place],
            "score": np.concatenate(self._scores),
            **{name: pl.Series(values)[owner] for name, values in self._of_user.items()},
            "explored": np.concatenate(self._explored),
        }
        return pl.DataFrame(columns, schema=COLUMNS)


class _Process:
    """What a process of the pool is for."""

    work: Work
    maker: PartMaker | None = None


def _begin(work: Work) -> None:
    """In a process of its own: remember what it is for, and end with the process that started it."""
    _Process.work = work
    end_with_parent()


def _make(number: int) -> PartCounts:
    """In a process of its own: open everything with the first part, so that what fails there is told by its name."""
    if _Process.maker is None:
        _Process.maker = PartMaker(_Process.work)
    return _Process.maker.make(number)
