"""Profiles as a dataset tells them, user by user, for the load of all users after a publication.

One pass over the events in CSR form; memory does not grow with the users. It knows no store and nothing of what is
stored already: `profile_rules.with_load` puts the two together. Both profile stores call it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any

from contracts.interactions import Interactions
from contracts.live import is_anonymous
from contracts.profile import HISTORY_LIMIT, SEEN_LIMIT, HistoryEvent, Profile
from stores.profile_records import check_ids


def loaded_profiles(
    user_ids: Iterable[str],
    item_ids: Sequence[str],
    interactions: Interactions,
    features: Iterable[Mapping[str, Any]] | None,
    *,
    timed: bool,
) -> Iterator[Profile]:
    """The profile of each user from their events, without a version. Raises IdInvalid for items that cannot be stored.

    Equal times stay in the order of the dataset. Anonymous sessions are left out: they live by what comes in, expire,
    and say whose they are. See `Profiles.bulk_load` for the arguments.
    """
    names = list(item_ids)
    check_ids(names, "an item's")
    known: Iterable[Mapping[str, Any]] = repeat({}) if features is None else features
    for user, (user_id, told) in enumerate(zip(user_ids, known, strict=features is not None)):
        if is_anonymous(user_id):
            continue
        events = interactions.of(user)
        newest = slice(max(events.start, events.stop - HISTORY_LIMIT), events.stop)
        rows = interactions.items[events].tolist()
        times = interactions.times[newest].tolist() if timed else repeat(None)
        items = (names[row] for row in rows[-HISTORY_LIMIT:])
        newest_seen = [names[row] for row in islice(dict.fromkeys(reversed(rows)), SEEN_LIMIT)]
        yield Profile(
            user_id=user_id,
            history=list(map(HistoryEvent, items, times, interactions.weights[newest].tolist())),
            n_events=len(rows),
            seen=newest_seen[::-1],
            features={name: value for name, value in told.items() if value is not None},
        )
