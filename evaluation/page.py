"""The page of a report: its look, its frame, and the parts that it is put together from.

Nothing here knows what is reported. One file, no network, the reader's light or dark setting; `ink.py` draws for it.
`evaluation.report`, the report of an experiment and that of a simulation call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

_CSS: Final = """
:root { color-scheme: light dark; --ink: #1a1a1a; --line: #c9c9c9; --page: #ffffff; --soft: #f3f4f6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --line: #4a4d52; --page: #16181b; --soft: #212429; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; }
figcaption { font-size: .9rem; opacity: .85; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td small { opacity: .7; }
thead th { background: var(--soft); }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page of HTML; `parts` are HTML."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_CSS}</style></head>\n<body><main>\n"
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def section(heading: str, body: str) -> str:
    """A heading with HTML below it."""
    return f"<section><h2>{escape(heading)}</h2>\n{body}</section>"


def bullets(sentences: Sequence[str]) -> str:
    """Sentences, one a point."""
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def picture(svg: str, text: str) -> str:
    """A picture, hidden from screen readers behind a text that says the same."""
    said = escape(text)
    return f'<figure><div role="img" aria-label="{said}">{svg}</div><figcaption>{said}</figcaption></figure>'


def plain(value: object) -> str:
    """A setting or a figure as a person reads it."""
    if isinstance(value, dict):
        return "; ".join(f"{name}: {plain(inner)}" for name, inner in value.items())
    return f"{value:.4f}" if isinstance(value, float) else "–" if value is None else str(value)
