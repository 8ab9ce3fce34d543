"""kill -9 of profile writers: is every acknowledged event in its user's profile, and no event twice?

Eight processes write into one store, users shared among them: events out of order, one in ten sent again, one in twenty
sent by a second writer too. A writer is killed at a random moment and starts again with what it had not noted as
acknowledged. At the end each profile must hold exactly the distinct events of its user: counted once, all seen, the
newest hundred in order. `make soak` runs it on SQLite and on DynamoDB Local, `tests/stores` a sample.
Example: python -m benchmarks.profile_soak --json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from contracts.errors import ProfilesUnavailable, StateBusy, TandemError
from contracts.profile import HISTORY_LIMIT, HistoryEvent
from local_mode.dynamodb_local import server
from stores.dynamodb_profiles import DynamoDBProfiles
from stores.dynamodb_table import dynamodb_client
from stores.profiles import Addition, Profiles, SqliteProfiles

WRITERS: Final = 8
EVENTS_OF_A_USER: Final = 400
"""Fewer than the 500 ids that a record remembers: the promise is about those."""
AGAIN: Final = 0.1
"""Share of requests that are sent a second time."""
BOTH: Final = 0.05
"""Share of events that the next writer sends too."""
MOST_OF_A_REQUEST: Final = 5
NOW: Final = 1_700_000_000
TABLE: Final = "profiles"
POLL_SECONDS: Final = 0.01
PATIENT_SECONDS: Final = 60
"""For an answer of the local engine, which shares two cores with eight writers."""


class Told(NamedTuple):
    """An event that a writer is to send."""

    event_id: str
    user_id: str
    event: HistoryEvent


@dataclass(frozen=True)
class Plan:
    """What the writers do; every process derives it alike."""

    place: str
    """Path of the SQLite file, or the URL of an engine."""
    events: int
    """Of one writer."""
    seed: int = 0

    @property
    def users(self) -> int:
        return max(1, WRITERS * self.events // EVENTS_OF_A_USER)

    def own(self, writer: int) -> list[Told]:
        """The events that this writer is the first to send, out of order."""
        draw = random.Random(f"{self.seed} {writer}")
        return [
            Told(
                f"e{writer}-{n}",
                f"u{draw.randrange(self.users)}",
                HistoryEvent(f"i{writer}-{n}", NOW + draw.randrange(n + 9)),
            )
            for n in range(self.events)
        ]

    def sent_by(self, writer: int) -> list[Told]:
        """All that this writer sends, its neighbour's events among its own."""
        draw = random.Random(f"{self.seed} {writer} both")
        neighbours = [told for told in self.own((writer + 1) % WRITERS) if draw.random() < BOTH]
        sent = self.own(writer) + neighbours
        draw.shuffle(sent)
        return sent

    def open(self) -> Profiles:
        """The store, for one process."""
        if not self.place.startswith("http"):
            return SqliteProfiles(Path(self.place))
        return DynamoDBProfiles(TABLE, client_of(self.place))


def client_of(url: str) -> Any:
    """A client of the local engine, more patient than one of AWS."""
    keys = dict.fromkeys(("aws_access_key_id", "aws_secret_access_key"), "local")
    return dynamodb_client(read_seconds=PATIENT_SECONDS, endpoint_url=url, region_name="eu-central-1", **keys)


def write(plan: Plan, writer: int, notes: Path) -> None:
    """Send what is not noted as acknowledged, and note what gets acknowledged."""
    done = set(notes.read_text().split()) if notes.exists() else set()
    left = [told for told in plan.sent_by(writer) if told.event_id not in done]
    draw = random.Random()  # another one each life: a restart groups and repeats differently
    with closing(plan.open()) as profiles, notes.open("a", buffering=1) as noted:
        for request in requests_of(left, draw):
            for _ in range(2 if draw.random() < AGAIN else 1):
                send(profiles, request)
            noted.write(" ".join(told.event_id for told in request) + "\n")


def requests_of(left: list[Told], draw: random.Random) -> Iterator[list[Told]]:
    place = 0
    while place < len(left):
        size = draw.randint(1, MOST_OF_A_REQUEST)
        yield left[place : place + size]
        place += size


def send(profiles: Profiles, request: list[Told]) -> None:
    """Send until all of it is acknowledged."""
    left = [Addition(told.user_id, [told.event], [told.event_id]) for told in request]
    while left:
        outcomes = profiles.append_all(left, int(time.time()))
        for outcome in outcomes:
            if not isinstance(outcome, int | StateBusy | ProfilesUnavailable):
                raise outcome
        left = [addition for addition, outcome in zip(left, outcomes, strict=True) if not isinstance(outcome, int)]


@dataclass
class Soak:
    """What the kills did."""

    events: int
    kills: int = 0
    lost: list[str] = field(default_factory=list)
    """Users and events: acknowledged, and not in the profile."""
    counted_twice: list[str] = field(default_factory=list)
    wrong_history: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """Writers that ended otherwise than by a kill or at the end of their work."""
    seconds: float = 0.0

    @property
    def broken(self) -> bool:
        return bool(self.lost or self.counted_twice or self.wrong_history or self.failed)


def soak(plan: Plan, folder: Path, kills: int, between_seconds: float) -> Soak:
    """Run the writers to the end of their work, and kill one of them at so many random moments before it."""
    result, draw, begun = Soak(WRITERS * plan.events), random.Random(plan.seed), time.monotonic()
    plan.open().close()  # the file is made once
    writers = {_start(plan, writer, folder): writer for writer in range(WRITERS)}
    next_kill = begun
    while writers:
        if result.kills < kills and time.monotonic() >= next_kill:
            os.kill(draw.choice(sorted(writers)), signal.SIGKILL)
            next_kill = time.monotonic() + draw.uniform(0, 2 * between_seconds)
        time.sleep(POLL_SECONDS)
        for pid in list(writers):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            writer, status = writers.pop(pid), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if status == -signal.SIGKILL:
                result.kills += 1
                writers[_start(plan, writer, folder)] = writer
            elif status != 0:
                result.failed.append(f"writer {writer}: status {status}")
    result.seconds = round(time.monotonic() - begun, 1)
    inspect(plan, folder, result)
    return result


def _start(plan: Plan, writer: int, folder: Path) -> int:
    """A writer in a forked child, which spares each life the second that imports take; its pid."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        write(plan, writer, folder / f"notes-{writer}")
        status = 0
    except TandemError as error:
        print(error, file=sys.stderr)
    finally:
        os._exit(status)


def inspect(plan: Plan, folder: Path, result: Soak) -> None:
    """Hold every profile against what was to be sent."""
    acknowledged = {event_id for path in folder.glob("notes-*") for event_id in path.read_text().split()}
    wanted: dict[str, list[Told]] = {}
    for writer in range(WRITERS):
        for told in plan.own(writer):
            wanted.setdefault(told.user_id, []).append(told)
    with closing(plan.open()) as profiles:
        found = profiles.read(sorted(wanted))
    for user_id, told in wanted.items():
        profile = found[user_id].profile
        seen = set(profile.seen)
        result.lost += [one.event_id for one in told if one.event_id in acknowledged and one.event.item_id not in seen]
        if profile.n_events < len(told):
            result.lost.append(f"{user_id}: {profile.n_events} of {len(told)}")
        if profile.n_events > len(told):
            result.counted_twice.append(f"{user_id}: {profile.n_events} instead of {len(told)}")
        newest = sorted((one.event for one in told), key=lambda event: (event.timestamp, event.item_id))
        if profile.history != newest[-HISTORY_LIMIT:]:
            result.wrong_history.append(user_id)


def on_sqlite(events: int, seed: int, kills: int, between_seconds: float) -> Soak:
    """Eight writers of so many events on one SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        return soak(Plan(str(Path(folder) / "profiles.sqlite"), events, seed), Path(folder), kills, between_seconds)


def on_dynamodb_local(events: int, seed: int, kills: int, between_seconds: float) -> Soak:
    """The same on Amazon's local engine."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            url = server.start(Path(folder))
            with closing(client_of(url)) as client:
                server.create_profiles_table(client, TABLE)
            return soak(Plan(url, events, seed), Path(folder), kills, between_seconds)
        finally:
            server.stop(Path(folder))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sqlite-events", type=int, default=10_000, help="of each writer; 0: not at all")
    parser.add_argument("--dynamodb-events", type=int, default=500, help="of each writer; 0: not at all")
    parser.add_argument("--kills", type=int, default=60, help="on each store")
    parser.add_argument("--between-kills", type=float, default=0.5, help="seconds, on average")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    how = (options.seed, options.kills, options.between_kills)
    soaks = {
        name: run(events, *how)
        for name, run, events in (
            ("sqlite", on_sqlite, options.sqlite_events),
            ("dynamodb_local", on_dynamodb_local, options.dynamodb_events),
        )
        if events
    }
    figures = {"writers": WRITERS} | {name: vars(result) for name, result in soaks.items()}
    print(json.dumps(figures, indent=None if options.json else 2))
    return int(any(result.broken for result in soaks.values()))


if __name__ == "__main__":
    sys.exit(main())
