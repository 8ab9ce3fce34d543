"""Profiles from a dataset: what users did after its newest event stays on top, and is never counted twice."""

from __future__ import annotations

import polars as pl
import pytest

from batch_job.backfill import backfill_profiles
from contracts.profile import HistoryEvent
from contracts.schema import DatasetSchema, TimeMeaning
from data_sources.dataset import Dataset
from data_sources.indexed import IndexedDataset, index_dataset
from stores.profiles import SqliteProfiles

LIVE = [HistoryEvent("b", 20), HistoryEvent("c", 30), HistoryEvent("d", 40)]


def night(times: list[int], time: TimeMeaning = TimeMeaning.TIMESTAMP) -> IndexedDataset:
    """What the log has come to: one user's events a, b, c, … at these times."""
    events = pl.DataFrame(
        {
            "user_id": ["u"] * len(times),
            "item_id": list("abcdef")[: len(times)],
            "event_type": ["interaction"] * len(times),
            "timestamp": times,
        }
    )
    nobody, nothing = pl.DataFrame(schema={"user_id": pl.String}), pl.DataFrame(schema={"item_id": pl.String})
    return index_dataset(Dataset(DatasetSchema(time=time), events, nobody, nothing))


@pytest.mark.parametrize("times", [[10, 20], [10, 20, 30], [10, 20, 30, 40]])
def test_live_events_are_there_once_however_far_the_dataset_reaches(times, tmp_path):
    with SqliteProfiles(tmp_path / "p.sqlite") as profiles:
        profiles.append("u", LIVE, ["e1", "e2", "e3"])
        for _ in range(2):
            assert backfill_profiles(night(times), profiles) == 1
            u = profiles.get("u")
            assert (u.n_events, [event.item_id for event in u.history]) == (4, list("abcd"))
        assert profiles.append("u", LIVE, ["e1", "e2", "e3"]) == 0


def test_without_times_the_longer_story_stays(tmp_path):
    with SqliteProfiles(tmp_path / "p.sqlite") as profiles:
        profiles.append("u", [HistoryEvent(event.item_id) for event in LIVE])
        backfill_profiles(night([1, 2], TimeMeaning.ORDER), profiles)
        assert profiles.get("u").n_events == 3
        backfill_profiles(night([1, 2, 3, 4], TimeMeaning.ORDER), profiles)
        assert [event.item_id for event in profiles.get("u").history] == list("abcd")
