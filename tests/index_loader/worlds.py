"""Releases of the toy world in a store, and their indexes in a real engine, for the tests of the loading steps."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from contracts.fitted import FittedModel, to_bundle
from index_loader.finalise import finalise
from index_loader.load import load
from index_loader.prepare import prepare
from stores.release_files import TrainingFacts, write_bundle
from stores.releases import LocalReleases


def seal(store: LocalReleases, model: FittedModel) -> str:
    folder = store.home / uuid4().hex
    facts = TrainingFacts(n_items=len(model.items), dim=model.items.two_tower.shape[1], watermark=model.watermark)
    write_bundle(folder, to_bundle(model), facts)
    return store.seal(folder).id


def loaded(store: LocalReleases, client: Any, release: str, parts: int = 3) -> str:
    name = prepare(store, client, release)
    for part in range(parts):
        load(store, client, release, name, part=part, parts=parts)
    finalise(client, name)
    return name
