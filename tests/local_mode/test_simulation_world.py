"""The simulated world: chance that knows no line, twins that differ by what was shown, exact click probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, kstest

from contracts.chance import splitmix64
from contracts.errors import NotEnoughData
from local_mode.simulation.chance import Purpose, uniform
from local_mode.simulation.fixed_policies import Policy, at_random, best_of_all, personal
from local_mode.simulation.nature import Nature, make_nature
from local_mode.simulation.settings import SimulationSettings
from local_mode.simulation.world import World

DAYS = 12


@pytest.fixture(scope="module")
def nature() -> Nature:
    return make_nature(SimulationSettings(users=3_000, items=200, warm_days=5, days=10))


def live(world: World, policy: Policy, days: range) -> list[tuple[np.ndarray, np.ndarray]]:
    """(users, clicks) of each day."""
    told = []
    for day in days:
        users = world.arrivals(day)
        told.append((users, world.respond(day, users, policy(world.nature, day, users))))
    return told


def test_world_chance_is_splitmix64() -> None:
    first_outputs = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]  # of the published generator, seed 0
    assert splitmix64(np.zeros(3, np.uint64), np.arange(3).astype(np.uint64)).tolist() == first_outputs


def test_world_chance_is_uniform_and_purposes_are_independent() -> None:
    users, days = np.arange(400)[:, None], np.arange(250)
    come, click = (uniform(7, purpose, users, days).ravel() for purpose in (Purpose.COME, Purpose.CLICK))
    assert kstest(come, "uniform").pvalue > 0.001
    for other in (click, np.roll(come, 1), np.roll(come, 250), uniform(8, Purpose.COME, users, days).ravel()):
        assert abs(np.corrcoef(come, other)[0, 1]) < 4 / np.sqrt(len(come))


def test_world_repeats_itself(nature: Nature) -> None:
    again = make_nature(nature.settings)
    assert again.items_table(14).equals(nature.items_table(14))
    assert again.users_table().equals(nature.users_table())
    for (users, clicks), (users_2, clicks_2) in zip(
        live(World(nature), personal, range(DAYS)), live(World(again), personal, range(DAYS)), strict=True
    ):
        assert np.array_equal(users, users_2)
        assert np.array_equal(clicks, clicks_2)


def test_twins_that_are_shown_the_same_do_the_same_whatever_others_are_shown(nature: Nature) -> None:
    """Half of the users are served by another policy in the second line; the others must not notice."""

    def half(nature_: Nature, day: int, users: np.ndarray) -> np.ndarray:
        mine = best_of_all(nature_, day, users)
        return np.where((users % 2 == 0)[:, None], mine, personal(nature_, day, users))

    one = World(nature)
    live(one, at_random, range(4))
    twin = one.copy()
    lives, twin_lives = live(one, best_of_all, range(4, DAYS)), live(twin, half, range(4, DAYS))
    differing = 0
    for (users, clicks), (users_2, clicks_2) in zip(lives, twin_lives, strict=True):
        even, even_2 = users % 2 == 0, users_2 % 2 == 0
        assert np.array_equal(users[even], users_2[even_2])
        assert np.array_equal(clicks[even], clicks_2[even_2])
        differing += not np.array_equal(users, users_2)
    assert np.array_equal(one.satisfaction[::2], twin.satisfaction[::2])
    assert differing, "the others came as often although they were served otherwise"


def test_copy_of_a_world_is_untouched_by_the_first(nature: Nature) -> None:
    one = World(nature)
    live(one, personal, range(4))
    twin, untouched = one.copy(), one.copy()
    live(one, personal, range(4, 8))
    assert np.array_equal(twin.satisfaction, untouched.satisfaction)
    assert not np.array_equal(one.satisfaction, twin.satisfaction)
    assert [u.tolist() for u, _ in live(twin, personal, range(4, 8))] == [
        u.tolist() for u, _ in live(untouched, personal, range(4, 8))
    ]


def test_respond_does_not_mind_in_which_blocks_users_come(nature: Nature) -> None:
    whole, parts = World(nature), World(nature)
    for day in range(4):
        users = whole.arrivals(day)
        slates = personal(nature, day, users)
        clicks = whole.respond(day, users, slates)
        order = np.random.default_rng(day).permutation(len(users))
        for block in np.array_split(order, 3):
            assert np.array_equal(parts.respond(day, users[block], slates[block]), clicks[block])
    assert np.array_equal(whole.satisfaction, parts.satisfaction)


@pytest.mark.parametrize("family", ["taste", "popularity"])
def test_click_probability_is_the_frequency_of_clicks(family: str) -> None:
    """A click with probability p at a place is looked at with e: p e + luck (1 - p e), or luck p e, is uniform."""
    nature = make_nature(SimulationSettings(family=family, users=3_000, items=60, warm_days=5, days=10))
    world, luck = World(nature), np.random.default_rng(0)
    lifted: dict[int, list[np.ndarray]] = {0: [], 5: []}
    for day in range(DAYS):
        users = world.arrivals(day)
        slates = personal(nature, day, users)
        chances = {place: world.click_probability(day, users, slates[:, place]) for place in lifted}
        clicks = world.respond(day, users, slates)
        for place, p in chances.items():
            q, drawn = p * nature.examination[place], luck.random(len(users))
            lifted[place].append(np.where(clicks[:, place], drawn * q, q + drawn * (1 - q)))
    for place, values in lifted.items():
        assert kstest(np.concatenate(values), "uniform").pvalue > 0.001, place


def test_click_probability_is_exact_of_one_look(nature: Nature) -> None:
    """40,000 users who are all alike look at one item: the count of clicks is binomial."""
    plain = make_nature(replace(nature.settings, family="popularity", users=40_000))
    alike = replace(plain, people=replace(plain.people, eager=np.zeros(40_000)))
    users = np.arange(40_000)
    for item in (3, 90):
        slates = np.full((len(users), plain.settings.places), -1, np.int32)
        slates[:, 0] = item
        p = World(alike).click_probability(0, users[:1], np.array([item]))[0]
        clicks = World(alike).respond(0, users, slates)
        assert binomtest(int(clicks.sum()), len(users), p).pvalue > 0.001


def test_an_empty_place_is_never_clicked_and_an_empty_slate_moves_nothing(nature: Nature) -> None:
    world = World(nature)
    users = world.arrivals(0)
    empty = np.full((len(users), nature.settings.places), -1, np.int32)
    assert not world.respond(0, users, empty).any()
    assert not world.satisfaction.any()


def test_looking_falls_with_the_place(nature: Nature) -> None:
    world = World(make_nature(replace(nature.settings, family="noise")))
    clicks = np.concatenate([clicks for _, clicks in live(world, at_random, range(DAYS))])
    share = clicks.mean(axis=0) / clicks[:, 0].mean()
    assert np.allclose(share, world.nature.examination, atol=0.08)


def test_what_was_seen_tires_and_recovers(nature: Nature) -> None:
    world, user, items = World(nature), np.array([5]), np.arange(10, dtype=np.int32)
    rested = world.click_probability(0, np.repeat(user, 10), items)
    world.respond(0, user, items[None])
    tired = world.click_probability(1, np.repeat(user, 10), items)
    later = world.click_probability(14, np.repeat(user, 10), items)
    assert tired[0] < rested[0] * 0.6
    assert later[0] > tired[0] * 1.5
    unseen = np.flatnonzero(nature.catalogue.item_category == nature.catalogue.item_category[0])[-1:]
    before = World(nature).click_probability(1, user, unseen)
    assert world.click_probability(1, user, unseen)[0] < before[0], "the category tires too"


def test_tastes_drift_in_the_world_of_tastes_only(nature: Nature) -> None:
    users, items = np.arange(200), np.tile(np.arange(20), (200, 1))
    moved = np.abs(nature.wanting(14, users, items) - nature.wanting(0, users, items))
    assert np.quantile(moved, 0.9) > 0.3
    same = make_nature(replace(nature.settings, family="popularity"))
    assert np.array_equal(same.wanting(14, users, items), same.wanting(0, users, items))


def test_at_alpha_0_nothing_that_is_shown_moves_coming_back(nature: Nature) -> None:
    """Retention and sessions then have a true effect of exactly zero."""
    bad, good = World(nature, 0.0), World(nature, 0.0)
    for (users, _), (users_2, _) in zip(live(bad, at_random, range(15)), live(good, personal, range(15)), strict=True):
        assert np.array_equal(users, users_2)
    assert good.satisfaction.mean() > bad.satisfaction.mean() + 0.2


def test_coming_back_grows_with_the_dose(nature: Nature) -> None:
    visits = []
    for alpha in (0.0, 1.0, 2.0):
        lives = [live(World(nature, alpha), policy, range(15)) for policy in (personal, at_random)]
        good, bad = (sum(len(users) for users, _ in days) for days in lives)
        visits.append(good - bad)
    assert visits[0] == 0
    assert 0 < visits[1] < visits[2]


def test_users_who_are_served_badly_pause_and_some_leave_for_good(nature: Nature) -> None:
    def nothing_wanted(nature_: Nature, day: int, users: np.ndarray) -> np.ndarray:
        worst = np.argsort(nature_.catalogue.quality[: nature_.n_born(0)])[: nature_.settings.places]
        return np.tile(worst.astype(np.int32), (len(users), 1))

    world = World(make_nature(replace(nature.settings, users=1_000, days=50)), 2.0)
    came = np.zeros((1_000, 55), bool)
    for day, (users, _) in enumerate(live(world, nothing_wanted, range(55))):
        came[users, day] = True
    for_good = world._back_on == np.iinfo(np.int32).max
    returned = (world._back_on > 0) & (world._back_on < 50)
    assert for_good.sum() > 20
    assert returned.sum() > 20
    assert came[returned, -7:].any()
    assert not for_good[world.arrivals(55)].any()


def test_users_join_leave_and_have_a_rhythm_whatever_they_are_shown(nature: Nature) -> None:
    world = World(make_nature(replace(nature.settings, users=20_000, days=200, items=50)), 0.0)
    people = world.nature.people
    for day in (0, 50, 190):
        users = world.arrivals(day)
        assert np.all(people.joined_day[users] <= day)
        assert np.all(people.gone_day[users] > day)
    assert 0.15 < (people.joined_day > 0).mean() < 0.25
    assert 0.2 < (people.gone_day <= 200).mean() < 0.4
    weekenders, others = people.weekend > 0.5, people.weekend < -0.5
    saturday, tuesday = (np.isin(np.arange(20_000), world.arrivals(day)) for day in (54, 50))
    assert saturday[weekenders].mean() > tuesday[weekenders].mean() + 0.05
    assert saturday[others].mean() < tuesday[others].mean() - 0.05


@pytest.mark.parametrize(
    "wrong",
    [{"family": "mystery"}, {"users": 0}, {"items": 5}, {"days": 0}, {"new_items_per_day": float("nan")},
     {"new_items_per_day": -1}, {"alpha": -1}, {"alpha": float("nan")}, {"warm_days": -1}],
)  # fmt: skip
def test_settings_that_make_no_world_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(NotEnoughData) as refused:
        SimulationSettings(**wrong)  # type: ignore[arg-type]
    assert refused.value.fix
