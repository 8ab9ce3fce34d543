"""Rows → Markdown: what was to be reached, then a table for each part, rows of several seeds as one line.

A line is the mean over seeds, the mean ends of their intervals, and each seed's value. Knows nothing of how a figure
came about; `quality` prints it and writes it into docs/quality.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

from benchmarks.quality_rows import Row

Cells = list[str]


@dataclass(frozen=True)
class Line:
    """The rows of one figure, by seed."""

    rows: Sequence[Row]

    @property
    def first(self) -> Row:
        return self.rows[0]

    @property
    def value(self) -> float:
        return fmean(row.value for row in self.rows)

    def mean(self, of: Callable[[Row], float | None]) -> float | None:
        """Over the seeds that have it."""
        known = [value for row in self.rows if (value := of(row)) is not None]
        return fmean(known) if known else None

    @property
    def shown(self) -> str:
        """`.1765 [.1731, .1801]`, and the seeds where there are several."""
        low, high, digits = self.mean(lambda row: row.low), self.mean(lambda row: row.high), _digits(self.first)
        text = number(self.value, digits)
        if low is not None and high is not None:
            text += f" [{number(low, digits)}, {number(high, digits)}]"
        return text

    @property
    def brief(self) -> str:
        """`.1765 ± .0035`: half of the interval."""
        low, high, digits = self.mean(lambda row: row.low), self.mean(lambda row: row.high), _digits(self.first)
        text = number(self.value, digits)
        return text if low is None or high is None else f"{text} ± {number((high - low) / 2, digits)}"

    @property
    def seeds(self) -> str:
        if len(self.rows) < 2:
            return str(self.first.seed)
        return "; ".join(f"{row.seed}: {number(row.value, _digits(row))}" for row in self.rows)

    @property
    def verdict(self) -> str:
        """Of the mean."""
        floor, goal = self.first.floor, self.first.goal
        if goal is not None and self._reached(goal):
            return "goal reached"
        return "floor reached, goal missed" if floor is not None and self._reached(floor) else "**floor missed**"

    def _reached(self, aim: float) -> bool:
        return self.value <= aim if self.first.fewer else self.value >= aim


def _digits(row: Row) -> int:
    """Places behind the point: a ratio is read to hundredths, a metric to four."""
    if row.value >= 100:
        return 0
    return 2 if row.metric.endswith(("ratio", "GB")) else 4


def number(value: float, digits: int) -> str:
    """`.1765`, `1.43`, `290,000`."""
    text = f"{value:,.{digits}f}"
    return text.removeprefix("0") if text.startswith("0.") else text


def document(rows: Sequence[Row], titles: dict[str, str]) -> str:
    """Everything there is, parts in the order of `titles` (part → heading)."""
    lines = [line for part in titles for line in lines_of(row for row in rows if row.part == part)]
    texts = ["### What was to be reached", aims_table(lines)]
    for part, title in titles.items():
        mine = [line for line in lines if line.first.part == part]
        if mine:
            texts += [f"### {title}", *_part(mine)]
    return "\n\n".join(texts) + "\n"


def lines_of(rows: Iterable[Row]) -> list[Line]:
    """Rows of one figure together, figures in the order in which they come."""
    lines: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        lines.setdefault((row.part, row.dataset, row.protocol, row.model, row.metric, row.case), []).append(row)
    return [Line(sorted(of, key=lambda row: row.seed)) for of in lines.values()]


def aims_table(lines: Sequence[Line]) -> str:
    """Figures that have a floor, and whether they reach it."""
    header = ["what", "figure [95 %]", "floor", "goal", "", "seeds", "CPU s"]
    cells = [
        [
            ", ".join(filter(None, (line.first.dataset, line.first.model, line.first.metric, line.first.case))),
            line.shown,
            *_aims(line.first),
            line.verdict,
            line.seeds,
            _seconds(line),
        ]
        for line in lines
        if line.first.floor is not None
    ]
    return markdown(header, cells) if cells else "Nothing that has a floor was measured."


def _aims(row: Row) -> Cells:
    sign = "≤ " if row.fewer else "≥ "
    return ["–" if aim is None else f"{sign}{aim:,.12g}" for aim in (row.floor, row.goal)]


def _seconds(line: Line) -> str:
    seconds = line.mean(lambda row: row.cpu_seconds)
    return "–" if seconds is None else f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"


def _peak(line: Line) -> str:
    peaks = [row.peak_gb for row in line.rows if row.peak_gb is not None]
    return f"{max(peaks):.2f}" if peaks else "–"


def _part(lines: Sequence[Line]) -> list[str]:
    """A paragraph of what was measured and a table, for each protocol of a part."""
    texts = []
    for _, group in groupby(lines, key=lambda line: (line.first.dataset, line.first.protocol)):
        mine = list(group)
        texts.append(_about(mine))
        cased, plain = ([line for line in mine if bool(line.first.case) == has_case] for has_case in (True, False))
        texts += [table(some) for table, some in ((_by_case, cased), (_plain, plain)) if some]
        notes = [f"{line.first.model}, {line.first.case}: {line.first.note}" for line in mine if line.first.note]
        if notes:
            texts.append(f"Chosen on the judged users: {'; '.join(notes)}.")
    return texts


def _about(lines: Sequence[Line]) -> str:
    rows = [row for line in lines for row in line.rows]
    when = sorted({f"{row.date}, {row.machine}" for row in rows})
    efforts = sorted({f"{row.effort} effort" for row in rows if row.effort})
    seeds = sorted({row.seed for row in rows})
    told = [lines[0].first.dataset, lines[0].first.protocol, *efforts]
    return f"{'; '.join(told)}; seeds {', '.join(map(str, seeds))}. Measured {' and '.join(when)}."


def _plain(lines: Sequence[Line]) -> str:
    header = ["model", "metric", "figure [95 %]", "seeds", "users", "CPU s", "peak GB"]
    cells = [
        [line.first.model, line.first.metric, line.shown, line.seeds, _users(line), _seconds(line), _peak(line)]
        for line in lines
    ]
    return markdown(header, cells)


def _users(line: Line) -> str:
    return "–" if line.first.users is None else f"{line.first.users:,}"


def _by_case(lines: Sequence[Line]) -> str:
    """A column for each case; the same model and metric is one line."""
    cases = list(dict.fromkeys(line.first.case for line in lines))
    grid: dict[tuple[str, str], dict[str, Line]] = {}
    for line in lines:
        grid.setdefault((line.first.model, line.first.metric), {})[line.first.case] = line
    users = {case: next(_users(line) for line in lines if line.first.case == case) for case in cases}
    cells = [["users", "", *users.values(), "", ""]]
    for (model, metric), by_case in grid.items():
        last = list(by_case.values())[-1]
        shown = [by_case[case].brief if case in by_case else "" for case in cases]
        cells.append([model, metric, *shown, _seconds(last), _peak(last)])
    return markdown(["model", "metric", *cases, "CPU s", "peak GB"], cells)


def markdown(header: Cells, cells: Iterable[Cells]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, ["---"] * len(header), *cells))
