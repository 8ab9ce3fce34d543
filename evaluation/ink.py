"""The ink of a page: matplotlib's settings and an <svg> that follows the page's light or dark colours.

Ink and lines are drawn in placeholder colours that become the CSS variables of `page.py`. The same figure gives the
same bytes. Whoever plots for a page calls it.
"""

from __future__ import annotations

import io
from typing import Any, Final

from matplotlib.figure import Figure

INK: Final = "#010203"
_LINE: Final = "#040506"
_VARIABLES: Final = {INK: "var(--ink)", _LINE: "var(--line)"}

STYLE: Final[Any] = {  # matplotlib types the 300 names of its settings one by one
    "svg.hashsalt": "tandem",  # element ids would differ from run to run
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": _LINE,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": _LINE,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def svg(figure: Figure) -> str:
    """The picture as an <svg> element without a date, in the colours of the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    for placeholder, variable in _VARIABLES.items():
        text = text.replace(placeholder, variable)
    return text[text.index("<svg") :]
