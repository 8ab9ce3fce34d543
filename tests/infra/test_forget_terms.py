"""What a certificate says of a deployment is what the stacks set."""

from __future__ import annotations

from batch_job import forget_datasets, forget_terms
from infra import storage


def test_terms_are_those_of_the_stacks() -> None:
    assert forget_terms.ERROR_DAYS == storage.ERROR_DAYS
    assert forget_terms.TRAINING_DAYS == storage.LARGE_DAYS
    assert forget_terms.ASKED_DAYS == storage.ASKED_DAYS
    assert forget_datasets.EXPOSURES == storage.EXPOSURES_PREFIX
    assert forget_datasets.SLATES == storage.SLATES_PREFIX
