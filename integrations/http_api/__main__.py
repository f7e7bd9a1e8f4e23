"""The web half of the gateway: `python -m integrations.http_api`. Settings in, an HTTP server out."""

from __future__ import annotations

import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import uvicorn

from integrations.gauges import Gauges
from integrations.http_api.app import create_app
from integrations.http_api.feed import Feed
from integrations.http_api.history import History
from integrations.http_api.limits import Limits
from integrations.http_api.provider import BACK
from integrations.http_api.state import Api, Stores
from integrations.webhooks.signing import Secret
from worker import log, metrics, traces, uploads
from worker.app import check_broker, connect, ring_readers
from worker.bell import Bell
from worker.errors import RulesInvalid
from worker.settings import Settings, SettingsError, read_settings
from worker.store import schema
from worker.store.audit import Audit
from worker.store.bookmarks import Bookmarks
from worker.store.changes import Changes
from worker.store.deliveries import Deliveries
from worker.store.depths import Depths
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs
from worker.store.keys import Keys
from worker.store.listing import Listing
from worker.store.outbox import Outbox
from worker.store.passes import Passes
from worker.store.presence import Workers
from worker.store.reviews import Reviews
from worker.store.session import Database

if TYPE_CHECKING:
    from integrations.sign_on import Provider
    from worker.store.sealing import Seal

EX_CONFIG = 78
#: how long requests may go on after SIGTERM: an upload, a stream whose client reads no more
GRACE_SECONDS = 20


def api_of(settings: Settings) -> Api:
    database = Database(settings.store.database_url.get_secret_value())
    connect(settings.queue.broker_url.get_secret_value())
    stores = stores_of(settings, database)
    asked = settings.api
    return Api(
        stores=stores,
        uploads_dir=settings.imaging.uploads_dir,
        max_upload_bytes=settings.imaging.max_slide_bytes,
        reserve_bytes=settings.imaging.uploads_reserve_bytes,
        max_body_bytes=asked.max_body_bytes,
        ring=partial(Bell(ring_readers), 1),
        checks={
            "database": lambda: schema.check(database),
            "broker": check_broker,
            "disk": lambda: _room(settings),
        },
        workers=partial(Workers(database).alive, within_seconds=2 * settings.store.lease_seconds),
        limits=Limits(per_second=asked.api_requests_per_second, burst=asked.api_burst),
        feed=Feed(stores.changes, listeners=asked.api_listeners),
        history=History(stores.jobs.queue),
        stream_seconds=asked.api_stream_seconds,
        session_seconds=3600 * asked.console_hours,
        is_https=settings.delivery.public_url.startswith("https:"),
        new_secret=lambda: Secret.new(secrets.token_bytes).text,
        provider=_provider(settings) if settings.sign_on.oidc_issuer else None,
        notified=_fhir(settings, database) if settings.lis.fhir_subscription else None,
    )


def stores_of(settings: Settings, database: Database) -> Stores:
    """Without the keys of PATHLANE_SEAL_KEYS_FILE, what receivers answered stays sealed."""
    seal = _seal(settings) if settings.lis.seal_keys_file else None
    return Stores(
        jobs=Jobs(
            database,
            public_url=settings.delivery.public_url,
            queue_limit=settings.store.queue_limit,
            use=partial(uploads.use, settings.imaging.uploads_dir),
        ),
        listing=Listing(database),
        reviews=Reviews(database),
        outbox=Outbox(database, seal),
        deliveries=Deliveries(database, seal),
        endpoints=Endpoints(database),
        keys=Keys(database),
        passes=Passes(database),
        changes=Changes(database),
        audit=Audit(database),
    )


def _seal(settings: Settings) -> Seal:
    """Raises SettingsError."""
    from worker.store.sealing import seal_of  # noqa: PLC0415  cryptography is a tenth of a second

    return seal_of(settings)


class Server(uvicorn.Server):
    """Ends the streams of events first: it would wait for them, and they for it."""

    def __init__(self, config: uvicorn.Config, feed: Feed) -> None:
        super().__init__(config)
        self._feed = feed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._feed.close()
        await super().shutdown(sockets)


def _room(settings: Settings) -> None:
    """Raises DiskFull."""
    uploads.check_room(settings.imaging.uploads_dir, settings.imaging.uploads_reserve_bytes)


def _fhir(settings: Settings, database: Database) -> Callable[[Mapping[str, str], bytes], None]:
    from integrations.fhir_orders import fhir_orders_of  # noqa: PLC0415  most gateways need none of it
    from integrations.taking import client_of, intake_of, job_bell, rules_of  # noqa: PLC0415

    intake = intake_of(settings, database, rules_of(settings))
    orders = fhir_orders_of(settings, client_of(settings), intake, Bookmarks(database), ring=job_bell())
    return orders.notified


def _provider(settings: Settings) -> Provider:
    """Raises SettingsError."""
    from integrations.sign_on import provider_of  # noqa: PLC0415  most gateways need none of it

    return provider_of(settings.sign_on, back=f"{settings.delivery.public_url.rstrip('/')}{BACK}")


def _be_watched(settings: Settings) -> None:
    told = settings.telemetry
    if not told.metrics_port:
        return
    database = Database(settings.store.database_url.get_secret_value(), pool_size=1)
    Gauges(
        depths=Depths(database),
        workers=Workers(database),
        silent_seconds=2 * settings.store.lease_seconds,
        queue_limit=settings.store.queue_limit,
    ).show()
    metrics.serve(metrics.Program.GATEWAY, host=told.metrics_host, port=told.metrics_port)


def main() -> int:
    try:
        settings = read_settings()
        api = api_of(settings)
        traces.configure("gateway", settings.telemetry.traces_url)
    except (SettingsError, RulesInvalid) as error:
        print(f"pathlane gateway: {error}", file=sys.stderr)  # noqa: T201
        return EX_CONFIG
    log.configure("gateway", settings.log_level)
    _be_watched(settings)
    config = uvicorn.Config(
        create_app(api),
        host=settings.api.api_host,
        port=settings.api.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    Server(config, api.feed).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
