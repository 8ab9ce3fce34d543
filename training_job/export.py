"""A fitted model → the files of a candidate release, with what training says of itself.

Sealing them is `stores.releases`' work. The nightly run, the CLI and `python -m training_job` call it.
"""

from __future__ import annotations

from pathlib import Path

from contracts.fitted import to_bundle
from stores.release_files import TrainingFacts, write_bundle
from training_job.fit import Fitted


def export(fitted: Fitted, folder: Path, parent: str | None = None) -> None:
    """Write the bundle into `folder` (created). `parent` is the release that a warm start came from.

    Raises StorageFull.
    """
    model = fitted.model
    facts = TrainingFacts(
        n_items=len(model.items),
        dim=model.items.two_tower.shape[1],
        watermark=model.watermark,
        parent=parent,
        training=fitted.report,
        metrics=fitted.report["validation"],
    )
    write_bundle(folder, to_bundle(model), facts)
