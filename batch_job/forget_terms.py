"""What is left of a user who was forgotten, why, and until when: the same sentences for everybody, a list a place.

Terms of AWS are those that the stacks set; a test holds both together. `tandem forget` and `python -m batch_job forget`
put them into the certificate.
"""

from __future__ import annotations

from typing import Final

from contracts.certificate import Remaining

FIREHOSE_SECONDS: Final = 900
"""Longest that Firehose buffers what it has taken: only afterwards the log is known to hold all of it."""
BACKUP_DAYS: Final = 35
"""Of DynamoDB's point-in-time recovery."""
ERROR_DAYS: Final = 30
"""Of what Firehose could not convert."""
TRAINING_DAYS: Final = 30
"""Of a dataset that was brought for a single training, and of models and checkpoints."""
ASKED_DAYS: Final = 7
"""Of the ids that a batch of recommendations was asked for, where nobody waited for its end."""

_MODELS: Final = Remaining(
    what="Releases and models made before: they name no user, and hold vectors of items only. What they learned from "
    "this user's events among all others' is in no model that is trained from now on.",
    until="the last of them is swept, some nights from now",
)
_TOMBSTONE: Final = Remaining(
    what="That somebody left, under a digest of the id, and in the record of the profile under the id itself: without "
    "it a slow writer or an old copy could bring the user back.",
    until="always",
)

LOCALLY: Final = (
    _MODELS,
    _TOMBSTONE,
    Remaining(
        what="Free pages of profiles.sqlite and live.sqlite, and copies of this folder that somebody made.",
        until="they are written over, or removed by whoever made them",
    ),
)
IN_AWS: Final = (
    _MODELS,
    _TOMBSTONE,
    Remaining(
        what="Backups of the tables of profiles and of live data, where the deployment keeps any (point-in-time "
        "recovery): restored, they must be forgotten from again.",
        until=f"{BACKUP_DAYS} days from now",
    ),
    Remaining(
        what="Events, exposures and slates that Firehose could not deliver, in errors/, and what it delivers late: "
        "after a failure it tries for a day. Run this again then to have that removed too.",
        until=f"{ERROR_DAYS} days from now",
    ),
    Remaining(
        what="Datasets that were sent for a training from a laptop, in trainings/.",
        until=f"{TRAINING_DAYS} days from now",
    ),
    Remaining(
        what="Lists of ids for which a batch of recommendations was asked, in asked/.",
        until=f"{ASKED_DAYS} days from now",
    ),
    Remaining(
        what="Lines of logs: they name users by a hash under a key that is not in them.",
        until="the retention of the log groups",
    ),
)
"""The data bucket keeps no old versions of objects; that of releases does, and they name nobody."""
