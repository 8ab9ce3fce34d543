"""`tandem index …`: the steps that put a release into a search engine, alone and in a row.

Parses, calls `index_loader`, prints. `cli/main.py` registers it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, out, progress_bar, say, table
from contracts.errors import ReleaseNotFound

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from contracts.release import GateReport
    from stores.releases import LocalReleases

ReleaseOption = Annotated[str | None, typer.Option("--release", help="Release id; default: the newest.")]
NameOption = Annotated[str | None, typer.Option("--index", help="Index; default: the newest of the release.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(help="Put a release into a search engine, step by step.", no_args_is_help=True)
    for command in (run, prepare, load, finalise, verify, publish, sweep):
        group.command(command.__name__)(command)
    app.add_typer(group, name="index")


def run(
    release: ReleaseOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="A new index, even where one was begun.")] = False,
    no_publish: Annotated[bool, typer.Option("--no-publish", help="Stop after the index is final.")] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """All steps: prepare, load, finalise, verify, publish; goes on where a killed run stopped.

    Example: tandem index run
    """
    from index_loader.fresh_encodings import encoded_around
    from index_loader.run import publish_or_load_again
    from index_loader.run import run as run_steps
    from stores.fresh_items import SqliteFreshItems
    from stores.live_file import LIVE_FILE

    store, client = _both(home)
    chosen = _release(store, release)
    with progress_bar(json_lines=True) as progress:
        loaded = run_steps(store, client, chosen, fresh=fresh, progress=progress)
        publication = None
        if not no_publish:
            verdict, etag = _verdict(store, chosen), store.etag()
            with SqliteFreshItems(home / LIVE_FILE) as items, encoded_around(store, chosen, items):
                publication = publish_or_load_again(store, chosen, verdict, etag, loaded).publication
    text = f"{publication.index} holds {chosen} and serves." if publication else f"{loaded.name} is final."
    name = publication.index if publication else loaded.name
    emit(as_json, {"index": name, "publication": publication}, lambda: say(text))


def prepare(release: ReleaseOption = None, home: HomeOption = DEFAULT_HOME, as_json: JsonFlag = False) -> None:
    """Check that a release can be indexed, and create an empty index for it.

    Example: tandem index prepare
    """
    from index_loader.prepare import prepare as prepare_index

    store, client = _both(home)
    name = prepare_index(store, client, _release(store, release))
    emit(as_json, {"index": name}, lambda: out.print(name))


def load(
    release: ReleaseOption = None,
    index: NameOption = None,
    part: Annotated[int, typer.Option(min=0, help="Number of the part, from 0.")] = 0,
    parts: Annotated[int, typer.Option(min=1, help="Into how many parts the release is cut.")] = 1,
    threads: Annotated[int, typer.Option(min=1, max=16, help="Bulk requests at once.")] = 2,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Load a part of a release into its index; what is there already is written again.

    Example: tandem index load --part 0 --parts 4
    """
    from index_loader.load import load as load_part

    if part >= parts:
        raise typer.BadParameter(f"there is no part {part} of {parts}", param_hint="--part")
    store, client = _both(home)
    chosen = _release(store, release)
    name = _index(store, client, chosen, index)
    with progress_bar(json_lines=True) as progress:
        done = load_part(store, client, chosen, name, part=part, parts=parts, threads=threads, progress=progress)
    emit(as_json, {"index": name, "documents": done}, lambda: say(f"{done} documents are in {name}."))


def finalise(
    release: ReleaseOption = None,
    index: NameOption = None,
    replicas: Annotated[
        int | None, typer.Option(min=0, help="Copies beside the first; by default one, if there is a second node.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Merge a loaded index to few segments and block writes; it never changes again.

    Example: tandem index finalise
    """
    from index_loader.finalise import finalise as finalise_index

    store, client = _both(home)
    name = _index(store, client, _release(store, release), index)
    with progress_bar(json_lines=True) as progress:
        finalise_index(client, name, replicas=replicas, progress=progress)
    emit(as_json, {"index": name, "final": True}, lambda: say(f"{name} is final."))


def verify(
    release: ReleaseOption = None, index: NameOption = None, home: HomeOption = DEFAULT_HOME, as_json: JsonFlag = False
) -> None:
    """Hold an index against its release: every id, a sample of documents, recall and latency under every filter.

    Without options the index that serves is looked at, where one does.

    Example: tandem index verify --json
    """
    from index_loader.publish import Loaded
    from retrieval.opened import open_model

    store, client = _both(home)
    current = store.current()
    if release is None and index is None and current is not None and current.publication.index:
        release, index = current.publication.release, current.publication.index
    chosen = _release(store, release)
    name = _index(store, client, chosen, index)
    with progress_bar(json_lines=True) as progress:
        report = Loaded(client, name, progress).verify(store.manifest(chosen), open_model(store.open(chosen)).fitted)
    emit(as_json, {"release": chosen, "index": name, **report}, lambda: _draw(name, report))


def _draw(name: str, report: dict[str, Any]) -> None:
    rows = [[model, "1", *_cells(figures)] for model, figures in report["models"].items()]
    rows += [[bucket, f"{figures['share']:.3f}", *_cells(figures)] for bucket, figures in report["filters"].items()]
    columns = ["probed", "share", "recall@k", "worst", "p50 ms", "p99 ms"]
    looked_at = ", ".join(f"{model} {ef_search}" for model, ef_search in report["ef_search"].items())
    out.print(table(f"{name}, ef_search: {looked_at}", columns, rows))
    say(f"{report['count']} documents, all ids as in the release, {report['documents_compared']} compared whole.")


def _cells(figures: dict[str, Any]) -> list[str]:
    return [
        f"{figures[key]:{form}}"
        for key, form in zip(("recall", "worst", "p50_ms", "p99_ms"), (".4f", ".2f", ".1f", ".1f"), strict=True)
    ]


def publish(
    release: ReleaseOption = None, index: NameOption = None, home: HomeOption = DEFAULT_HOME, as_json: JsonFlag = False
) -> None:
    """Verify an index and make it serve; the gate's verdict on the release counts where there is one.

    Example: tandem index publish
    """
    from index_loader.publish import Loaded

    store, client = _both(home)
    chosen = _release(store, release)
    name = _index(store, client, chosen, index)
    with progress_bar(json_lines=True) as progress:
        publication = _publish(store, chosen, Loaded(client, name, progress))
    emit(as_json, publication, lambda: say(f"{publication.id} serves {chosen} from {name}."))


def sweep(
    delete: Annotated[bool, typer.Option("--delete", help="Remove them; without it they are only named.")] = False,
    older_than_hours: Annotated[float, typer.Option(min=0, help="Leave younger ones: they may be loading.")] = 6.0,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Name, or remove, the indexes that neither what serves nor a rollback needs.

    Example: tandem index sweep
    """
    from index_loader.sweep import sweep as sweep_indexes

    store, client = _both(home)
    swept = sweep_indexes(store, client, delete=delete, young_seconds=older_than_hours * 3600)
    rows = [[name, "removed" if delete else "to be removed (--delete)"] for name in swept.doomed]
    rows += [[name, f"kept: {why}"] for name, why in swept.kept.items()]
    emit(as_json, swept, lambda: out.print(table("Indexes", ["index", ""], rows, right=9)))


def _both(home: Any) -> tuple[LocalReleases, OpenSearch]:
    from local_mode.engine import engine_client
    from stores.releases import LocalReleases

    return LocalReleases(home), engine_client(home)


def _release(store: LocalReleases, release: str | None) -> str:
    if release is not None:
        return store.manifest(release).id
    if not (ids := store.ids()):
        raise ReleaseNotFound(f"{store.home}: there is no release yet.", fix="Run `tandem train DATASET` first.")
    return ids[-1]


def _index(store: LocalReleases, client: OpenSearch, release: str, name: str | None) -> str:
    from contracts.errors import IndexLoadFailed
    from index_loader.run import newest_index

    if (found := name or newest_index(store, client, release)) is None:
        raise IndexLoadFailed(f"{release} has no index.", fix=f"`tandem index prepare --release {release}` makes one.")
    return found


def _publish(store: LocalReleases, release: str, loaded: Any) -> Any:
    from index_loader.fresh_encodings import encoded_around
    from index_loader.publish import publish as publish_release
    from stores.fresh_items import SqliteFreshItems
    from stores.live_file import LIVE_FILE

    with SqliteFreshItems(store.home / LIVE_FILE) as items, encoded_around(store, release, items):
        return publish_release(store, release, _verdict(store, release), store.etag(), loaded=loaded).publication


def _verdict(store: LocalReleases, release: str) -> GateReport | None:
    """What the gate said of a release when it was trained here."""
    from contracts.release import GateReport

    path = store.home / "gate" / f"{release}.json"
    return msgspec.json.decode(path.read_bytes(), type=GateReport) if path.is_file() else None
