"""The page is self-contained, says everything in words too, and is the same bytes twice."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest

from evaluation.bootstrap import Interval, fixed
from evaluation.findings import findings, metric_name, model_name, protocol_sentence
from evaluation.report import report
from evaluation.result import Evaluation, Figures, Segment


def figures(value: float) -> Figures:
    accuracy = {
        f"{metric}@{k}": Interval(value, value - 0.01, value + 0.01) for metric in ("ndcg", "recall") for k in (10, 20)
    }
    return accuracy | {"coverage@20": fixed(value)}


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    models = {"two_tower": figures(0.3), "als": figures(0.2), "popularity": figures(0.1), "<odd>": figures(0.05)}
    gaps = {
        "als": {"ndcg@10": Interval(0.1, 0.05, 0.15), "recall@20": Interval(0.01, -0.02, 0.04)},
        "popularity": {"ndcg@10": Interval(-0.2, -0.3, -0.1), "recall@20": Interval(0.2, 0.1, 0.3)},
    }
    return Evaluation(
        protocol="global-time",
        cut=1_700_000_000,
        users="warm",
        counts={"users_judged": 10},
        judged=dict.fromkeys(models, 10),
        models=models,
        differences={"two_tower": gaps},
        segments={"cold_users": Segment("users with few events", 4, models)},
        settings={"seed": 0, "resamples": 1000, "als_grid": {"factors=64 alpha=1": 0.25}},
    )


@pytest.fixture(scope="module")
def page_text(evaluation: Evaluation) -> str:
    return report(evaluation, "A & B")


def test_sentences_say_what_the_intervals_allow(evaluation: Evaluation) -> None:
    assert findings(evaluation) == [
        "On NDCG@10, two-tower is ahead of ALS (+0.1000, +0.0500 to +0.1500); "
        "behind popularity (-0.2000, -0.3000 to -0.1000).",
        "On Recall@20, two-tower is ahead of popularity (+0.2000, +0.1000 to +0.3000); "
        "not to be told from ALS (+0.0100, -0.0200 to +0.0400).",
    ]


def test_names() -> None:
    assert metric_name("ndcg@10") == "NDCG@10"
    assert metric_name("hit_rate@20") == "Hit rate@20"
    assert metric_name("cold_users_answered") == "Cold users answered"
    assert model_name("a new one") == "a new one"


def test_the_protocol_is_explained(evaluation: Evaluation) -> None:
    assert "no future" in protocol_sentence(evaluation)
    assert "at least 5" in protocol_sentence(evaluation)
    assert "all judged users" in protocol_sentence(msgspec.structs.replace(evaluation, users="all"))


class Page(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else(page_text: str) -> None:
    page = Page(page_text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe"}
    assert not re.findall(r"(?:src|@import|url\(\s*['\"]?(?:https?:)?//)", page_text)
    links = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("href", "xlink:href")]
    assert all(value and value.startswith("#") for value in links)
    assert "A & B" in page.text
    assert "<odd>" in page.text, "names are escaped"


def test_every_picture_has_words(evaluation: Evaluation, page_text: str) -> None:
    page = Page(page_text)
    pictures = [attrs for _, attrs in page.tags if attrs.get("role") == "img"]
    assert len(pictures) == sum(tag == "svg" for tag, _ in page.tags) == 4
    assert all(len(attrs["aria-label"] or "") > 30 for attrs in pictures)
    assert "two-tower 0.3000, ALS 0.2000" in (pictures[0]["aria-label"] or "")
    for sentence in findings(evaluation):
        assert sentence in page.text


def test_pictures_take_the_colours_of_the_page(page_text: str) -> None:
    assert "prefers-color-scheme: dark" in page_text
    assert "var(--ink)" in page_text
    assert "#010203" not in page_text
    assert "#040506" not in page_text


def test_the_same_evaluation_gives_the_same_bytes(evaluation: Evaluation, page_text: str) -> None:
    assert report(evaluation, "A & B") == page_text


def test_figures_that_are_missing_do_not_break_the_page(evaluation: Evaluation) -> None:
    bare = msgspec.structs.replace(
        evaluation, models={"two_tower": {}, "als": figures(0.1)}, differences={"two_tower": {}}, segments={}
    )
    assert "–" in Page(report(bare, "x")).text
    assert findings(bare) == []
