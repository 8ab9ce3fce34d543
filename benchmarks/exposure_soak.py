"""kill -9 of a process that logs exposures: is every acknowledged one in the files, and known once by its key?

A writer logs the exposures of a plan, a few at a time, and tells each on a pipe once the log says that it is durable.
It is killed at a random moment, and the next one begins with what was not told, as a client that had no answer asks
again; one in ten is sent once more on purpose, as two processes do that serve one user on one day. In every other life
the disk takes its time with every line, so that kills cut some. At the end every told exposure must be in the files,
and every whole line must be one of the plan; what is there twice is counted by its `exposure_key`. `make soak` runs
it, `tests/stores` a sample. Example: python -m benchmarks.exposure_soak --json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.errors import TandemError
from contracts.served import Exposure, decode_exposure, exposure_key
from stores.served_log import LocalServedLog

NOW: Final = 1_795_176_000
AGAIN: Final = 0.1
"""Share of batches that are sent a second time."""
MOST_AT_ONCE: Final = 4
"""Exposures of one answer: one for each experiment that the user takes part in."""
SECONDS_BETWEEN: Final = 7
"""Of the plan's clock, from one user to the next: a file of an hour gets some two thousand rows."""
PIECE_BYTES: Final = 50
PIECE_SECONDS: Final = 0.001
"""What the file system takes at once, and how long that takes, in every other life: many kills then cut a line."""
BATCH_SECONDS: Final = 60
"""A writer that says nothing for so long has failed."""


@dataclass
class Soak:
    """What the kills did."""

    kills: int = 0
    acknowledged: int = 0
    rows: int = 0
    repeated: int = 0
    """Rows that are in the files already, under the same key."""
    unfinished: int = 0
    """Last lines without an end, which no reader takes for rows."""
    lost: list[str] = field(default_factory=list)
    """Keys that were acknowledged and are not in the files; empty, or the promise is broken."""
    strange: list[str] = field(default_factory=list)
    """Whole lines that nobody sent; empty, or the promise is broken."""
    failed: list[str] = field(default_factory=list)
    """Writers that ended otherwise than by a kill."""
    seconds: float = 0.0

    @property
    def broken(self) -> bool:
        return bool(self.lost or self.strange or self.failed)


def planned(number: int) -> list[Exposure]:
    """The exposures that the n-th user of the plan causes, each of another experiment."""
    draw = random.Random(number)
    return [
        Exposure(
            user_id=f"user-{number}",
            timestamp=NOW + number * SECONDS_BETWEEN,
            experiment_id=f"tandem.experiment-{place}",
            variation_id=draw.choice(("control", "treatment")),
            route="model",
            release="r1",
            country=draw.choice((None, "de", "fr")),
        )
        for place in range(draw.randint(1, MOST_AT_ONCE))
    ]


def write(folder: Path, first: int, pipe: int) -> None:
    """Log user after user and tell the keys of what is durable; ends when it is killed."""
    draw = random.Random()  # another one each life: a restart repeats differently
    with closing(LocalServedLog(folder)) as log, os.fdopen(pipe, "wb") as telling:
        for number in count(first):
            exposures = planned(number)
            for _ in range(2 if draw.random() < AGAIN else 1):
                reasons = log.append(exposures)
            told = [exposure_key(one) for one, reason in zip(exposures, reasons, strict=True) if not reason]
            telling.write(b"".join(key.encode() + b"\n" for key in told))
            telling.flush()


def soak(folder: Path, kills: int, between_seconds: float, seed: int = 0) -> Soak:
    """Kill so many writers of a log in `folder`, one after the other."""
    result, draw, begun = Soak(), random.Random(seed), time.monotonic()
    told: set[str] = set()
    first = 0
    while result.kills < kills and not result.failed:
        heard, status = _life(folder, first, draw.uniform(0, 2 * between_seconds), slowly=result.kills % 2 == 1)
        told |= heard
        if status == -signal.SIGKILL:
            result.kills += 1
        else:
            result.failed.append(f"a writer ended with status {status}")
        while {exposure_key(one) for one in planned(first)} <= told:
            first += 1  # whoever was not told asks again; the writer was at nobody later
    result.seconds = round(time.monotonic() - begun, 1)
    sent = {exposure_key(one) for number in range(first + 1) for one in planned(number)}
    inspect(folder, sent, told, result)
    return result


def _life(folder: Path, first: int, moment_seconds: float, *, slowly: bool) -> tuple[set[str], int]:
    """One writer, killed some time after it has told something; what it told, and its status."""
    ours, theirs = os.pipe()
    if (pid := os.fork()) == 0:
        status = 1
        try:
            os.close(ours)
            if slowly:
                os.write = _piece
            write(folder, first, theirs)
        except TandemError as error:
            print(error, file=sys.stderr)
        finally:
            os._exit(status)
    os.close(theirs)
    heard = b""
    if select.select([ours], [], [], BATCH_SECONDS)[0]:
        heard = os.read(ours, 1)
        end = time.monotonic() + moment_seconds
        while (left := end - time.monotonic()) > 0 and select.select([ours], [], [], left)[0]:
            if not (more := os.read(ours, 1 << 16)):
                break
            heard += more
    os.kill(pid, signal.SIGKILL)
    while more := os.read(ours, 1 << 16):
        heard += more
    os.close(ours)
    whole = heard[: heard.rfind(b"\n") + 1]  # the last one may be half told
    return {key.decode() for key in whole.split()}, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _piece(file: int, data: Any) -> int:
    """`os.write` of a slow disk."""
    time.sleep(PIECE_SECONDS)
    return os.writev(file, [memoryview(data)[:PIECE_BYTES]])


def inspect(folder: Path, sent: set[str], told: set[str], result: Soak) -> None:
    """Read every file and hold its rows against the keys that were sent and told."""
    found: Counter[str] = Counter()
    for path in folder.rglob("*.jsonl"):
        for line in path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                result.unfinished += 1
                continue
            try:
                key = exposure_key(decode_exposure(line))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                key = f"{path.name}: no exposure: {line[:80]!r}"
            found[key] += 1
    result.acknowledged, result.rows, result.repeated = len(told), found.total(), found.total() - len(found)
    result.lost, result.strange = sorted(told - found.keys()), sorted(found.keys() - sent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--between-kills", type=float, default=0.25, help="seconds, on average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = soak(Path(folder) / "exposures", options.kills, options.between_kills, options.seed)
    print(json.dumps(vars(result), indent=None if options.json else 2))
    return int(result.broken)


if __name__ == "__main__":
    sys.exit(main())
