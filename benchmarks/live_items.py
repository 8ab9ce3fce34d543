"""How long a new item takes until it is recommended, and a hidden one until it is gone: trial after trial.

Two server processes over one home, as two functions are over one table: one takes items in, the other recommends.
Items come at random moments; each is looked for by a filter that only it passes, every half a second.

Example: python -m benchmarks.live_items --trials 1000
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np

from data_sources.generator import WorldSettings, generate
from local_mode.retrain import retrain
from training_job.settings import Effort, TrainingSettings

TRIALS = 1_000
A_SECOND = 5.0
"""New items, on the average."""
LOOK_SECONDS = 0.5
TARGET_SECONDS = 60.0
GIVE_UP_SECONDS = 120.0
FIRST_PRICE = 1_000_000
"""Above every price of the world; item n costs so much and n."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tandem-live-items-") as folder:
        home = Path(folder) / "home"
        generate(Path(folder) / "dataset", WorldSettings(users=2_000, items=1_000))
        retrain(Path(folder) / "dataset", home, TrainingSettings(effort=Effort.QUICK))
        with server(home) as told, server(home) as asked:
            found = trials(options.trials, told, asked, "appears", tell)
            gone = trials(options.trials, told, asked, "is gone", hide)
    figures = {"trials": options.trials, "found": found, "hidden": gone}
    print(json.dumps(figures, indent=None if options.json else 2))
    return 0


@contextmanager
def server(home: Path) -> Iterator[int]:
    """The port of `tandem serve` over a home."""
    command = [sys.executable, "-m", "cli.main", "serve", "--home", str(home), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=None)
    try:
        line = next(line for line in process.stderr or () if "http://" in line)
        port = int(line.split("http://127.0.0.1:")[1].split("/")[0])
        drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
        yield port
        drain.terminate()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def tell(port: int, number: int) -> None:
    """Tell a new item."""
    features = {"category": "books", "price": FIRST_PRICE + number, "title": f"novelty {number}"}
    status, answer = call(port, "PUT", f"/v1/items/new-{number}", {"features": features})
    if status != 200 or answer["status"] != "fresh":
        raise SystemExit(f"item {number}: {status} {answer}")


def hide(port: int, number: int) -> None:
    """Hide it."""
    status, answer = call(port, "PATCH", f"/v1/items/new-{number}", {"hidden": True})
    if status != 200:
        raise SystemExit(f"item {number}: {status} {answer}")


def is_recommended(port: int, number: int) -> bool:
    """Whether a slate has the item, where nothing else passes the filter."""
    price = FIRST_PRICE + number
    body = {"user_id": f"user-{number}", "num_items": 5, "filters": {"price": {"gte": price, "lte": price}}}
    status, slate = call(port, "POST", "/v1/recommendations", body)
    if status != 200:
        raise SystemExit(f"asking for item {number}: {status} {slate}")
    return [item["item_id"] for item in slate["items"]] == [f"new-{number}"]


def trials(n: int, told: int, asked: int, what: str, act: Any) -> dict[str, Any]:
    """Act on items at random moments, and look for what comes of each until it has come."""
    draw = random.Random(7)
    wanted = what == "appears"
    begun, moment, waiting, seconds = time.monotonic(), 0.0, list[tuple[float, float, int]](), []
    moments = []
    for _ in range(n):
        moment += draw.expovariate(A_SECOND)
        moments.append(begun + moment)
    number = 0
    while number < n or waiting:
        now = time.monotonic()
        if number < n and moments[number] <= now:
            act(told, number)
            acted = time.monotonic()
            heapq.heappush(waiting, (acted + LOOK_SECONDS, acted, number))
            number += 1
        elif waiting and waiting[0][0] <= now:
            _, acted, one = heapq.heappop(waiting)
            if is_recommended(asked, one) is wanted:
                seconds.append(time.monotonic() - acted)
            elif time.monotonic() - acted < GIVE_UP_SECONDS:
                heapq.heappush(waiting, (time.monotonic() + LOOK_SECONDS, acted, one))
        else:
            time.sleep(0.01)
    took = np.array(seconds)
    return {
        what: len(took),
        f"within {TARGET_SECONDS:.0f} s": int((took <= TARGET_SECONDS).sum()),
        "seconds_p50": round(float(np.median(took)), 2),
        "seconds_p99": round(float(np.quantile(took, 0.99)), 2),
        "seconds_max": round(float(took.max()), 2),
    }


def call(port: int, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    """One request."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
