"""An experiment in a rehearsed deployment: pushed as `tandem experiments push` does, asked by many, and its two logs.

Both arms answer, each as it says; who is in one stays there; every user that was asked is in the log of exposures, and
every answer in that of slates, with columns that the tables of Glue have and no others. `walk.py` makes the requests;
`tandem aws rehearse-serving`, `two_nights.py` and the tests call this.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from contracts.errors import VerificationFailed
from contracts.event_columns import EXPOSURE_COLUMNS, SLATE_COLUMNS
from experiments.local_file import compile_file
from experiments.publishing import following
from local_mode.rehearsal.stand_ins import DATA, EXPERIMENTS_SECRET, EXPOSURES, PREFIXES, RELEASES, SLATES
from local_mode.rehearsal.walk import PLACES, Step, call
from stores.experiments import S3Experiments
from stores.experiments_key import secret_key
from stores.s3_bucket import Bucket

NAME: Final = "rehearsal"
SHORT: Final = 5
"""Places of the arm that is not the control: what an arm changes is to be seen in every answer."""
TOML: Final = f"""
[experiments.{NAME}]
[[experiments.{NAME}.arms]]
key = "control"
[[experiments.{NAME}.arms]]
key = "short"
num_items = {SHORT}
random_places = 1
"""
SHORT_ARM: Final = f"{NAME}:short"
ARMS: Final = {f"{NAME}:control": PLACES, SHORT_ARM: SHORT}
"""`why.variant` → places."""
NONE: Final = ""
"""What ends all experiments."""
USERS: Final = 12
"""That ask: all in one arm once in two thousand times, were chance not the hash of always the same names."""
IN_FORCE_SECONDS: Final = 30.0
"""Within which a running process goes over to what was pushed, on a busy machine."""
LOGGED_SECONDS: Final = 30.0
"""Within which a slate is in its log: some wait for five seconds by themselves."""
_AGAIN_SECONDS: Final = 0.2

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "bigint": (int,),
    "int": (int,),
    "double": (float, int),
    "boolean": (bool,),
}
"""Hive type → what of JSON becomes one."""

Columns = tuple[tuple[str, str], ...]


class Tested(NamedTuple):
    """Who was asked, and where they were."""

    arms: dict[str, str]
    """User → variant."""
    slates: frozenset[str]
    """Recommendation ids of all answers."""


def push(toml: str = TOML) -> int:
    """Put the experiments of a text in force; the sequence. Raises as the stores do."""
    with tempfile.TemporaryDirectory(prefix="tandem-experiment-") as folder:
        (file := Path(folder) / "experiments.toml").write_text(toml)
        payload = compile_file(file)
    store, key = S3Experiments(RELEASES), secret_key(EXPERIMENTS_SECRET)
    kept = store.read()
    made = following(None if kept is None else kept.data, payload, key, int(time.time()))
    if made.data is not None:
        store.write(made.data, None if kept is None else kept.etag)
    store.reconnect()  # nobody asks it again
    return made.sequence


def names(prefix: str) -> list[str]:
    """Users that ask; always the same ones of a prefix."""
    return [f"{prefix}-{number}" for number in range(USERS)]


def begin(url: str) -> None:
    """Put the experiment in force, and wait for that. Raises VerificationFailed where the API does not follow."""
    _await_sequence(url, push())


def end(url: str) -> None:
    """End all experiments, and wait for that; whoever is asked for then is in none. Raises VerificationFailed."""
    _await_sequence(url, push(NONE))
    (user, *_) = names("afterwards")
    step = call(url, "/v1/recommendations", {"user_id": user}, f"recommendations of {user}")
    if step.status != 200 or step.answer["why"]["variant"] is not None:
        raise VerificationFailed(f"all experiments have ended, and {step.what} are {step.answer}.")


def _await_sequence(url: str, sequence: int) -> None:
    def decides() -> bool:
        return bool(call(url, "/v1/health", None, "health").answer.get("experiments") == sequence)

    _await(decides, IN_FORCE_SECONDS, f"experiments {sequence} were pushed, and do not decide")


def _ask_all(url: str, users: Sequence[str]) -> Iterator[tuple[str, Step]]:
    """A slate of each user, each as long as the arm of its user has it."""
    for user in users:
        step = call(url, "/v1/recommendations", {"user_id": user, "num_items": PLACES}, f"recommendations of {user}")
        if step.status != 200:
            raise VerificationFailed(f"{step.what}: status {step.status}: {step.answer}")
        variant, found = step.answer["why"]["variant"], len(step.answer["items"])
        if ARMS.get(variant) != found:
            raise VerificationFailed(f"{user} is in {variant} and is shown {found} items; arms are {ARMS}.")
        yield user, step


def ask(url: str, users: Sequence[str]) -> Tested:
    """Ask for everybody twice. Raises VerificationFailed where an arm is empty, or somebody changes arms."""
    first, again = ([*_ask_all(url, users)] for _ in range(2))
    arms, later = ({user: step.answer["why"]["variant"] for user, step in asked} for asked in (first, again))
    if arms != later:
        raise VerificationFailed(f"somebody has changed arms: {arms}, then {later}.")
    if missing := sorted(ARMS.keys() - set(arms.values())):
        raise VerificationFailed(f"nobody of {len(arms)} users is in {', '.join(missing)}.")
    return Tested(arms, frozenset(step.answer["recommendation_id"] for _, step in (*first, *again)))


def check_logs(tested: Tested) -> Iterator[str]:
    """Promises of the two logs that were kept. Raises VerificationFailed where one is broken, or a row is missing."""

    def logged() -> bool:
        return tested.slates <= {row["recommendation_id"] for row in rows_of(SLATES, SLATE_COLUMNS)}

    exposures = [row for row in rows_of(EXPOSURES, EXPOSURE_COLUMNS) if row["user_id"] in tested.arms]
    if (found := {row["user_id"]: f"{row['experiment_id']}:{row['variation_id']}" for row in exposures}) != tested.arms:
        raise VerificationFailed(f"exposures of {found}, and slates of {tested.arms}.")
    yield f"{len(exposures)} exposures of {len(found)} users are in the log, each in the arm that served them"
    _await(logged, LOGGED_SECONDS, f"not all of {len(tested.slates)} slates are in their log")
    slates = [row for row in rows_of(SLATES, SLATE_COLUMNS) if row["recommendation_id"] in tested.slates]
    if odd := [row for row in slates if row["variants"] != [tested.arms[row["user_id"]]]]:
        raise VerificationFailed(f"a slate with another variant than its answer: {odd[0]}.")
    drawn = [row for row in slates if any(0 < propensity < 1 for propensity in row["propensities"])]
    if missing := [row for row in slates if row["variants"] == [SHORT_ARM] and row not in drawn]:
        raise VerificationFailed(f"a slate of {SHORT_ARM} has no place that chance has filled: {missing[0]}.")
    yield f"{len(slates)} slates are in their log, {len(drawn)} of them with a place that was drawn"


def rows_of(stream: str, columns: Columns) -> list[dict[str, Any]]:
    """Every row that a stream has delivered. Raises VerificationFailed where Firehose could not convert one."""
    bucket = Bucket(DATA)
    rows = []
    for key, size in bucket.sizes(PREFIXES[stream]):
        for line in b"".join(bucket.stream(key, size)).splitlines():
            rows.append(row := json.loads(line))
            _check_columns(row, columns, key)
    return rows


def _check_columns(row: dict[str, Any], columns: Columns, key: str) -> None:
    """A name without a column would be dropped in silence, another type lands below errors/."""
    types = dict(columns)
    for name, value in row.items():
        if name not in types or not _fits(value, types[name]):
            raise VerificationFailed(f"{key}: {name} is {value!r}, and the table has {types.get(name)} for it.")


def _fits(value: Any, kind: str) -> bool:
    if kind.startswith("array<"):
        inner = kind.removeprefix("array<").removesuffix(">")
        return isinstance(value, list) and all(_fits(each, inner) for each in value)
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _await(promise: Callable[[], bool], seconds: float, broken: str) -> None:
    until = time.monotonic() + seconds
    while not promise():
        if time.monotonic() > until:
            raise VerificationFailed(f"{broken} after {seconds:.0f} s.")
        time.sleep(_AGAIN_SECONDS)
