"""Stands before the handlers of a night in a bundle of the tests: their calls are noted."""

from __future__ import annotations

import botocore.client
import opensearchpy
from recording import note_calls_of_botocore, note_calls_of_search

note_calls_of_botocore(botocore.client)
note_calls_of_search(opensearchpy.Transport)

from index_loader.night import handler  # noqa: E402  # what AWS calls, once the calls are noted

globals().update({name: getattr(handler, name) for name in handler.STEPS})
