"""Stands before the handler that fetches experiments in a bundle of the tests: its calls are noted."""

from __future__ import annotations

import botocore.client
from recording import note_calls_of_botocore

note_calls_of_botocore(botocore.client)

from lambda_user_tower.fetch_experiments import handler as fetch  # noqa: E402, F401  # what AWS calls
