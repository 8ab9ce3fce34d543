"""What is kept of several runs, and how it is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.quality_rows import Row
from benchmarks.quality_store import BEGIN, END, merged, read_rows, write_between_marks, write_rows
from benchmarks.quality_table import document

ROW = Row(
    part="gowalla",
    dataset="Gowalla",
    protocol="given",
    model="two_tower",
    metric="recall@20",
    value=0.18,
    low=0.17,
    high=0.19,
    floor=0.178,
    goal=0.1882,
    cpu_seconds=100.0,
    peak_gb=1.0,
    users=29_858,
    effort="standard",
    date="2026-11-01",
    machine="2 cores",
)
TITLES = {"gowalla": "Gowalla", "cold-users": "New users"}


def test_a_seed_replaces_itself_and_stays_beside_others():
    kept = [ROW, replace(ROW, seed=1), replace(ROW, part="world")]
    again = replace(ROW, value=0.2)
    rows = merged(kept, [again])
    assert {(row.part, row.seed, row.value) for row in rows} == {
        ("gowalla", 0, 0.2),
        ("gowalla", 1, 0.18),
        ("world", 0, 0.18),
    }


@pytest.mark.parametrize("change", [{"effort": "quick"}, {"protocol": "1 of 10 folds"}, {"dataset": "a larger world"}])
def test_what_was_made_otherwise_does_not_stay_beside_it(change):
    new = replace(ROW, seed=1, **change)
    assert merged([ROW, replace(ROW, seed=2)], [new]) == [new]


def test_rows_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "folder" / "quality.json"
    assert read_rows(path) == []
    write_rows(path, [ROW, replace(ROW, low=None, high=None, goal=None)])
    assert read_rows(path) == [ROW, replace(ROW, low=None, high=None, goal=None)]


def test_a_line_is_the_mean_of_its_seeds_with_each_of_them():
    text = document(
        [ROW, replace(ROW, seed=1, value=0.19, low=0.18, high=0.20, peak_gb=1.5, cpu_seconds=200.0)], TITLES
    )
    aims, plain = [line for line in text.splitlines() if "two_tower" in line]
    assert aims == (
        "| Gowalla, two_tower, recall@20 | .1850 [.1750, .1950] | ≥ 0.178 | ≥ 0.1882 | floor reached, goal missed "
        "| 0: .1800; 1: .1900 | 150 |"
    )
    assert plain == ("| two_tower | recall@20 | .1850 [.1750, .1950] | 0: .1800; 1: .1900 | 29,858 | 150 | 1.50 |")
    assert "standard effort; seeds 0, 1. Measured 2026-11-01, 2 cores." in text


@pytest.mark.parametrize(
    ("value", "fewer", "verdict"),
    [
        (0.19, False, "goal reached"),
        (0.179, False, "floor reached, goal missed"),
        (0.17, False, "**floor missed**"),
        (0.17, True, "floor reached, goal missed"),
    ],
)
def test_a_verdict_is_of_the_floor_and_of_the_goal(value, fewer, verdict):
    row = replace(ROW, value=value, fewer=fewer)
    row = replace(row, goal=0.1, floor=0.178) if fewer else row
    assert f"| {verdict} |" in document([row], TITLES)


def test_cases_are_columns_and_what_has_none_is_a_table_of_its_own():
    row = replace(ROW, part="cold-users", floor=None, goal=None)
    rows = [
        replace(row, case="k = 0", note="gender"),
        replace(row, case="k = 1", value=0.2, users=10),
        replace(row, model="als", case="k = 1"),
        replace(row, model="two_tower over als", metric="recall@20, ratio", value=1.234, low=1.1, high=1.3),
    ]
    text = document(rows, TITLES)
    assert "| model | metric | k = 0 | k = 1 | CPU s | peak GB |" in text
    assert "| users |  | 29,858 | 10 |  |  |" in text
    assert "| als | recall@20 |  | .1800 ± .0100 | 100 | 1.00 |" in text
    assert "| two_tower over als | recall@20, ratio | 1.23 [1.10, 1.30] | 0 |" in text
    assert "Chosen on the judged users: two_tower, k = 0: gender." in text


def test_parts_of_other_days_say_so():
    text = document([ROW, replace(ROW, part="cold-users", date="2026-10-01")], TITLES)
    assert text.index("Measured 2026-11-01") < text.index("### New users") < text.index("Measured 2026-10-01")


def test_only_what_is_between_the_marks_is_written_again(tmp_path):
    path = tmp_path / "quality.md"
    path.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    for _ in range(2):
        write_between_marks(path, "new\n")
    assert path.read_text() == f"before\n\n{BEGIN}\n\nnew\n\n{END}\n\nafter\n"
    path.write_text("no marks")
    with pytest.raises(ValueError, match="figures: begin"):
        write_between_marks(path, "new")
