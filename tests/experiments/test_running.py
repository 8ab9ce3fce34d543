"""People in arms: the same ones as GrowthBook's own class puts them in, with no network, noise or exception."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from growthbook import GrowthBook
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.assignment import compare_ids
from contracts.experiment import NOBODY, Assigned
from contracts.treatment import Treatment
from experiments.attributes import attributes_of
from experiments.payload import Payload, read_payload
from experiments.running import Running
from tests.experiments.payloads import ATTRIBUTES, RICH, feature, payload_texts, rule, running_payload, text_of

ALS = {"model": "als"}


def by_the_sdk(text: str, attributes: dict[str, Any]) -> tuple[Treatment, dict[str, str]]:
    """What GrowthBook's class makes of the payload as it was handed out, before we reduced it."""
    client = GrowthBook(attributes=attributes, features=json.loads(text)["features"])
    changes: dict[str, Any] = {}
    arms: dict[str, str] = {}
    for key in json.loads(text)["features"]:
        found = client.eval_feature(key)
        changes |= found.value or {}
        if found.source == "experiment":
            arms[found.experiment.key] = found.experimentResult.key
    client.destroy()
    return Treatment(**changes), arms


def ours(assigned: Assigned) -> tuple[Treatment, dict[str, str]]:
    return assigned.treatment, {one.experiment: one.variation for one in assigned.assignments}


@settings(max_examples=120, deadline=None)
@given(payload_texts(), st.lists(ATTRIBUTES, min_size=1, max_size=4))
@example(RICH, [{"id": identity, "events": 0, "country": "🙂"} for identity in ("a", "🙂", "👩\u200d👧", "\ud83d", "")])
def test_everybody_is_where_the_sdk_puts_them(text: str, people: list[dict[str, Any]]) -> None:
    running = Running(read_payload(text))
    for attributes in people:
        assert ours(running.assign(attributes)) == by_the_sdk(text, attributes)


def test_the_benchmark_finds_no_difference() -> None:
    """A short sample of it: ids with emoji, the SDK's class asked again and again as one process would ask it."""
    found = compare_ids(2_000)
    assert (found["ids"], found["differences"]) == (2_000, 0)


def test_arms_have_the_users_of_their_weights_and_keep_them() -> None:
    text = text_of(model=feature(rule({}, ALS, {"model": "popularity"}, weights=[0.5, 0.3, 0.2], coverage=0.9)))
    running, other = Running(read_payload(text), 1), Running(read_payload(text), 2)
    people = [attributes_of(f"u{n}🙂") for n in range(4_000)]
    arms = [running.assign(one) for one in people]
    assert [one.assignments for one in arms] == [other.assign(one).assignments for one in people]
    counted = Counter(one.assignments[0].label if one.assignments else "" for one in arms)
    assert set(counted) == {"exp:0", "exp:1", "exp:2", ""}
    for label, share in {"exp:0": 0.45, "exp:1": 0.27, "exp:2": 0.18, "": 0.1}.items():
        assert counted[label] / 4_000 == pytest.approx(share, abs=0.03)  # four standard errors
    assert {one.treatment.model for one in arms} == {None, "als", "popularity"}


def test_arms_of_two_experiments_do_not_depend_on_each_other() -> None:
    running = Running(running_payload(2))
    both = Counter(
        tuple(one.variation for one in running.assign(attributes_of(f"u{n}")).assignments) for n in range(4_000)
    )
    assert sorted(both) == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]
    assert min(both.values()) > 850  # of 1,000; five standard errors


def test_only_who_takes_part_is_assigned() -> None:
    rules = (rule({}, ALS, condition={"country": {"$in": ["DE"]}}), {"force": {"model": "popularity"}})
    running = Running(read_payload(text_of(model=feature(*rules))), 7)
    german = running.assign(attributes_of("anna", country="DE", user_id="anna", segment="a", features={"vip": True}))
    assert [one.experiment for one in german.assignments] == ["exp"]
    french = running.assign(attributes_of("anna", country="FR"))
    assert french == Assigned(Treatment(model="popularity"), (), 7)
    nobody = running.assign(attributes_of("", country="DE"))
    assert nobody.assignments == ()


def test_everything_that_is_targeted_by_is_an_attribute() -> None:
    known = attributes_of(
        "anna", user_id="anna", session_id="s", country="DE", segment="x", events=3, features={"plan": "pro"}
    )
    conditions = [{name: known[name]} for name in known if name != "features"] + [{"features.plan": "pro"}]
    for condition in conditions:
        text = text_of(model=feature({"force": ALS, "condition": condition}))
        running = Running(read_payload(text))
        assert running.assign(known).treatment.model == "als", condition
        assert running.assign(attributes_of("ben")).treatment.model is None, condition


def test_no_experiments_cost_nothing() -> None:
    program = (
        "import sys; from experiments.payload import read_payload; from experiments.running import Running;"
        "Running(read_payload('{\"features\": {}}')).assign({}); sys.exit('growthbook' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert Running(Payload({})).assign({}) == NOBODY


def test_no_socket_is_opened_and_nothing_is_said() -> None:
    """In a process of its own, so that the import is in it."""
    program = f"""
import json, logging, socket, sys, threading
def refuse(*_, **__): raise AssertionError("a socket")
class Refused(socket.socket): __init__ = refuse
socket.socket, socket.create_connection, socket.getaddrinfo = Refused, refuse, refuse
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
from experiments.attributes import attributes_of
from experiments.payload import read_payload
from experiments.running import Running
running = Running(read_payload({RICH!r}))
arms = [running.assign(attributes_of(f"u{{n}}", country="DE")).assignments for n in range(200)]
assert any(arms), arms
assert threading.active_count() == 1
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_the_sdk_stumbles_over_costs_one_experiment(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(str):
        """An attribute that cannot be compared."""

        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("odd")

        __hash__ = str.__hash__

    text = text_of(
        model=feature(rule({}, ALS, condition={"country": "DE"})),
        slate=feature(rule({"num_items": 5}, {"num_items": 5}, key="slate", seed="slate")),
    )
    with caplog.at_level(logging.DEBUG, "experiments"):
        assigned = Running(read_payload(text)).assign({"id": "anna", "country": Odd("DE"), "events": 0})
    assert [one.experiment for one in assigned.assignments] == ["slate"]
    assert assigned.treatment == Treatment(num_items=5)
