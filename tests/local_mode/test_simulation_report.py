"""The page is self-contained, has the verdict, every figure and every picture's words, and is the same bytes twice."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from math import nan
from pathlib import Path

import msgspec
import pytest

from local_mode.simulation.report import report, write_report
from local_mode.simulation.verdict import sentences
from tests.local_mode.simulated_results import effect, run, simulation

changed = msgspec.structs.replace


@pytest.fixture(scope="module")
def page() -> str:
    return report(simulation())


class Texts(HTMLParser):
    """Headings, list items and pictures' labels of a page, and whether every tag that opens is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.items: list[str] = []
        self.labels: list[str] = []
        self.tables: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.labels += [value or "" for name, value in attrs if name == "aria-label"]
        if tag == "tr":
            self.tables.append([])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside == "h2":
            self.headings.append(data)
        if inside == "li":
            self.items.append(data)
        if "td" in self.open or "tr" in self.open:
            self.tables[-1].append(data)


def read(page: str) -> Texts:
    texts = Texts()
    texts.feed(page)
    assert texts.open == []
    return texts


def test_the_page_has_its_sections_and_begins_with_the_verdict(page: str) -> None:
    texts = read(page)
    assert texts.headings == [
        "Verdict",
        "Effects and the truth",
        "All effects",
        "Estimates against the truth",
        "Retention over the dose",
        "Runs",
        "Policies that were not served",
        "How to read this",
        "Settings",
    ]
    said = sentences(simulation())
    assert texts.items[: len(said)] == said
    assert len(texts.labels) == page.count("<svg") == 4
    assert all(len(label) > 40 for label in texts.labels)


def test_every_figure_stands_in_a_table_with_its_truth(page: str) -> None:
    rows = read(page).tables
    clicks = next(row for row in rows if row[:2] == ["als", "clicks a user"])
    assert clicks[2:9] == ["9.69", "10", "−0.31", "−0.4 to −0.22", "−3.1 %", "−4.0 % to −2.2 %", "0.01"]
    assert clicks[9:] == ["loses", "−0.29", "−2.9 %", "yes", "–"]
    assert ["two_tower", "2", "+9.00", "+5.00 to +13.00", "+8.00"] in rows
    assert ["1", "7", "300", "301", "302", "0.5", "3 of 4", "2", "60"] in rows
    assert ["als first", "IPS", "0.05", "0.04 to 0.06", "0.052"] in rows
    assert ["alpha", "1.0000"] in rows
    assert "als only was refused. Too thin." in page


def test_it_needs_no_network_and_follows_light_and_dark(page: str) -> None:
    outside = re.findall(r"(?:src|href)\s*=\s*[\"'](?!#)[^\"']*", page.replace("http://www.w3.org/", ""))
    assert outside == []
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page
    assert "#010203" not in page


def test_the_same_simulation_gives_the_same_bytes_where_it_was_asked_for(page: str, tmp_path: Path) -> None:
    write_report(simulation(), tmp_path / "new" / "report.html")
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf-8") == page


def test_a_broken_split_is_marked_wherever_figures_are_shown() -> None:
    given = simulation()
    page = report(changed(given, runs=[run(1, given.pooled, sample_ratio_p=1e-9)]))
    assert "No verdict: in run 1" in page
    assert "1e-09 (broken)" in page
    assert "The split was broken: these figures are no effects." in page


def test_what_is_unknown_is_a_dash_and_what_is_not_there_has_no_section() -> None:
    unknown = changed(
        effect("als", "retention", 0.1, 0.1),
        **dict.fromkeys(("estimate", "low", "high", "relative", "relative_low", "relative_high", "p_adjusted"), nan),
        true_effect=None,
        true_relative=None,
    )
    small = changed(simulation(), runs=[run(1, [unknown])], pooled=[unknown], dose=[], off_policy=[])
    texts = read(report(small))
    assert texts.headings == ["Verdict", "All effects", "Runs", "How to read this", "Settings"]
    assert ["als", "retention", "11", "10", *["–"] * 8] in texts.tables


def test_names_are_escaped() -> None:
    odd = changed(effect("<b>", "clicks", 0.1, 0.01))
    page = report(changed(simulation(), arms=["popularity", "<b>"], pooled=[odd], runs=[], dose=[], off_policy=[]))
    assert "<b>" not in page
    assert "&lt;b&gt;" in page
