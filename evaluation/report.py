"""The report: one HTML page with everything in it, to be mailed, archived or opened without a network.

Sentences first, then plots (each with a text alternative that says what it shows), then every number. It follows the
reader's light or dark setting, and the same evaluation gives the same bytes. `tandem evaluate --report` writes it.
"""

from __future__ import annotations

from html import escape
from typing import Final

from evaluation.bootstrap import Interval
from evaluation.findings import findings, metric_name, model_name, protocol_sentence
from evaluation.page import bullets, page, picture, plain, section
from evaluation.plots import accuracy_plot, difference_plot, segment_plot, tradeoff_plot
from evaluation.result import Evaluation, Figures

_SEGMENT_METRIC: Final = "ndcg@10"


def report(evaluation: Evaluation, title: str) -> str:
    """The page. `title` names the dataset."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(protocol_sentence(evaluation))}</p>",
        section("What the figures say", bullets(findings(evaluation))),
        section("Accuracy", picture(accuracy_plot(evaluation), _accuracy_text(evaluation))),
        *(_difference_section(evaluation, subject) for subject, others in evaluation.differences.items() if others),
        *([section("Segments", _segments(evaluation))] if evaluation.segments else []),
        section("Accuracy and coverage", picture(tradeoff_plot(evaluation), _tradeoff_text(evaluation))),
        section("All metrics", _table(evaluation.models)),
        section("How it was measured", _method(evaluation)),
    ]
    return page(title, parts)


def _accuracy_text(evaluation: Evaluation) -> str:
    ranked = sorted(
        (
            (figures[_SEGMENT_METRIC].value, name)
            for name, figures in evaluation.models.items()
            if _SEGMENT_METRIC in figures
        ),
        reverse=True,
    )
    said = ", ".join(f"{model_name(name)} {value:.4f}" for value, name in ranked)
    return f"{metric_name(_SEGMENT_METRIC)} of each model, best first: {said}. Bars are 95 % intervals over users."


def _difference_section(evaluation: Evaluation, subject: str) -> str:
    text = f"Paired differences on the same users; right of zero {model_name(subject)} is better."
    return section(f"{model_name(subject)} against the others", picture(difference_plot(evaluation, subject), text))


def _segments(evaluation: Evaluation) -> str:
    meanings = bullets([f"{name.replace('_', ' ')}: {of.meaning}" for name, of in evaluation.segments.items()])
    text = f"{metric_name(_SEGMENT_METRIC)} of each model by segment; the number of users is in brackets."
    return (
        picture(segment_plot(evaluation, _SEGMENT_METRIC), text)
        + meanings
        + "".join(
            f"<h3>{escape(name.replace('_', ' '))} ({of.users} users)</h3>{_table(of.models)}"
            for name, of in evaluation.segments.items()
        )
    )


def _tradeoff_text(evaluation: Evaluation) -> str:
    said = ", ".join(
        f"{model_name(name)} shows {figures['coverage@20'].value:.1%}"
        for name, figures in evaluation.models.items()
        if "coverage@20" in figures
    )
    return f"Share of the catalogue in anybody's first 20: {said}."


def _table(models: dict[str, Figures]) -> str:
    metrics = list(dict.fromkeys(metric for figures in models.values() for metric in figures))
    head = "".join(f'<th scope="col">{escape(metric_name(metric))}</th>' for metric in metrics)
    rows = "".join(
        f'<tr><th scope="row">{escape(model_name(name))}</th>'
        + "".join(f"<td>{_cell(figures.get(metric))}</td>" for metric in metrics)
        + "</tr>"
        for name, figures in models.items()
    )
    return (
        f'<div class="scroll"><table><thead><tr><th scope="col">model</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    if interval.low == interval.high:
        return f"{interval.value:.4f}"
    return f"{interval.value:.4f}<br><small>{interval.low:.4f} to {interval.high:.4f}</small>"


def _method(evaluation: Evaluation) -> str:
    facts = {
        "protocol": evaluation.protocol,
        "cut (Unix seconds)": evaluation.cut,
        "intervals": f"paired percentile bootstrap over users, {evaluation.settings.get('resamples')} resamples, 95 %",
        "users judged by model": evaluation.judged,
        **{name.replace("_", " "): value for name, value in evaluation.counts.items()},
        **{name.replace("_", " "): value for name, value in evaluation.settings.items()},
    }
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(plain(value))}</td></tr>" for name, value in facts.items())
    return f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>'
