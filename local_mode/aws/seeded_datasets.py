"""Which datasets the data bucket holds whole. `tandem aws seed` writes them; planning and training ask."""

from __future__ import annotations

from contracts.night import DATASETS, dataset_listing
from stores.s3_bucket import Bucket


def seeded_datasets(bucket: Bucket) -> list[str]:
    """Their names, sorted: those that have a listing, which is written last. Raises StoreUnavailable."""
    keys = {key for key, _ in bucket.listing(DATASETS)}
    names = {key.removeprefix(DATASETS).split("/")[0] for key in keys if key.count("/") > 1}
    return sorted(name for name in names if dataset_listing(name) in keys)
