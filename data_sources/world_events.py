"""What the users of the synthetic world do: sessions about an interest, in which one item leads to the next.

A session follows one of the user's interests, whose mixture drifts over the window. Inside it an item is drawn by
popularity in the cluster, or is the one that follows the item before (clusters are rings with a fixed order): that is
the signal a sequence model finds and a popularity list does not. Items appear only after their birth and a user meets
an item once. All users of a block at a time; `generator` calls it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from data_sources.world_catalogue import Catalogue
from data_sources.world_users import INTERESTS, Population, user_ids

EVENT_TYPES: Final = ("view", "cart", "purchase")

_NEW_SESSION: Final = 0.2
"""Chance that an event opens a session: five events to a session on average."""
_RETURNS: Final = 0.6
"""Chance that a session is about what the session before was about: tastes come in spells."""
_FOLLOWS: Final = 0.65
"""Chance that an item is the successor of the one before."""
_OTHER_INTEREST: Final = 0.12
_ANYTHING: Final = 0.08
"""Chances that an event leaves the interest of its session, for another of the user's or for any cluster."""
_REDRAWS: Final = 4
"""Rounds that redraw unborn and repeated items; what is left then (about two per cent) is dropped."""
_GAP_SECONDS: Final = 70.0
_CART, _PURCHASE = 0.14, 0.09
"""Base chances; interest and price move them."""

_HOUR, _DAY = 3_600, 86_400

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Visits:
    """Events of a block before they have items: n events of s sessions, in the order of user and time."""

    user: Ints
    """[n] number of the user."""
    session: Ints
    """[n] number of the session in the block."""
    opens: NDArray[np.bool_]
    """[n] first event of a session."""
    time: Ints
    """[n] Unix seconds."""
    interest: Ints
    """[s] slot of the session's interest."""


def block_events(
    rng: np.random.Generator,
    catalogue: Catalogue,
    population: Population,
    users: Ints,
    window: tuple[int, int],
    cold_items: Ints,
) -> pl.DataFrame:
    """The events of some `users`, in order of time; `cold_items` [c] are item positions to be met once each.

    Columns: user_id, item_id, event_type, timestamp, value (price of a purchase) and `session`, its number here.
    """
    visits = _visits(rng, population, users, window)
    cluster, main = _clusters(rng, catalogue, population, visits)
    item = _items(rng, catalogue, visits, cluster)
    item, kept = _redraw(rng, catalogue, population, visits, item)
    item = _meet_cold_items(rng, catalogue, item, np.where(kept, visits.time, 0), cold_items)
    kind = _kinds(rng, main, np.log(catalogue.price[item]) - population.budget[visits.user])
    order = np.flatnonzero(kept)[np.argsort(visits.time[kept], kind="stable")]
    frame = pl.DataFrame(
        {
            "user_id": user_ids(visits.user[order]),
            "item_id": catalogue.ids.gather(item[order]),
            "event_type": pl.Series(EVENT_TYPES).gather(kind[order]),
            "timestamp": visits.time[order],
            "value": catalogue.price[item[order]],
            "session": visits.session[order],
        }
    )
    bought = pl.col("event_type") == "purchase"
    return frame.with_columns(pl.when(bought).then("value").alias("value"))


def _visits(rng: np.random.Generator, population: Population, users: Ints, window: tuple[int, int]) -> Visits:
    counts = population.events[users]
    user = np.repeat(users, counts)
    opens = rng.random(len(user)) < _NEW_SESSION
    first = np.concatenate([[0], np.cumsum(counts)])[:-1][counts > 0]
    opens[first] = True
    session = np.cumsum(opens) - 1
    owner = user[opens]
    start = _session_starts(rng, population.joined[owner], window)
    start = start[np.lexsort((start, owner))]  # owners are ascending, so this sorts within each
    gaps = 1 + rng.exponential(_GAP_SECONDS, len(user)).astype(np.int64)
    elapsed = np.cumsum(gaps)
    elapsed -= elapsed[np.flatnonzero(opens)][session]
    progress = (start - window[0]) / (window[1] - window[0])
    interest = _interest_slots(rng, population, owner, progress)
    time = np.minimum(start[session] + elapsed, window[1])
    return Visits(user, session, opens, time, interest)


def _session_starts(rng: np.random.Generator, joined: Ints, window: tuple[int, int]) -> Ints:
    """[s] a day of the user's membership and an hour of it: mostly the evening."""
    start, end = np.maximum(window[0], joined), window[1] - _HOUR
    day = (start + rng.random(len(joined)) * np.maximum(1, end - start)).astype(np.int64) // _DAY * _DAY
    clock = (rng.beta(5, 2.5, len(joined)) * _DAY).astype(np.int64)
    starts: Ints = np.clip(day + clock, start, np.maximum(start, end))
    return starts


def _interest_slots(
    rng: np.random.Generator, population: Population, owner: Ints, progress: NDArray[np.float64]
) -> Ints:
    """[s] which interest a session is about: the mixture moves from the first to the last with `progress` in [0, 1]."""
    n = len(owner)
    share = progress.astype(np.float32)[:, None]
    mix = (1 - share) * population.mix_first[owner] + share * population.mix_last[owner]
    drawn = rng.random(n, np.float32)
    slot: Ints = (np.cumsum(mix, axis=1) < drawn[:, None]).sum(axis=1).clip(max=INTERESTS - 1)
    fresh = np.concatenate([[True], owner[1:] != owner[:-1]])[:n] | (rng.random(n) >= _RETURNS)
    return slot[np.maximum.accumulate(np.where(fresh, np.arange(n), 0))]


def _clusters(
    rng: np.random.Generator, catalogue: Catalogue, population: Population, visits: Visits
) -> tuple[Ints, NDArray[np.bool_]]:
    """[n] the cluster of each event, and whether it is the session's own."""
    n, slot = len(visits.user), visits.interest[visits.session]
    leaves = rng.random(n)
    other = leaves < _OTHER_INTEREST + _ANYTHING
    slot = np.where(other, rng.integers(0, INTERESTS, n), slot)
    cluster = population.interests[visits.user, slot]
    anything = leaves < _ANYTHING
    cluster[anything] = _any_cluster(rng, catalogue, int(anything.sum()))
    return cluster, ~other


def _any_cluster(rng: np.random.Generator, catalogue: Catalogue, n: int) -> Ints:
    sums = np.cumsum(catalogue.cluster_weight)
    cluster: Ints = np.searchsorted(sums, rng.random(n) * sums[-1], side="right")
    return cluster.clip(max=catalogue.n_clusters - 1)


def _by_popularity(rng: np.random.Generator, catalogue: Catalogue, cluster: Ints) -> Ints:
    """[n] an item of each cluster, by popularity: inversion on the running sum over all items."""
    low, high = catalogue.cumulative[catalogue.starts[cluster]], catalogue.cumulative[catalogue.starts[cluster + 1]]
    item = np.searchsorted(catalogue.cumulative, low + rng.random(len(cluster)) * (high - low), side="right") - 1
    return np.clip(item, catalogue.starts[cluster], catalogue.starts[cluster + 1] - 1)


def _items(rng: np.random.Generator, catalogue: Catalogue, visits: Visits, cluster: Ints) -> Ints:
    """[n] items: heads of runs by popularity, and their successors on the cluster's ring."""
    item = _by_popularity(rng, catalogue, cluster)
    n = len(item)
    moved = np.concatenate([[True], cluster[1:] != cluster[:-1]])[:n]
    head = visits.opens | moved | (rng.random(n) >= _FOLLOWS)
    head_at = np.maximum.accumulate(np.where(head, np.arange(n), 0))
    first = catalogue.starts[cluster]
    size = catalogue.starts[cluster + 1] - first
    return first + (item[head_at] - first + np.arange(n) - head_at) % size


def _redraw(
    rng: np.random.Generator, catalogue: Catalogue, population: Population, visits: Visits, item: Ints
) -> tuple[Ints, NDArray[np.bool_]]:
    """Replace items that are cold, not yet born or met before, by others of the user's interests."""
    odd = _odd(catalogue, visits, item)
    for _ in range(_REDRAWS):
        again = np.flatnonzero(odd)
        slots = rng.integers(0, INTERESTS, len(again))
        item[again] = _by_popularity(rng, catalogue, population.interests[visits.user[again], slots])
        odd = _odd(catalogue, visits, item)
    return item, ~odd


def _odd(catalogue: Catalogue, visits: Visits, item: Ints) -> NDArray[np.bool_]:
    pair = visits.user * len(catalogue.ids) + item
    odd = np.ones(len(item), bool)
    odd[np.unique(pair, return_index=True)[1]] = False
    return odd | (catalogue.published[item] > visits.time) | (catalogue.cold_events[item] >= 0)


def _meet_cold_items(rng: np.random.Generator, catalogue: Catalogue, item: Ints, time: Ints, cold_items: Ints) -> Ints:
    """Let each of `cold_items` take the place of an event in its cluster, if one happened after its birth."""
    cluster = catalogue.cluster
    of_event = cluster[item]
    by_cluster = np.argsort(of_event, kind="stable")
    counts = np.bincount(of_event, minlength=catalogue.n_clusters)
    firsts = np.concatenate([[0], np.cumsum(counts)])
    wanted = cold_items[counts[cluster[cold_items]] > 0]
    mine = cluster[wanted]
    event = by_cluster[firsts[mine] + rng.integers(0, counts[mine])]
    event, single = np.unique(event, return_index=True)
    wanted = wanted[single]
    born = catalogue.published[wanted] <= time[event]
    item[event[born]] = wanted[born]
    return item


def _kinds(rng: np.random.Generator, main: NDArray[np.bool_], too_dear: NDArray[np.float64]) -> Ints:
    """[n] event types: a fitting price and the session's own interest make a purchase likelier."""
    eager = np.where(main, 1.2, 0.5) * np.exp(-(too_dear**2) / 2)
    drawn = rng.random(len(main))
    bought = drawn < _PURCHASE * 1.6 * eager
    return np.where(bought, 2, np.where(drawn < (_PURCHASE + _CART) * 1.6 * eager, 1, 0))
