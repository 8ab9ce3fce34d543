"""Assignment held to GrowthBook's SDK, and what it costs beside the SDK's own class.

Three things. The SDK's public cases, where `--cases` names their file (`assignment_cases.py`). IDS ids, a half of them
with emoji, against `GrowthBook(...)`. And the CPU of `Running.assign` with ten experiments, interleaved with a
`GrowthBook(...)` for each request; the ratio travels between machines.
Example: python -m benchmarks.assignment --cases cases.json --json
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.assignment_cases import arms, by_the_class, client_of, public_cases
from benchmarks.request import summary
from experiments.attributes import attributes_of
from experiments.payload import Payload, read_payload
from experiments.running import Running

IDS = 1_000_000
REQUESTS = 4_000
EXPERIMENTS = 10
EMOJI = (0x1F300, 0x1FAFF)
"""Beyond the first 65,536 characters, where SDKs before 4 hashed otherwise than those of other languages."""
CLIENT_USERS = 1_000
"""One `GrowthBook` serves so many ids: it remembers whom it saw."""
CHANGES = {
    "model": "als",
    "interleave": "als",
    "num_items": 20,
    "random_places": 2,
    "cold_user_events": 3,
    "session_weight": 2.5,
    "exploration_share": 0.1,
    "diversity": "mmr",
    "category_penalty": 0.5,
    "recency_weight": 0.25,
}
TARGETS = {"assign_p50_us": 250.0, "differences": 0}


def main() -> None:
    """Compare, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, help="the SDK's public cases; without it they are left out")
    parser.add_argument("--ids", type=int, default=IDS, help="how many ids are compared")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args()
    logging.getLogger("growthbook").setLevel(logging.CRITICAL)  # the cases mean to make it complain
    figures: dict[str, Any] = {"targets": TARGETS}
    if arguments.cases:
        figures["public_cases"] = public_cases(json.loads(arguments.cases.read_text(encoding="utf-8")))
    figures["ids"] = compare_ids(arguments.ids)
    figures["cpu"] = measure_cpu()
    print(json.dumps(figures) if arguments.json else json.dumps(figures, indent=2))


def ids(number: int) -> Iterator[str]:
    """Every second one with one to four emoji in it."""
    draw = random.Random(0)
    for n in range(number):
        yield f"user-{n}" + "".join(chr(draw.randint(*EMOJI)) for _ in range(draw.randint(1, 4) if n % 2 else 0))


def compare_ids(number: int) -> dict[str, Any]:
    """Ids whose arm is another one than the SDK's class says; four arms, nine tenths of the users."""
    variations = [{}, {"model": "als"}, {"model": "popularity"}, {"num_items": 20}]
    rule = _rule("four", variations, [0.4, 0.3, 0.2, 0.1], 0.9)
    features = {"tandem.four": {"defaultValue": {}, "rules": [rule]}}
    running = Running(_read(features))
    differ, counted = 0, Counter[str]()
    people, began = ids(number), time.process_time()
    while some := list(islice(people, CLIENT_USERS)):
        client = client_of(features)
        for one in some:
            attributes = attributes_of(one)
            ours = arms(running.assign(attributes))
            differ += ours != by_the_class(client, features, attributes)
            counted[ours[1].get("four", "not in it")] += 1
        client.destroy()
    shares = {name: round(times / number, 4) for name, times in sorted(counted.items())}
    return {"ids": number, "differences": differ, "shares": shares, "cpu_s": round(time.process_time() - began, 1)}


def _rule(key: str, variations: list[Any], weights: list[float], coverage: float) -> dict[str, Any]:
    meta = [{"key": str(number)} for number in range(len(variations))]
    how = {"hashAttribute": "id", "hashVersion": 2, "coverage": coverage}
    return {"key": key, "seed": key, "variations": variations, "weights": weights, "meta": meta, **how}


def _read(features: dict[str, Any]) -> Payload:
    return read_payload(json.dumps({"features": features}))


def measure_cpu() -> dict[str, Any]:
    """CPU [µs] per request with EXPERIMENTS experiments, targeted by country, every user in all of them."""
    features = {}
    for name, value in CHANGES.items():
        rule = _rule(name, [{}, {name: value}], [0.5, 0.5], 1)
        rule["condition"] = {"country": {"$in": ["DE", "AT", "CH"]}}
        features[f"tandem.{name}"] = {"defaultValue": {}, "rules": [rule]}
    running = Running(_read(features))
    assert len(features) == len(running.payload.experiments) == EXPERIMENTS
    spent: dict[str, list[int]] = {"assign": [], "sdk_class": []}
    ways: dict[str, Callable[[dict[str, Any]], Any]] = {
        "assign": running.assign,
        "sdk_class": lambda attributes: by_the_class(client_of(features), features, attributes),
    }
    order, draw = list(ways), random.Random(0)
    for request in range(REQUESTS + 200):
        attributes = attributes_of(f"user-{request}", country="DE", events=request)
        draw.shuffle(order)
        answers: dict[str, Any] = {}
        for name in order:
            before = time.thread_time_ns()
            answers[name] = ways[name](attributes)
            after = time.thread_time_ns()
            if request >= 200:  # warm
                spent[name].append(after - before)
        ours = arms(answers["assign"])
        assert ours == answers["sdk_class"]
        assert len(ours[1]) == EXPERIMENTS
    figures = {name: summary(times) for name, times in spent.items()}
    ratio = figures["sdk_class"]["p50_us"] / figures["assign"]["p50_us"]
    return {"experiments": EXPERIMENTS, **figures, "sdk_class_over_assign": round(ratio, 2)}


if __name__ == "__main__":
    main()
