"""Chance as a function of what it decides: the same seed, purpose and numbers give the same draw in every line.

A line of the world never consumes a stream of random numbers, so what one user is shown cannot move the luck of another
and two lines that show a user the same see the same. The hash is that of the draws of serving (`contracts/chance.py`),
chained over the numbers: each output is the state from which the next number is counted. It knows nothing of users and
items; the modules of the world call it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contracts.chance import splitmix64

_MANTISSA: Final = np.uint64(11)
"""A double holds 53 of the 64 bits."""


class Purpose(IntEnum):
    """What a draw decides: two purposes of the same user and day are independent."""

    COME = 1
    SECOND_OF_DAY = 2
    LOOK = 3
    CLICK = 4
    OWN_TASTE = 5
    AWAY_WEEK = 6
    LEAVE = 7
    PAUSE = 8
    CANDIDATES = 9
    STEP = 10
    JUDGEMENT = 11
    LOGGING = 12
    ARM = 13


def uniform(seed: int, purpose: Purpose, *numbers: ArrayLike) -> NDArray[np.float64]:
    """Draws in [0, 1), of the shape to which the `numbers` (integers) broadcast."""
    state = np.full((), seed % 2**64, np.uint64)
    for number in (int(purpose), *numbers):
        state = splitmix64(state, np.asarray(number, np.int64).astype(np.uint64))
    drawn: NDArray[np.float64] = (state >> _MANTISSA).astype(np.float64) * 2.0**-53
    return drawn
