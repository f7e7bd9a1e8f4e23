"""The web half of the gateway: `python -m integrations.http_api`. Settings in, an HTTP server out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial

import uvicorn

from integrations.gauges import Gauges
from integrations.http_api.app import create_app
from integrations.http_api.state import Api
from worker import log, metrics, traces
from worker.app import check_broker, connect, ring_readers
from worker.bell import Bell
from worker.errors import RulesInvalid
from worker.settings import Settings, SettingsError, read_settings
from worker.store import schema
from worker.store.bookmarks import Bookmarks
from worker.store.depths import Depths
from worker.store.jobs import Jobs
from worker.store.keys import Keys
from worker.store.outbox import Outbox
from worker.store.presence import Workers
from worker.store.session import Database
from worker.uploads import check_room

EX_CONFIG = 78


def api_of(settings: Settings) -> Api:
    database = Database(settings.store.database_url.get_secret_value())
    connect(settings.queue.broker_url.get_secret_value())
    return Api(
        jobs=Jobs(database, public_url=settings.delivery.public_url, queue_limit=settings.store.queue_limit),
        outbox=Outbox(database),
        keys=Keys(database),
        uploads_dir=settings.imaging.uploads_dir,
        max_upload_bytes=settings.imaging.max_image_bytes,
        reserve_bytes=settings.imaging.uploads_reserve_bytes,
        max_body_bytes=settings.api.max_body_bytes,
        ring=partial(Bell(ring_readers), 1),
        checks={
            "database": lambda: schema.check(database),
            "broker": check_broker,
            "disk": lambda: _room(settings),
        },
        workers=lambda: len(Workers(database).alive(within_seconds=2 * settings.store.lease_seconds)),
        notified=_fhir(settings, database) if settings.lis.fhir_subscription else None,
    )


def _room(settings: Settings) -> None:
    """Raises DiskFull."""
    check_room(settings.imaging.uploads_dir, settings.imaging.uploads_reserve_bytes)


def _fhir(settings: Settings, database: Database) -> Callable[[Mapping[str, str], bytes], None]:
    from integrations.fhir_orders import fhir_orders_of  # noqa: PLC0415  most gateways need none of it
    from integrations.taking import client_of, intake_of, job_bell, rules_of  # noqa: PLC0415

    intake = intake_of(settings, database, rules_of(settings))
    orders = fhir_orders_of(settings, client_of(settings), intake, Bookmarks(database), ring=job_bell())
    return orders.notified


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
    uvicorn.run(
        create_app(api),
        host=settings.api.api_host,
        port=settings.api.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
