"""`tandem experiments push | show | check | assign`: what is tested, by whom it is seen, and putting it in force.

Parses, calls `experiments` and the stores, prints. `cli/main.py` registers it; `cli/experiments_report.py` adds the
report to the group.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import experiments_report
from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, out, say, table
from contracts.errors import EnvelopeRefused
from contracts.treatment import Treatment, changes_of

if TYPE_CHECKING:
    from experiments.payload import Payload
    from experiments.rules import Experiment
    from stores.experiments import ExperimentsStore

FileArgument = Annotated[Path, typer.Argument(help="experiments.toml, or a .json payload of the GrowthBook API.")]
BucketOption = Annotated[
    str | None, typer.Option("--bucket", help="Of the releases in AWS, instead of the home; with --key-secret.")
]
KeySecretOption = Annotated[
    str | None, typer.Option("--key-secret", help="Secrets Manager id of the key that envelopes are signed with.")
]

experiments_app = typer.Typer(help="Experiments: who sees which variant, and since when.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    experiments_report.register(experiments_app)
    app.add_typer(experiments_app, name="experiments")


@dataclass(frozen=True)
class _Place:
    """Where the envelope is: the home, or a bucket and a secret."""

    home: Path
    bucket: str | None
    secret: str | None

    def __post_init__(self) -> None:
        if (self.bucket is None) != (self.secret is None):
            raise typer.BadParameter("give both or neither", param_hint="--bucket, --key-secret")

    def store(self) -> ExperimentsStore:
        """Of envelopes."""
        from stores.experiments import LocalExperiments, S3Experiments

        return LocalExperiments(self.home) if self.bucket is None else S3Experiments(self.bucket)

    def key(self, *, make: bool = False) -> bytes:
        """That envelopes are signed with. Raises EnvelopeRefused where the home has none."""
        from stores.experiments_key import local_key, secret_key

        key = local_key(self.home, make=make) if self.secret is None else secret_key(self.secret)
        if key is None:
            raise EnvelopeRefused(
                f"{self.home} has no key to check it with.", fix="`tandem experiments push` makes one."
            )
        return key


@experiments_app.command()
def push(
    file: FileArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Even where people change arms, or what is there cannot be read.")
    ] = False,
    bucket: BucketOption = None,
    key_secret: KeySecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Put the experiments of a file in force: checked, signed, and served within a minute. Safe to repeat.

    A change that would move people between arms is refused: begin a new phase instead.

    Example: tandem experiments push experiments.toml
    """
    from experiments.local_file import compile_file
    from experiments.publishing import following

    payload, place = compile_file(file), _Place(home, bucket, key_secret)
    store = place.store()
    kept = store.read()
    next_one = following(
        None if kept is None else kept.data, payload, place.key(make=True), int(time.time()), force=force
    )
    if next_one.data is not None:
        store.write(next_one.data, None if kept is None else kept.etag)
    done = {
        "sequence": next_one.sequence,
        "published": next_one.data is not None,
        "experiments": [_facts(one) for one in payload.rules],
    }
    said = f"Sequence {next_one.sequence}" + ("." if next_one.data is not None else ", in force already.")
    emit(as_json, done, lambda: _draw(payload, said))


@experiments_app.command()
def show(
    bucket: BucketOption = None,
    key_secret: KeySecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Say which experiments are in force, since when, and with which arms. Exit status 1 where none is served.

    Example: tandem experiments show --json
    """
    from contracts.experiment import ENVELOPE_MAX_AGE_SECONDS
    from experiments.envelope import read_envelope
    from experiments.payload import Payload

    place = _Place(home, bucket, key_secret)
    kept = place.store().read()
    if kept is None:
        nothing: dict[str, Any] = {"sequence": 0, "served": False, "experiments": []}
        emit(as_json, nothing, lambda: _draw(Payload({}), "Nothing was pushed yet."))
        raise typer.Exit(1)
    envelope, payload = read_envelope(kept.data, place.key())
    age = int(time.time()) - envelope.issued_at
    served = age <= ENVELOPE_MAX_AGE_SECONDS
    facts = {
        "sequence": envelope.sequence,
        "issued_at": envelope.issued_at,
        "age_seconds": age,
        "served": served,
        "experiments": [_facts(one) for one in payload.rules],
    }
    said = f"Sequence {envelope.sequence}, issued {age / 3_600:.1f} h ago."
    emit(as_json, facts, lambda: _draw(payload, said if served else f"{said} Too old to be served: push it again."))
    if not served:
        raise typer.Exit(1)


@experiments_app.command()
def check(file: FileArgument, as_json: JsonFlag = False) -> None:
    """Check a file as `push` would, and change nothing.

    Example: tandem experiments check experiments.toml
    """
    from experiments.local_file import compile_file

    payload = compile_file(file)
    emit(
        as_json,
        {"bytes": len(payload.encode()), "experiments": [_facts(one) for one in payload.rules]},
        lambda: _draw(payload, f"{file} can be pushed."),
    )


@experiments_app.command()
def assign(
    user: Annotated[str, typer.Argument(help="Id of the user; anonymous:SESSION for a visitor.")],
    country: Annotated[str | None, typer.Option(help="As the request would say it.")] = None,
    segment: Annotated[str | None, typer.Option(help="As the request would say it.")] = None,
    events: Annotated[int, typer.Option(min=0, help="Events of theirs that are known.")] = 0,
    bucket: BucketOption = None,
    key_secret: KeySecretOption = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Say in which arms a user is, and what changes for them.

    Example: tandem experiments assign u00042 --country DE
    """
    from contracts.experiment import NOBODY
    from experiments.attributes import attributes_of
    from experiments.envelope import open_envelope
    from experiments.running import Running

    place, assigned = _Place(home, bucket, key_secret), NOBODY
    if (kept := place.store().read()) is not None:
        envelope, payload = open_envelope(kept.data, place.key(), after=0, now_seconds=int(time.time()))
        known = None if user.startswith("anonymous:") else user
        attributes = attributes_of(user, user_id=known, country=country, segment=segment, events=events)
        assigned = Running(payload, envelope.sequence).assign(attributes)
    rows = [[one.experiment, one.variation] for one in assigned.assignments]

    def draw() -> None:
        out.print(table(f"Arms of {user}", ["experiment", "arm"], rows, right=2))
        say(f"Changes for them: {_changes(assigned.treatment)}.")

    emit(as_json, {"user": user, **_plain(assigned)}, draw)


def _facts(experiment: Experiment) -> dict[str, Any]:
    facts = _plain(experiment)
    facts["arms"] = [
        {"key": arm.key, "weight": arm.weight, "changes": _plain(arm.treatment)} for arm in experiment.arms
    ]
    return facts


def _plain(value: Any) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


def _draw(payload: Payload, said: str) -> None:
    rows = [
        [one.key, arm.key, _changes(arm.treatment), f"{arm.weight:.4g}", f"{one.coverage:.4g}", one.phase]
        for one in payload.rules
        for arm in one.arms
    ]
    out.print(table("Experiments", ["experiment", "arm", "changes", "weight", "coverage", "phase"], rows, right=3))
    say(said)


def _changes(treatment: Treatment) -> str:
    changes = changes_of(treatment, treatment.__struct_fields__)
    return ", ".join(f"{name} {value}" for name, value in changes.items()) or "nothing"
