"""The synthetic world is the same for a seed, keeps its promises, and holds signal that a model can find."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from contracts.errors import DatasetError, NotEnoughData
from contracts.interactions import Interactions
from data_sources import generator
from data_sources.checks import Status
from data_sources.dataset import Dataset, open_dataset
from data_sources.doctor import diagnose
from data_sources.generator import WorldSettings, generate
from data_sources.indexed import index_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "d"
    generate(folder, WorldSettings(users=2_000, items=500, seed=3))
    return folder


@pytest.fixture(scope="module")
def world(folder: Path) -> Dataset:
    return open_dataset(folder)


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def test_a_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "USERS_PER_BLOCK", 70)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(tmp_path / name, WorldSettings(users=200, items=60, seed=seed))
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b") != _digest(tmp_path / "c")
    assert len(list((tmp_path / "a" / "events").iterdir())) == 3


def test_the_bytes_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from data_sources.generator import WorldSettings, generate; "
    code += "generate(Path(sys.argv[1]), WorldSettings(users=300, items=80))"
    for threads in ("1", "4"):
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / threads)],
            env={"POLARS_MAX_THREADS": threads, "PATH": ""},
            cwd=Path(__file__).resolve().parents[2],
            check=True,
        )
    assert _digest(tmp_path / "1") == _digest(tmp_path / "4")


def test_the_doctor_finds_nothing_wrong(folder: Path) -> None:
    diagnosis = diagnose(folder)
    assert [result.name for result in diagnosis.checks if result.status is not Status.PASS] == []


def test_sizes_are_what_was_asked_for(world: Dataset) -> None:
    assert (len(world.users), len(world.items)) == (2_000, 500)
    assert 40_000 <= len(world.events) <= 60_000


def test_cold_users_and_items_are_as_many_as_asked_for(world: Dataset) -> None:
    indexed = index_dataset(world)
    per_user, per_item = indexed.interactions.lengths, indexed.interactions.item_counts()
    assert 0.09 <= (per_user < 5).mean() <= 0.12
    assert 0.09 <= (per_item < 5).mean() <= 0.14
    assert (per_user == 0).any()
    assert (per_item == 0).any()


def test_popularity_has_a_long_tail_and_nobody_has_an_absurd_share(world: Dataset) -> None:
    counts = np.sort(index_dataset(world).interactions.item_counts())[::-1]
    assert counts[:50].sum() > 2.5 * 0.1 * counts.sum()
    assert counts[0] < 0.1 * counts.sum()


def test_events_lie_in_the_window_after_the_birth_of_their_item_and_the_joining_of_their_user(world: Dataset) -> None:
    events = world.events.join(world.items, on="item_id").join(world.users, on="user_id")
    assert len(events) == len(world.events)
    assert (events["timestamp"] >= events["published_at"]).all()
    assert (events["timestamp"] >= events["signup_at"]).all()
    first, last = WorldSettings().window
    assert world.events["timestamp"].is_between(first, last).all()
    born = world.items["published_at"]
    assert 0.3 < (born > first).mean() < 0.5  # type: ignore[operator]
    assert world.events["timestamp"].is_sorted()


def test_sessions_belong_to_one_user_and_event_ids_to_one_event(world: Dataset) -> None:
    assert world.events["event_id"].is_unique().all()
    assert world.events.group_by("session_id").agg(pl.col("user_id").n_unique())["user_id"].max() == 1
    assert set(world.events["event_type"].unique()) == {"view", "cart", "purchase"}
    bought = world.events.filter(pl.col("event_type") == "purchase")
    assert bought["value"].null_count() == 0


def _hit_rate(train: Interactions, last: np.ndarray, users: np.ndarray, scores: np.ndarray) -> float:
    """Share of users whose last item is among the ten best of `scores` [users, items], seen items left out."""
    for row, user in enumerate(users):
        scores[row, train.items[train.of(user)]] = -np.inf
    best = np.argpartition(-scores, 10, axis=1)[:, :10]
    return float((best == last[:, None]).any(axis=1).mean())


def test_models_can_beat_popularity_and_order_holds_signal(world: Dataset) -> None:
    """Leave the last item out: co-occurrence finds twice what popularity does, and knowing the last item adds to it."""
    whole = index_dataset(world).interactions
    users = np.flatnonzero(whole.lengths >= 6)
    last_at = whole.offsets[users + 1] - 1
    keep = np.ones(len(whole), bool)
    keep[last_at] = False
    train, last = whole.select(keep), whole.items[last_at]
    seen = np.zeros((whole.n_users, whole.n_items), np.float32)
    seen[train.users, train.items] = 1
    popularity = seen.sum(axis=0)
    together = seen.T @ seen
    np.fill_diagonal(together, 0)
    together /= np.sqrt(np.outer(popularity, popularity)) + 10
    same = train.users[1:] == train.users[:-1]
    follows = np.zeros((whole.n_items, whole.n_items), np.float32)
    np.add.at(follows, (train.items[:-1][same], train.items[1:][same]), 1)
    before = train.items[train.offsets[users + 1] - 1]
    by_popularity = _hit_rate(train, last, users, np.tile(popularity, (len(users), 1)))
    by_company = _hit_rate(train, last, users, seen[users] @ together)
    next_share = follows / np.maximum(1, follows.sum(axis=1, keepdims=True))
    by_both = _hit_rate(train, last, users, seen[users] @ together + 5 * next_share[before])
    assert by_company > 2 * by_popularity
    assert by_both > 1.12 * by_company


def test_segments_differ_in_taste(world: Dataset) -> None:
    events = world.events.join(world.items.select("item_id", "category"), on="item_id")
    events = events.join(world.users.select("user_id", "gender", "age_group"), on="user_id").drop_nulls("age_group")
    shares = (
        events.group_by("gender", "age_group", "category")
        .len()
        .filter(pl.col("len").sum().over("gender", "age_group") > 1_000)
        .with_columns(share=pl.col("len") / pl.col("len").sum().over("gender", "age_group"))
    )
    spread = shares.group_by("category").agg(pl.col("share").max() / pl.col("share").min())["share"]
    assert spread.median() > 2  # type: ignore[operator]


def test_words_and_brands_tell_the_category(world: Dataset) -> None:
    for feature in ("brand", "tags"):
        values = world.items.select("category", feature).explode(feature) if feature == "tags" else world.items
        of_value = values.drop_nulls(feature).group_by(feature).agg(pl.col("category").n_unique())
        assert of_value["category"].max() == 1


@pytest.mark.parametrize(
    "settings",
    [
        WorldSettings(users=1, items=1),
        WorldSettings(users=3, items=2, days=1),
        WorldSettings(users=30, items=40, cold_share=0.9),
        WorldSettings(users=50, items=7, events_per_user=300, cold_share=0.0),
    ],
)
def test_tiny_and_lopsided_worlds_open(settings: WorldSettings, tmp_path: Path) -> None:
    made = generate(tmp_path / "d", settings)
    opened = open_dataset(tmp_path / "d")
    assert (len(opened.users), len(opened.items), len(opened.events)) == (settings.users, settings.items, made.events)


def test_the_window_ends_where_until_begins() -> None:
    first, last = WorldSettings(days=10, until=date(2025, 1, 11)).window
    assert (first, last) == (1_735_689_600, 1_735_689_600 + 10 * 86_400 - 1)


@pytest.mark.parametrize("settings", [WorldSettings(users=0), WorldSettings(days=0), WorldSettings(cold_share=1.0)])
def test_impossible_worlds_are_refused(settings: WorldSettings, tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData):
        generate(tmp_path / "d", settings)
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match="not a dataset"):
        generate(tmp_path, WorldSettings(users=5, items=5))
