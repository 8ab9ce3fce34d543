"""Stands before the handlers of the API in a bundle of the tests: their calls are noted."""

from __future__ import annotations

import botocore.client
import opensearchpy
from recording import note_calls_of_botocore, note_calls_of_search

note_calls_of_botocore(botocore.client)
note_calls_of_search(opensearchpy.Transport)

from lambda_user_tower.handler import events, handler, items  # noqa: E402, F401  # what AWS calls, once calls are noted
