"""Recommendations for many users at once, from the release that serves, as files: what a request would answer now.

    users ─▶ lists on disk ─▶ part after part: profiles ─▶ slates ─▶ Parquet ─▶ without who left meanwhile ─▶ done

The manifest is written before the first part and says from what all are made: publication, users, settings and moment.
A run that was killed is run again and makes what is missing. Live items are those of each run, so that what was hidden
since is in no part made from then on. Memory is that of one process's release and some hundred users, whatever their
number. `tandem batch` and `python -m batch_job recommend` call it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from batch_job.recommend_folder import BatchFolder, check_same
from batch_job.recommend_parts import Work, make_parts
from batch_job.recommend_plan import Plan, Sources
from batch_job.recommend_users import list_users, users_digest
from contracts.batch import BatchDone, BatchManifest, PartCounts
from contracts.live import LiveItem
from contracts.release import Publication

CLOCKS_APART: Final = 300
"""Seconds by which the clock of whoever noted that a user left may be behind ours."""

Progress = Callable[[int, int, str], None]


def recommend_all(plan: Plan, sources: Sources, out: Path, progress: Progress | None = None) -> BatchDone:
    """Fill the folder `out`; begun before with the same, go on where it was left. Finished, it only looks who left.

    Raises BatchMismatch where the folder was begun with another publication, other users or settings, NothingPublished,
    DatasetError for the file of users, StorageFull, StateBusy, JobFailed, and what the stores raise. Whatever was
    raised, parts that are there are whole.
    """
    tell = progress or (lambda _done, _total, _text: None)
    publication = sources.releases().serving().publication
    folder = BatchFolder(out)
    with folder.held():
        if plan.restart:
            folder.clear()
        manifest = _begun(plan, sources, folder, publication, tell)
        missing = folder.missing(manifest)
        work = Work(plan, sources, manifest, folder, _live_items(sources), _left(sources))
        made = _users_of(folder, manifest, missing)
        tell(made, manifest.listed, "users")
        with closing(make_parts(work, missing)) as parts:
            for counts in parts:
                made += counts.users + counts.left + counts.without_items
                tell(made, manifest.listed, "users")
        since = {digest for digest, when in _left(sources).items() if when >= manifest.moment - CLOCKS_APART}
        folder.take_out(since, manifest)
        counts = sum((folder.counts(number) for number in range(manifest.parts)), PartCounts())
        done = BatchDone(manifest=manifest, counts=counts, parts_made=len(missing))
        folder.finish(done)
    return done


def _begun(
    plan: Plan, sources: Sources, folder: BatchFolder, publication: Publication, tell: Progress
) -> BatchManifest:
    """The manifest of the folder, or a new one after all users were listed. Raises BatchMismatch."""
    begun = folder.manifest()
    wanted = BatchManifest(
        publication=publication.id,
        release=publication.release,
        served_model=publication.served_model,
        users=users_digest(plan.users),
        num_items=plan.num_items,
        settings=plan.settings(),
        moment=plan.now_seconds,
        listed=0,
        anonymous=0,
        parts=0,
    )
    if begun is not None:
        check_same(begun, wanted, folder.folder)
        return begun
    folder.clear()
    tell(0, 0, "users are listed")
    with sources.profiles() as profiles:
        listed = list_users(plan.users, profiles, folder.lists, plan.part_users)
    manifest = msgspec.structs.replace(wanted, listed=listed.users, anonymous=listed.anonymous, parts=listed.parts)
    folder.begin(manifest)
    return manifest


def _users_of(folder: BatchFolder, manifest: BatchManifest, missing: list[int]) -> int:
    """Listed users of the parts that are there."""
    there = (folder.counts(number) for number in set(range(manifest.parts)) - set(missing))
    return sum(counts.users + counts.left + counts.without_items for counts in there)


def _live_items(sources: Sources) -> Mapping[str, LiveItem]:
    with closing(sources.fresh_items()) as store:
        return {item.item_id: item for item in store.changes().items}


def _left(sources: Sources) -> dict[str, int]:
    """Who left, by `user_digest`, and when [Unix seconds]."""
    with closing(sources.identities()) as store:
        return {tombstone.digest: tombstone.deleted_at for tombstone in store.tombstones()}
