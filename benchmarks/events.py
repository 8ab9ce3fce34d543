"""An event in: what it costs beside an echo, and whether the user's very next request knows of it, every time.

The cost: CPU of `POST /v1/events` with one event, log and profiles in a folder (fsync included, which waits and does
not compute), beside a handler that parses the same body with `json` and prints an answer of the same size. The proof:
TRIALS times a user clicks one item of the last slate and asks again; the item must be gone from the slate, and the
profile must hold it. Figures are CPU, interleaved; the ratio travels between machines.
Example: python -m benchmarks.events --json
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.request import echo_of, interleaved, quiet_stderr, summary

TRIALS = 10_000
USERS = 500
"""Who click in turn, so that histories have up to twenty events and slates change their route on the way."""
ITEMS, DIM = 5_000, 64
TARGETS = {"events_over_echo": 15.0, "seen_by_the_next_request": 1.0}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports numpy
    figures = {**measure_cost(), "trials": TRIALS, "seen_by_the_next_request": share_seen(), "targets": TARGETS}
    print(json.dumps(figures) if arguments.json else json.dumps(figures, indent=2))


@contextmanager
def a_folder() -> Iterator[Path]:
    """An empty one, while log lines go nowhere."""
    with tempfile.TemporaryDirectory() as folder, quiet_stderr():
        yield Path(folder)


def measure_cost() -> dict[str, Any]:
    """CPU [µs] per single event, and of the echo."""
    from benchmarks.request_world import item_of, published_edge, sent, user_id

    with a_folder() as folder, closing(published_edge(folder, ITEMS, DIM, 64, 50)) as edge:
        events = [sent({"user_id": user_id(n % 64), "item_id": item_of(n % ITEMS)}) for n in range(5_000)]
        echo = echo_of(edge(events[0]))
        spent = interleaved({"events": edge, "echo": echo}, events)
        answer = json.loads(edge(events[0])["body"])
    assert answer["counts"] == {"accepted": 1}
    figures = {name: summary(times) for name, times in spent.items()}
    return {"events_over_echo": round(figures["events"]["p50_us"] / figures["echo"]["p50_us"], 2), "cpu": figures}


def share_seen() -> float:
    """The share of clicks that the next request of their user knew of."""
    from benchmarks.request_world import events_of, published_edge, sent, user_id

    seen = 0
    with a_folder() as folder, closing(published_edge(folder, ITEMS, DIM, 0, 0)) as edge:
        asked = events_of(USERS, 20)
        slates = [json.loads(edge(event)["body"])["items"] for event in asked]
        for trial in range(TRIALS):
            user = trial % USERS
            clicked = slates[user][trial % len(slates[user])]["item_id"]
            taken = json.loads(edge(sent({"user_id": user_id(user), "item_id": clicked}))["body"])
            assert taken["counts"] == {"accepted": 1}
            slates[user] = json.loads(edge(asked[user])["body"])["items"]
            gone = clicked not in {item["item_id"] for item in slates[user]}
            seen += gone and edge.storage.profiles.get(user_id(user)).history[-1].item_id == clicked
    return seen / TRIALS


if __name__ == "__main__":
    main()
