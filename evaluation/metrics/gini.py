"""Gini coefficient: how unevenly the places of all lists fall on the items.

    G = sum over items i in ascending order of exposure x_i of (2 i - n - 1) x_i / (n sum x)

0 where every item is shown equally often, (n - 1) / n where one item has every place. Gini 1912; for recommenders
Fleder and Hosanagar, "Blockbuster culture's next rise or fall", Management Science 2009. Items that are never shown
count with exposure 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def gini(shown: NDArray[np.int64]) -> float:
    """Gini coefficient of exposures [n_items]; in [0, 1), NaN where nothing was shown."""
    total, n = shown.sum(), len(shown)
    if total == 0:
        return float("nan")
    ranks = np.arange(1, n + 1)
    return float(max(0.0, ((2 * ranks - n - 1) * np.sort(shown)).sum() / (n * total)))
