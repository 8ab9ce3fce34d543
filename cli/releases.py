"""`tandem releases | publish | rollback | diff`: what is there, what serves, and changing it by hand.

`cli/main.py` registers it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import DEFAULT_HOME, HomeOption, JsonFlag, emit, one_of, out, say, table
from contracts.errors import TandemError
from contracts.release import MODELS, Publication

if TYPE_CHECKING:
    from stores.releases import LocalReleases


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command("releases")(releases)
    app.command("publish")(publish)
    app.command("rollback")(rollback)
    app.command("diff")(diff)


def releases(home: HomeOption = DEFAULT_HOME, as_json: JsonFlag = False) -> None:
    """List the releases and say which one serves.

    Example: tandem releases --json
    """
    from stores.releases import LocalReleases

    store = LocalReleases(home)
    current = store.current()
    serving = current.publication if current else None
    rows = [_row(store, release, serving) for release in store.ids()]
    payload = {"serving": serving, "releases": rows}
    emit(as_json, payload, lambda: _draw(rows, serving))


def _row(store: LocalReleases, release: str, serving: Publication | None) -> dict[str, Any]:
    serves = serving is not None and serving.release == release
    try:
        manifest = store.manifest(release)
    except TandemError as error:
        return {"id": release, "error": error.message, "serving": serves}
    megabytes = sum(entry.bytes for entry in manifest.files.values()) / 1e6
    return {
        "id": release,
        "created_at": manifest.created_at,
        "items": manifest.n_items,
        "megabytes": round(megabytes, 1),
        "parent": manifest.parent,
        "metrics": manifest.metrics,
        "serving": serves,
    }


def _draw(rows: list[dict[str, Any]], serving: Publication | None) -> None:
    cells = [
        [
            ("→ " if row["serving"] else "  ") + row["id"],
            row.get("created_at", row.get("error", "")),
            str(row.get("items", "")),
            str(row.get("megabytes", "")),
        ]
        for row in rows
    ]
    out.print(table("Releases (→ serves)", ["release", "created", "items", "MB"], cells, right=2))
    if serving:
        out.print(f"publication {serving.id}, model {serving.served_model}, since {serving.created_at}")


def publish(
    release: Annotated[str, typer.Argument(help="Release id, see `tandem releases`.")],
    model: Annotated[str, typer.Option(help=f"Which model answers: {' or '.join(MODELS)}.")] = MODELS[0],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Publish a sealed release by hand, past the gate (it is still verified).

    Example: tandem publish r20261101T020000-1a2b3c4d
    """
    from index_loader.fresh_encodings import encoded_around
    from index_loader.publish import publish as publish_release
    from stores.fresh_items import SqliteFreshItems
    from stores.live_file import LIVE_FILE
    from stores.releases import LocalReleases

    one_of("--model", model, MODELS)
    store = LocalReleases(home)
    with SqliteFreshItems(home / LIVE_FILE) as items, encoded_around(store, release, items):
        moved = publish_release(store, release, None, store.etag(), served_model=model)
    emit(as_json, moved.publication, lambda: say(f"{moved.publication.id} serves {release} ({model})."))


def rollback(
    to: Annotated[str | None, typer.Option(help="Publication id; default: the one before the current.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also where its index cannot be looked at.")] = False,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Serve an earlier publication again; its release, and its index where an engine runs, are looked at first.

    Example: tandem rollback
    """
    from index_loader.publish import rollback as roll_back
    from local_mode.engine import engine_url
    from stores.fresh_items import SqliteFreshItems
    from stores.live_file import LIVE_FILE
    from stores.releases import LocalReleases
    from stores.search_engine import connect

    url = None if force else engine_url(home)
    with SqliteFreshItems(home / LIVE_FILE) as items:
        moved = roll_back(LocalReleases(home), to, items, connect(url) if url else None)
    emit(as_json, moved.publication, lambda: say(f"{moved.publication.id} serves {moved.publication.release} again."))


def diff(
    before: Annotated[str, typer.Argument(help="Release id.")],
    after: Annotated[str, typer.Argument(help="Release id.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonFlag = False,
) -> None:
    """Say what changed between two releases.

    Example: tandem diff r20261101T020000-1a2b3c4d r20261102T020000-5e6f7a8b
    """
    from index_loader.diff import diff as compare
    from stores.releases import LocalReleases

    found = compare(LocalReleases(home), before, after)
    emit(as_json, found, lambda: _draw_diff(found))


def _draw_diff(found: dict[str, Any]) -> None:
    items, overlap = found["items"], found["overlap"]
    rows = [["items", str(items["before"]), str(items["after"]), f"+{items['added']} −{items['removed']}"]]
    rows += [[name, str(found[name]["before"]), str(found[name]["after"]), ""] for name in ("events", "watermark")]
    for model, metrics in found["metrics"].items():
        rows += [[f"{model} {name}", _figure(v["before"]), _figure(v["after"]), ""] for name, v in metrics.items()]
    out.print(table(f"{found['before']} → {found['after']}", ["", "before", "after", "change"], rows))
    out.print(
        f"Of the 100 most popular items {overlap['popular_100']:.0%} stayed; "
        f"of the ten nearest items of an item {overlap['neighbours_10']:.0%}."
    )


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ("–" if value is None else str(value))
