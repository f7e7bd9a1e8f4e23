"""Taking orders: what every listener and the gateway need for it, made from the settings.

In: settings and a database. Out: the site's rules, an intake that follows them, a client for a hospital's
systems, rings. It listens to nobody itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import httpx

from integrations.rules.matching import Rules
from integrations.site import open_site_rules
from worker import uploads
from worker.address import AllowList
from worker.app import ring_deliveries, ring_readers
from worker.bell import Bell
from worker.pinned import pinned_client
from worker.settings import Settings, SettingsError
from worker.store.intake import Intake
from worker.store.sealing import seal_of
from worker.store.session import Database


def rules_of(settings: Settings) -> Rules:
    """Raises SettingsError, RulesInvalid."""
    if settings.lis.rules is None:
        raise SettingsError("PATHLANE_RULES: a file with the site's rules is needed")
    return open_site_rules(settings.lis.rules)


def intake_of(settings: Settings, database: Database, rules: Rules) -> Intake:
    """Raises SettingsError."""
    return Intake(
        database,
        seal_of(settings),
        lambda order: rules.plan(order).questions,
        public_url=settings.delivery.public_url,
        queue_limit=settings.store.queue_limit,
        archive=settings.lis.lis_archive,
        use=partial(uploads.use, settings.imaging.uploads_dir),
    )


def client_of(settings: Settings) -> httpx.Client:
    """Goes to the hospital's systems that the operator has listed, and nowhere else."""
    return pinned_client(
        AllowList.of(settings.lis.lis_hosts),
        seconds=settings.delivery.webhook_seconds,
        plain_http=settings.delivery.webhook_plain_http,
    )


def job_bell() -> Callable[[int], object]:
    """Rings for so many jobs; for those that must answer somebody meanwhile, as `delivery_bell`."""
    return Bell(ring_readers)


def delivery_bell() -> Callable[[Sequence[str]], object]:
    bell = Bell(ring_deliveries)
    return lambda ids: bell(*ids)
