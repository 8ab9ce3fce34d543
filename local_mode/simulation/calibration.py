"""What ML-1M says of people and films, and the coefficients by which the world of that name resembles it.

Measured on the half of MovieLens 1M's users (2,999 users, 3,615 films, 487,650 ratings), with the same definitions as
`tests/local_mode/test_simulation_world_families.py` measures the world: so no data is kept here, only these figures.
The coefficients were found by hand in the world of 3,000 users and 500 items under the logging policy of the warm-up.
"""

from __future__ import annotations

from typing import Final

ACTIVITY_LOG_SPREAD: Final = 0.995
"""Standard deviation of the log of a user's ratings. Nobody in ML-1M has fewer than 20, which is 0.22 of the median:
the world's users below 0.22 of their median are left out of the same figure."""
LEAST_ACTIVITY: Final = 20 / 89
"""Of the median."""
TOP_ITEMS_SHARE: Final = 0.44
"""Share of ratings that the most rated tenth of the films has."""
TASTE_ENTROPY: Final = 0.873
"""Entropy of the first genres of 20 ratings of a user, drawn by chance, as a share of that of 20 ratings drawn from
everybody's: 1 would be users who do not differ."""
ENTROPY_EVENTS: Final = 20

QUALITY: Final = 0.92
TASTE: Final = 4.2
BASE: Final = -3.7
MIXTURE: Final = 0.15
EAGER: Final = 1.5
COME_SPREAD: Final = 1.8
"""Coefficients of the family; what each means is told in `families.Family`."""
