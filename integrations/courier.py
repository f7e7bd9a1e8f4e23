"""The courier: the program that delivers events and takes in requests that come by Celery.

Started by `pathlane gateway` and `pathlane up` as `python -m integrations.courier`. In: settings from the
environment. Out: an exit status. It needs no torch.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from integrations import tasks
from integrations.channels import Channels
from integrations.telling import Telling
from integrations.webhooks.delivery import attempt
from worker import log, metrics, traces
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

logger = log.get(__name__)


def courier_of(settings: Settings) -> tasks.Courier:
    delivery = settings.delivery
    database = Database(settings.store.database_url.get_secret_value())
    jobs = Jobs(database, public_url=delivery.public_url)
    client = pinned_client(
        AllowList.of(delivery.webhook_hosts),
        seconds=delivery.webhook_seconds,
        plain_http=delivery.webhook_plain_http,
    )
    telling = Telling(
        jobs=jobs,
        cases=Cases(database, seal_of(settings)) if settings.lis.seal_keys_file else None,
        webhook=lambda event, now, chance: attempt(event, client, now=now, chance=chance),
        channels=Channels(settings, jobs).by_scheme,
    )
    return tasks.Courier(
        jobs=jobs,
        outbox=Outbox(database),
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
    stopped = threading.Event()
    for name, once in (("relay", courier.relay), ("audit", courier.chain)):
        threading.Thread(target=_for_ever, args=(once, stopped), name=name, daemon=True).start()
    consume(DELIVER_QUEUE, SUBMIT_QUEUE, threads=THREADS, name="courier")
    stopped.set()
    return 0


def _for_ever(once: Callable[[], object], stopped: threading.Event) -> None:
    while not stopped.wait(RELAY_SECONDS):
        try:
            once()
        except StoreUnavailable:
            logger.warning("store.unavailable")
        except Exception as error:  # noqa: BLE001  # the thread must outlive any one round
            logger.error("round.error", **log.kind_and_place(error))


if __name__ == "__main__":
    sys.exit(main())
