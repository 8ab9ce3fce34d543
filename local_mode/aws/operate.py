"""Putting a deployment right by hand: another release, an earlier publication again, profiles from the event log.

The steps are those of `index_loader` and `batch_job`, in the stores of AWS. `tandem aws publish | rollback | repair`
call it.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from batch_job.log_sources import S3Source
from batch_job.repair import Plan, Repair, repair_profiles
from contracts.fitted import HEAD_ITEMS
from contracts.release import Publication
from index_loader.fresh_encodings import encoded_around
from index_loader.publish import publish as publish_release
from index_loader.publish import rollback as roll_back
from index_loader.run import run as run_loading
from lambda_user_tower.settings import LambdaSettings
from local_mode.aws.stores import AwsStores
from local_mode.publishing import Progress
from stores.releases import LocalReleases

EVENTS: Final = "events/"
"""Prefix of the log in the data bucket."""
SEARCH_SECONDS: Final = 10.0
"""Of a question about one index."""


def publish(
    stores: AwsStores,
    release: str,
    model: str,
    *,
    engine_above: int = HEAD_ITEMS,
    progress: Progress | None = None,
) -> Publication:
    """Publish a release past the gate; it is still verified. One that is only in the home folder is copied first.

    Raises ReleaseNotFound, ServerUnavailable, IndexLoadFailed, VerificationFailed, PointerConflict, and what opening
    it raises; what served goes on serving.
    """
    etag = stores.releases.etag()
    local = LocalReleases(stores.home)
    if release in local.ids() and release not in stores.releases.ids():
        stores.releases.copy_in(local, release)
    engine = stores.engine_for(stores.releases.manifest(release).n_items, engine_above)
    try:
        loaded = run_loading(stores.releases, engine, release, progress=progress) if engine is not None else None
        with encoded_around(stores.releases, release, stores.fresh_items):
            moved = publish_release(stores.releases, release, None, etag, served_model=model, loaded=loaded)
    finally:
        if engine is not None:
            engine.close()
    return moved.publication


def rollback(stores: AwsStores, to: str | None, *, force: bool = False) -> Publication:
    """Serve an earlier publication again, by default the one before the current; its index is looked for first.

    `force`: also where the domain cannot be reached. Raises NothingPublished, IndexUnavailable, PointerConflict, and
    what opening its release raises.
    """
    if force or not stores.deployment.search_endpoint:
        return roll_back(stores.releases, to, stores.fresh_items).publication
    client = stores.search(SEARCH_SECONDS)
    try:
        return roll_back(stores.releases, to, stores.fresh_items, client).publication
    finally:
        client.close()


def repair(
    stores: AwsStores,
    since: date | None = None,
    *,
    rebuild: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Repair:
    """Hold the profiles against the event log in the data bucket; `since` and the rest as in `Plan`.

    Events have the age that the environment of this process gives them, by default that of the functions. Raises
    NothingPublished, LogUnavailable, LiveDataUnavailable, ProfilesUnavailable, StoreUnavailable.
    """
    catalogue = stores.releases.open_catalogue(stores.releases.serving().publication.release)
    max_age_days = LambdaSettings.from_env().event_max_age_days
    log = S3Source(f"s3://{stores.deployment.data_bucket}/{EVENTS}", client=stores.account.client("s3"))
    plan = Plan(catalogue.schema, max_age_days, since, rebuild, dry_run)
    return repair_profiles(log, stores.profiles, plan, progress, stores.identities)
