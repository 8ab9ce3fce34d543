"""Who beats whom is said in words that a person can act on, and nothing is claimed of a few users."""

from __future__ import annotations

import numpy as np
import pytest

from training_job.contest import FEWEST_USERS, METRICS, Contest


def contest(gains: tuple[float, float], users: int = 400) -> Contest:
    """Our users are better off by these gains of the two metrics, with noise of .1 each."""
    random = np.random.default_rng(0)
    theirs = {name: random.uniform(0.2, 0.8, users) for name in METRICS}
    ours = {name: theirs[name] + gain + random.normal(0, 0.1, users) for name, gain in zip(METRICS, gains, strict=True)}
    return Contest(ours, theirs, ("two_tower", "popularity"))


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ((0.1, 0.1), "two_tower beats popularity: ndcg@10 +0."),
        ((0.1, 0.0), "two_tower beats popularity: ndcg@10 +0."),
        ((0.0, 0.0), "two_tower does not beat popularity: ndcg@10 "),
        ((0.1, -0.1), "two_tower does not beat popularity: ndcg@10 +0."),
        ((0.0, -0.1), "two_tower loses to popularity: ndcg@10 "),
        ((-0.1, -0.1), "two_tower loses to popularity: ndcg@10 -0."),
    ],
)
def test_the_finding_names_both_and_what_decided(gains: tuple[float, float], said: str) -> None:
    found = contest(gains)
    assert found.describe().startswith(said)
    assert "recall@20" in found.describe()
    assert found.describe().endswith("95 % intervals over 400 users.")
    assert (found.won, found.lost) == ("beats" in said, "loses" in said)


def test_a_few_users_decide_nothing_whatever_they_say() -> None:
    found = contest((-0.2, -0.2), FEWEST_USERS - 1)
    assert (found.won, found.lost, found.decided) == (False, False, False)
    assert found.describe().startswith("too few users to say whether two_tower beats popularity, 100 are needed: ")


def test_nobody_is_no_figure() -> None:
    found = contest((0.0, 0.0), 0)
    assert found.describe() == "no user to compare two_tower with popularity on."
    assert found.figures == {"users": 0}
