"""The step that makes what was trained a release: brought here, opened, hashed, uploaded, the manifest last.

The manifest is noted among the night's artifacts before anything is uploaded, so that a step that was killed seals the
same release under the same id. `handler.py` calls it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.errors import NightIncomplete, ReleaseNotFound, RequestInvalid, ServerUnavailable
from contracts.night import SealedRelease
from contracts.release import MANIFEST_NAME, Manifest
from index_loader.night.events import Seal
from index_loader.night.trained import bring, newest_model, training_prefix
from index_loader.night.workplace import Workplace
from stores.nights import Nights
from stores.release_files import describe_bundle, write_atomically

_FOLDER: Final = "candidate"
"""Below the home folder, while the step runs."""


def seal(place: Workplace, event: Seal) -> dict[str, Any]:
    """Seal the model of a night; sealed already, it is found again.

    Raises NightIncomplete where nothing was trained, ReleaseCorrupt where it does not open, ServerUnavailable where it
    has more items than are searched without a domain and there is none.
    """
    place.entered(event)
    prefix = _prefix(place, event)
    manifest = _sealed_before(place, event.night, prefix) or _sealed_now(place, event.night, prefix)
    sealed = SealedRelease(
        release=manifest.id,
        digest=manifest.digest,
        n_items=manifest.n_items,
        model=place.data.url(prefix),
        indexed=_is_indexed(place, manifest),
    )
    place.nights.write(event.night, sealed)
    return {"release": sealed.release, "indexed": sealed.indexed}


def _prefix(place: Workplace, event: Seal) -> str:
    """Where the model lies, ending in a slash."""
    if not event.model:
        if (newest := newest_model(place.data, event.night)) is None:
            raise NightIncomplete(
                f"{place.data.url(training_prefix(event.night))}: no complete model is there.",
                fix="Train writes it: `tandem aws run-nightly --from train`.",
            )
        return newest
    expected = place.data.url(training_prefix(event.night))
    if not event.model.startswith(expected) or event.model.endswith(".tar.gz"):
        raise RequestInvalid(
            f"{event.model} is no uncompressed model below {expected}.",
            field="model",
            fix="Let the training job write there, with CompressionType NONE.",
        )
    return event.model.removeprefix(place.data.url("")).rstrip("/") + "/"


def _sealed_before(place: Workplace, night: str, prefix: str) -> Manifest | None:
    """The release of this very model, where an earlier call has sealed it."""
    sealed = place.nights.find(night, SealedRelease)
    if sealed is None or sealed.model != place.data.url(prefix):
        return None
    try:
        manifest = place.releases.manifest(sealed.release)
    except ReleaseNotFound:  # swept away since
        return None
    return manifest if manifest.digest == sealed.digest else None


def _sealed_now(place: Workplace, night: str, prefix: str) -> Manifest:
    folder = place.settings.home / _FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
    try:
        bring(place.data, prefix, folder)
        _is_indexed(place, _described(place.nights, night, folder))  # before minutes of uploading
        return place.releases.seal(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _described(nights: Nights, night: str, folder: Path) -> Manifest:
    """The manifest under which a folder is sealed: the noted one, where it is of the same content."""
    manifest, noted = describe_bundle(folder), nights.find(night, Manifest)
    if noted is not None and noted.digest == manifest.digest:
        write_atomically(folder / MANIFEST_NAME, msgspec.json.encode(noted))
        return noted
    nights.write(night, manifest)
    return manifest


def _is_indexed(place: Workplace, manifest: Manifest) -> bool:
    """Whether a release belongs into the domain. Raises ServerUnavailable where it does and there is none."""
    if manifest.n_items <= place.settings.engine_above:
        return False
    if not place.settings.opensearch_url:
        raise ServerUnavailable(
            f"{manifest.n_items} items, and this deployment has no search domain: it serves at most "
            f"{place.settings.engine_above}.",
            fix="Deploy it with profile dev or prod: npx cdk deploy --all -c profile=dev.",
        )
    return True
