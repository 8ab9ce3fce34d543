"""A line of the world that is served with random places: what its log says of them, and what could have been there.

    slates with random places ─▶ clicks ─▶ log          popular items, the last places drawn by chance
    the same line-up without chance ─▶ pools            what each of these places was drawn from

Served by the batch path with a real treatment. The log holds what was drawn, with which probability, and what was
clicked; the pools are made again from the release and the profiles of that moment, as whoever keeps both can. The world
adds how likely each item was to be clicked. `off_policy_panel.py` asks a log what another policy would have got.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from batch_job.recommend_block import BLOCK_USERS, Ground, UserSlate, slates_of
from contracts.errors import ExposuresInvalid
from contracts.profile import Profile
from contracts.request import RecommendationRequest
from contracts.served import ServedSlate
from contracts.treatment import RANDOM_POOL, Treatment
from experiments.analysis.slates import frame_of, places_of, randomised
from local_mode.simulation.exposing import DAY_SECONDS, Day, event_frame, session_id
from local_mode.simulation.lines import Line
from local_mode.simulation.nature import Nature
from reranking.settings import RerankSettings
from retrieval.opened import OpenModel
from retrieval.query import query_vector
from retrieval.recommend import arrive
from retrieval.settings import RetrievalSettings
from retrieval.visitor import current_session

RANDOM_PLACES: Final = 5
"""Of ten: the lower half, which a third to a half of the visitors look at."""

LINE_UP: Final = Treatment(model="popularity", diversity="none", recency_weight=0.0, exploration_share=0.0)
"""Popular items in their order, so that a longer slate begins with the same ones and goes on with the pool; nothing is
explored, whose places would come after the random ones."""

LOGGING: Final = msgspec.structs.replace(LINE_UP, random_places=RANDOM_PLACES)

_NOON: Final = DAY_SECONDS // 2

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class RandomLog:
    """Places that chance filled, in the order of the log. r places, p items a pool."""

    users: Ints
    """[r]"""
    clicked: Floats
    """[r]"""
    propensities: Floats
    """[r]"""
    place: Ints
    """[r] from 0"""
    logged: Ints
    """[r] which item of the pool was there."""
    free: Flags
    """[r, p] items of the pool that no place before had."""
    popularity: Floats
    """[r, p] log of 1 + the events that the release knows of each item of the pool."""
    scores: Floats
    """[r, p] by ALS; all 0 for who has no history."""
    chance: Floats
    """[r, p] true chance that the item is clicked at that place; no estimator sees it."""
    favourite: Floats
    """[r] the same of the item that ALS likes best of all that no place before had."""
    favourite_at: Ints
    """[r] which item of the pool that is, -1: none of them."""


@dataclass(frozen=True)
class _Visits:
    """The visits of a day that have whole pools. v visits, k places, n items of the release."""

    users: Ints
    """[v]"""
    rows: Ints
    """[v, k] of the release: what was served."""
    pools: Ints
    """[v, p] rows"""
    scores: Floats
    """[v, n] by ALS."""


class LoggingLine(Line):
    """A line that goes on after its warm-up under LOGGING, by one release."""

    def log(self, days: Sequence[int], model: OpenModel, release: str) -> RandomLog:
        """Serve these days, the first ones after the warm-up, and keep what their random places say."""
        parts = [self._log_day(day, model, release) for day in days]
        return RandomLog(**{one.name: np.concatenate([getattr(part, one.name) for part in parts])
                            for one in fields(RandomLog)})  # fmt: skip

    def _log_day(self, day: int, model: OpenModel, release: str) -> RandomLog:
        nature, users = self.nature, self.world.arrivals(day)
        now_seconds = nature.settings.start + day * DAY_SECONDS + _NOON
        ground = Ground(model, RetrievalSettings(), RerankSettings(), nature.settings.places, now_seconds)
        ids = [nature.user_ids[user] for user in users.tolist()]
        profiles = [self._profiles.of(user) for user in users.tolist()]
        served = _slates(ground, LOGGING, ids, profiles)
        whole, visits = _visits(ground, users, served, _pools(ground, ids, profiles), _als_scores(ground, profiles))
        number = _numbers(model, nature)
        truth = self._truth(day, visits, number)
        slates = np.full((len(users), nature.settings.places), -1, np.int32)
        for visit, slate in enumerate(served):
            slates[visit, : len(slate.ranked.rows)] = number[slate.ranked.rows]
        lived = self._lived(day, users, slates, release=release)
        return _random_log(visits, model, _places(nature, model, lived, served, whole), truth)

    def _truth(self, day: int, visits: _Visits, number: NDArray[np.int32]) -> tuple[Floats, Floats, Ints]:
        """Before anybody looks: chance of a click of the pools [v, RANDOM, p] and of ALS's favourites [v, RANDOM], and
        the rows of these [v, RANDOM]."""
        favourites = _favourites(visits)
        looks = self.nature.examination[-RANDOM_PLACES:]
        pool = self._clicking(day, visits.users, number[visits.pools])
        favourite = self._clicking(day, visits.users, number[favourites])
        return pool[:, None, :] * looks[:, None], favourite * looks, favourites

    def _clicking(self, day: int, users: Ints, items: NDArray[np.int32]) -> Floats:
        """[v, c] of a look of each user [v] at items [v, c]."""
        repeated = np.repeat(users, items.shape[1])
        return self.world.click_probability(day, repeated, items.ravel()).reshape(items.shape)


def _slates(ground: Ground, treatment: Treatment, ids: Sequence[str], profiles: Sequence[Profile]) -> list[UserSlate]:
    treated = Ground(ground.model, ground.retrieval, ground.rerank, ground.num_items, ground.now_seconds,
                     treatment=treatment)  # fmt: skip
    found: list[UserSlate] = []
    for first in range(0, len(ids), BLOCK_USERS):
        block = slice(first, first + BLOCK_USERS)
        found += slates_of(treated, ids[block], profiles[block])
    return found


def _pools(ground: Ground, ids: Sequence[str], profiles: Sequence[Profile]) -> list[NDArray[np.int32]]:
    """[a] rows that the random places of each were drawn from, in their order."""
    kept = ground.num_items - RANDOM_PLACES
    longer = msgspec.structs.replace(LINE_UP, num_items=kept + RANDOM_POOL)
    return [slate.ranked.rows[kept:] for slate in _slates(ground, longer, ids, profiles)]


def _als_scores(ground: Ground, profiles: Sequence[Profile]) -> Floats:
    """[a, n] of all items of the release."""
    vectors = ground.model.index.vectors["als"].astype(np.float64)
    scores = np.zeros((len(profiles), len(vectors)))
    for line, profile in enumerate(profiles):
        current = current_session(profile, ground.now_seconds)
        visitor = arrive(ground.model, current, RecommendationRequest(), ground.retrieval).visitor
        if len(visitor.rows):
            scores[line] = vectors @ query_vector(ground.model, visitor, "als")
    return scores


def _visits(
    ground: Ground,
    users: Ints,
    served: Sequence[UserSlate],
    pools: Sequence[NDArray[np.int32]],
    scores: Floats,
) -> tuple[Flags, _Visits]:
    """Which visits [a] have as many places and as large a pool as they should, and those."""
    whole = np.array([len(pool) == RANDOM_POOL for pool in pools], np.bool_)
    whole &= [len(slate.ranked.rows) == ground.num_items for slate in served]
    chosen = np.flatnonzero(whole).tolist()
    rows = np.array([served[visit].ranked.rows for visit in chosen], np.int64).reshape(-1, ground.num_items)
    drawn_from = np.array([pools[visit] for visit in chosen], np.int64).reshape(-1, RANDOM_POOL)
    return whole, _Visits(users[whole], rows, drawn_from, scores[whole])


def _favourites(visits: _Visits) -> Ints:
    """[v, RANDOM] the row that ALS likes best for each random place, of all that the slate doesn't have before."""
    kept = visits.rows.shape[1] - RANDOM_PLACES
    left, lines = visits.scores.copy(), np.arange(len(visits.users))
    best = np.empty((len(lines), RANDOM_PLACES), np.int64)
    for place in range(visits.rows.shape[1]):
        if place >= kept:
            best[:, place - kept] = left.argmax(axis=1)
        left[lines, visits.rows[:, place]] = -np.inf
    return best


def _numbers(model: OpenModel, nature: Nature) -> NDArray[np.int32]:
    """[n] the item number of each row of the release."""
    number = {item_id: place for place, item_id in enumerate(nature.item_ids)}
    return np.array([number[item_id] for item_id in model.items.ids.texts(np.arange(len(model.items)))], np.int32)


def _places(nature: Nature, model: OpenModel, lived: Day, served: Sequence[UserSlate], whole: Flags) -> pl.DataFrame:
    """The random places of whole visits as the logs of slates and events have them."""
    slates = [
        ServedSlate(
            recommendation_id=session_id(nature, user, lived.day),
            user_id=slate.user_id,
            timestamp=second,
            route=slate.route,
            model=slate.model,
            release=lived.release,
            publication="",
            items=model.items.ids.texts(slate.ranked.rows),
            scores=slate.ranked.scores.tolist(),
            propensities=[] if slate.ranked.propensities is None else slate.ranked.propensities.tolist(),
        )
        for user, second, slate in zip(
            lived.users.tolist(), nature.visit_second(lived.day, lived.users).tolist(), served, strict=True
        )
    ]
    kept = [slate for slate, is_whole in zip(slates, whole.tolist(), strict=True) if is_whole]
    events = event_frame(nature, lived).with_columns(recommendation_id="session_id")
    return randomised(places_of(frame_of(kept), events))


def _random_log(
    visits: _Visits, model: OpenModel, places: pl.DataFrame, truth: tuple[Floats, Floats, Ints]
) -> RandomLog:
    """The log of a day, place by place; raises ExposuresInvalid where it does not fit the pools."""
    drawn = visits.rows[:, -RANDOM_PLACES:]
    is_drawn = drawn[:, :, None] == visits.pools[:, None, :]
    if not is_drawn.any(axis=2).all() or len(places) != drawn.size:
        raise ExposuresInvalid("A random place shows what was in no pool.", fix="Serve by the release that was logged.")
    before = np.cumsum(is_drawn, axis=1) - is_drawn
    is_favourite = truth[2][:, :, None] == visits.pools[:, None, :]
    pool_scores = np.take_along_axis(visits.scores, visits.pools, axis=1)
    known = np.log1p(model.items.events[visits.pools].astype(np.float64))
    return RandomLog(
        users=np.repeat(visits.users, RANDOM_PLACES),
        clicked=places["clicked"].to_numpy(),
        propensities=places["propensity"].to_numpy(),
        place=places["place"].to_numpy().astype(np.int64),
        logged=is_drawn.argmax(axis=2).ravel(),
        free=(before == 0).reshape(-1, RANDOM_POOL),
        popularity=np.repeat(known, RANDOM_PLACES, axis=0),
        scores=np.repeat(pool_scores, RANDOM_PLACES, axis=0),
        chance=truth[0].reshape(-1, RANDOM_POOL),
        favourite=truth[1].ravel(),
        favourite_at=np.where(is_favourite.any(axis=2), is_favourite.argmax(axis=2), -1).ravel(),
    )
