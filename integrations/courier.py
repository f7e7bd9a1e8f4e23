"""The courier: the program that delivers events and takes in requests that come by Celery.

Started by `pathlane gateway` and `pathlane up` as `python -m integrations.courier`. In: settings from the
environment. Out: an exit status. It needs no torch.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from integrations import retention, tasks
from integrations.channels import Channels
from integrations.telling import Telling
from integrations.webhooks.delivery import attempt
from worker import log, metrics, traces, uploads
from worker.address import AllowList
from worker.app import DELIVER_QUEUE, SUBMIT_QUEUE, connect, consume
from worker.errors import StoreUnavailable
from worker.pinned import pinned_client
from worker.settings import Settings, SettingsError, read_settings
from worker.store.audit import Audit
from worker.store.cases import Cases
from worker.store.jobs import Jobs
from worker.store.outbox import Outbox
from worker.store.sealing import seal_of
from worker.store.session import Database

EX_CONFIG = 78
THREADS = 8
RELAY_SECONDS = 1.0
#: how often receivers' old answers are looked for
FORGET_SECONDS = 3600.0

logger = log.get(__name__)


def courier_of(settings: Settings) -> tasks.Courier:
    delivery = settings.delivery
    database = Database(settings.store.database_url.get_secret_value())
    seal = seal_of(settings) if settings.lis.seal_keys_file else None
    use = partial(uploads.use, settings.imaging.uploads_dir)
    jobs = Jobs(database, public_url=delivery.public_url, use=use)
    client = pinned_client(
        AllowList.of(delivery.webhook_hosts),
        seconds=delivery.webhook_seconds,
        plain_http=delivery.webhook_plain_http,
    )
    telling = Telling(
        jobs=jobs,
        cases=Cases(database, seal) if seal else None,
        webhook=lambda event, now, chance: attempt(event, client, now=now, chance=chance),
        channels=Channels(settings, jobs).by_scheme,
    )
    return tasks.Courier(
        jobs=jobs,
        outbox=Outbox(database, seal),
        telling=telling,
        attempt_seconds=delivery.webhook_seconds,
        patience_seconds=settings.store.patience_minutes * 60,
        chain=Audit(database).chain,
    )


def main() -> int:
    try:
        settings = read_settings()
        courier = courier_of(settings)
        traces.configure("courier", settings.telemetry.traces_url)
    except SettingsError as error:
        print(f"pathlane gateway: {error}", file=sys.stderr)  # noqa: T201
        return EX_CONFIG
    log.configure("courier", settings.log_level)
    metrics.serve(
        metrics.Program.COURIER, host=settings.telemetry.metrics_host, port=settings.telemetry.metrics_port
    )
    connect(settings.queue.broker_url.get_secret_value())
    tasks.install(courier)
    forget = partial(courier.outbox.forget, days=settings.lis.message_days)
    for name, once, seconds in (
        ("relay", courier.relay, RELAY_SECONDS),
        ("audit", courier.chain, RELAY_SECONDS),
        ("forget", forget, FORGET_SECONDS),
        ("uploads", _sweep_of(settings), retention.ROUND_SECONDS),
    ):
        threading.Thread(
            target=_for_ever, args=(once, courier.stopped, seconds), name=name, daemon=True
        ).start()
    consume(DELIVER_QUEUE, SUBMIT_QUEUE, threads=THREADS, name="courier")
    courier.stopped.set()
    return 0


def _sweep_of(settings: Settings) -> Callable[[], object]:
    database = Database(settings.store.database_url.get_secret_value(), pool_size=1)
    return lambda: retention.remove_old_uploads(settings.imaging, database, now=time.time())


def _for_ever(once: Callable[[], object], stopped: threading.Event, seconds: float) -> None:
    while not stopped.wait(seconds):
        try:
            once()
        except StoreUnavailable:
            logger.warning("store.unavailable")
        except Exception as error:  # noqa: BLE001  # the thread must outlive any one round
            logger.error("round.error", **log.kind_and_place(error))


if __name__ == "__main__":
    sys.exit(main())
