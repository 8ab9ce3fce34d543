"""A test judged as a whole: no verdict on a broken split, and a sentence for everything else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from contracts.errors import ExposuresInvalid
from experiments.analysis.findings import verdicts
from experiments.analysis.report import Question, Report, judge

DAY = 86_400
START = 20_000 * DAY


def logs(shares: dict[str, float], lifts: dict[str, float], users: int = 900) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Exposures of the first ten days, and clicks of twenty days before and after."""
    rng = np.random.default_rng(2)
    arms = rng.choice(list(shares), users, p=list(shares.values()))
    rate = rng.lognormal(0, 0.6, users)
    names = np.array([f"u{n}" for n in range(users)])
    first = START + rng.integers(0, 10 * DAY, users)
    exposed = pl.DataFrame({"user_id": names, "timestamp": first, "variation_id": arms, "experiment_id": "e"})
    lift = np.array([1 + lifts.get(arm, 0.0) for arm in arms])
    before = np.repeat(np.arange(users), rng.poisson(8 * rate))
    after = np.repeat(np.arange(users), rng.poisson(8 * rate * lift))
    who = np.concatenate([before, after])
    since = rng.integers(1, 20 * DAY, len(who))
    at = np.concatenate([START - since[: len(before)], first[after] + since[len(before) :]])
    did = pl.DataFrame({"user_id": names[who], "timestamp": at}).with_columns(
        event_type=pl.lit("click"), session_id=pl.lit(None, pl.String), value=pl.lit(None, pl.Float64)
    )
    return exposed, did


EVEN = {"control": 1 / 3, "good": 1 / 3, "same": 1 / 3}


@pytest.fixture(scope="module")
def found() -> Report:
    exposed, did = logs(EVEN, {"good": 0.5})
    return judge(exposed, did, Question(metrics=("clicks", "retention")))


def test_every_arm_and_metric_has_a_sentence(found: Report) -> None:
    words = {(one.metric, one.arm): one.verdict for one in found.verdicts}
    assert words == {
        ("clicks", "good"): "better",
        ("clicks", "same"): "open",
        ("retention", "good"): "unknown",
        ("retention", "same"): "unknown",
    }
    better, same, unknown, _ = found.findings
    assert better.startswith("clicks: good is better than control (+")
    assert "not to be told apart" in same
    assert "% would most likely (80%) have been seen" in same
    assert "nobody whose value is known yet" in unknown
    assert found.before_days == 20
    assert found.effects[0].cuped
    assert {one.code for one in found.notices} == {"weights-assumed", "retention-incomplete"}
    assert sum(arm.users for arm in found.arms) == found.users == 900


def test_the_other_way_round_it_is_worse() -> None:
    exposed, did = logs(EVEN, {"good": 0.5})
    turned = judge(exposed, did, Question(control="good", metrics=("clicks",), weights=EVEN))
    assert [one.verdict for one in turned.verdicts] == ["worse", "worse"]
    assert not turned.notices


def test_a_broken_split_has_no_verdict() -> None:
    exposed, did = logs({"control": 0.5, "good": 0.5}, {"good": 0.5})
    broken = judge(exposed, did, Question(metrics=("clicks",), weights={"control": 0.6, "good": 0.4}))
    assert broken.split_broken
    assert broken.verdicts == []
    (said,) = broken.findings
    assert said.startswith("No verdict: the users of the arms are not split as they should be")
    gone = judge(exposed, did, Question(metrics=("clicks",), weights={"control": 1, "good": 1, "nobody": 1}))
    assert gone.split_broken
    assert [arm.users for arm in gone.arms][-1] == 0


def test_looks_decide_by_what_holds_at_every_look() -> None:
    exposed, did = logs(EVEN, {"good": 0.5})
    looked = judge(exposed, did, Question(metrics=("clicks",), looks=True))
    assert "at all looks" in looked.findings[0]
    assert "would most likely" not in looked.findings[1]
    assert [one.verdict for one in looked.verdicts] == ["better", "open"]


def test_one_arm_in_many_by_chance_is_said_so(found: Report) -> None:
    chance = replace(found.effects[1], p_value=0.03, p_adjusted=0.09)
    (said,) = verdicts([chance], [])
    assert said.verdict == "open"
    assert said.sentence.endswith("; p = 0.09 over all arms).")


def test_questions_that_make_no_sense_are_named() -> None:
    exposed, did = logs({"x": 0.5, "y": 0.5}, {}, users=20)
    with pytest.raises(ExposuresInvalid, match="which arm is the control\\? There are x, y"):
        judge(exposed, did, Question())
    with pytest.raises(ExposuresInvalid, match="'ctr' is no metric"):
        judge(exposed, did, Question(control="x", metrics=("ctr",)))


def test_logs_of_other_users_are_told() -> None:
    exposed, did = logs({"control": 0.5, "y": 0.5}, {}, users=60)
    strangers = did.with_columns(user_id="x" + pl.col("user_id"))
    alone = judge(exposed, strangers, Question(metrics=("clicks",)))
    assert alone.events_of_others == len(did)
    assert {"no-events", "no-history"} <= {one.code for one in alone.notices}
    assert alone.verdicts[0].sentence.endswith("is not to be judged, all users are alike.")
