"""The steps that bring a release into the search domain: prepare, the parts of the load, the merge, and waiting for it.

Each may be killed and run again, or run beside itself: what is in the index already stays there. An index that was
begun for the release is gone on with; `fresh` makes a new one in place of one that did not pass its verification. A
release that the domain does not search has no business here. `handler.py` calls it.
"""

from __future__ import annotations

from typing import Any

from contracts.errors import IndexLoadFailed, RequestInvalid
from contracts.night import LoadedIndex, SealedRelease
from index_loader.finalise import Stage, advance, is_final, start_merge
from index_loader.load import load as load_part
from index_loader.night.events import Load, Merged, Night, Prepare
from index_loader.night.workplace import Workplace, naming_engine_faults
from index_loader.prepare import prepare as prepare_index
from index_loader.run import newest_index
from index_loader.sweep import is_published


@naming_engine_faults()
def prepare(place: Workplace, event: Prepare) -> dict[str, Any]:
    """An index for the release of the night and the numbers of its parts: none where it is loaded already.

    Raises IndexLoadFailed where the release cannot be indexed.
    """
    place.entered(event)
    sealed = place.nights.read(event.night, SealedRelease)
    if not sealed.indexed:
        raise IndexLoadFailed(
            f"{sealed.release} has {sealed.n_items} items and is searched without the domain.",
            fix="Go on with verify: it needs no index.",
        )
    name, final = _index(place, sealed, fresh=event.fresh)
    parts = -(-sealed.n_items // place.settings.part_items)
    place.nights.write(event.night, LoadedIndex(release=sealed.release, name=name, parts=parts))
    return {"index": name, "parts": [] if final else list(range(parts))}


def _index(place: Workplace, sealed: SealedRelease, *, fresh: bool) -> tuple[str, bool]:
    """The index to go on with, and whether it is final."""
    begun = newest_index(place.releases, place.engine, sealed.release)
    final = begun is not None and is_final(place.engine, begun)
    if begun is not None and not (fresh and final):  # one that is not final was begun by a call that was killed
        return begun, final
    name = prepare_index(place.releases, place.engine, sealed.release)
    if begun is not None and not is_published(place.releases, begun):  # a domain has no room for what failed
        place.engine.indices.delete(index=begun, params={"ignore_unavailable": "true"})
    return name, False


@naming_engine_faults()
def load(place: Workplace, event: Load) -> dict[str, Any]:
    """How many items of a part are in the index. Raises IndexLoadFailed where one is refused."""
    place.entered(event)
    index = place.nights.read(event.night, LoadedIndex)
    if event.part >= index.parts:
        raise RequestInvalid(f"{index.name} has parts 0 to {index.parts - 1}, not {event.part}.", field="part")
    loaded = load_part(place.releases, place.engine, index.release, index.name, part=event.part, parts=index.parts)
    return {"loaded": loaded}


@naming_engine_faults()
def merge(place: Workplace, event: Night) -> dict[str, Any]:
    """The task of a merge that has begun; an index that is final already needs none: it is empty, and all is done."""
    place.entered(event)
    name = place.nights.read(event.night, LoadedIndex).name
    if is_final(place.engine, name):
        return {"task": "", "done": True}
    return {"task": start_merge(place.engine, name), "done": False}


@naming_engine_faults()
def merged(place: Workplace, event: Merged) -> dict[str, Any]:
    """Whether the index is final by now; asked again until it is. Raises IndexLoadFailed where the merge failed."""
    place.entered(event)
    name = place.nights.read(event.night, LoadedIndex).name
    return {"task": event.task, "done": advance(place.engine, name, event.task) is Stage.FINAL}
