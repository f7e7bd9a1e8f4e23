"""The courier: the program that delivers events and takes in requests that come by Celery.

Started by `pathlane gateway` and `pathlane up` as `python -m integrations.courier`. In: settings from the
environment. Out: an exit status. It needs no torch.
"""

from __future__ import annotations

import threading

from integrations import tasks
from worker import log
from worker.address import AllowList, pinned_client
from worker.app import DELIVER_QUEUE, SUBMIT_QUEUE, connect
from worker.errors import StoreUnavailable
from worker.settings import Settings, read_settings
from worker.store.jobs import Jobs
from worker.store.outbox import Outbox
from worker.store.session import Database

THREADS = 8
RELAY_SECONDS = 1.0

logger = log.get(__name__)


def courier_of(settings: Settings) -> tasks.Courier:
    delivery = settings.delivery
    database = Database(settings.store.database_url.get_secret_value())
    return tasks.Courier(
        jobs=Jobs(database, public_url=delivery.public_url),
        outbox=Outbox(database),
        client=pinned_client(
            AllowList.of(delivery.webhook_hosts),
            seconds=delivery.webhook_seconds,
            plain_http=delivery.webhook_plain_http,
        ),
        attempt_seconds=delivery.webhook_seconds,
        patience_seconds=settings.store.patience_minutes * 60,
    )


def main() -> None:
    settings = read_settings()
    log.configure("courier", settings.log_level)
    app = connect(settings.queue.broker_url.get_secret_value())
    courier = courier_of(settings)
    tasks.install(courier)
    stopped = threading.Event()
    threading.Thread(target=_relay_for_ever, args=(courier, stopped), name="relay", daemon=True).start()
    app.worker_main([
        "worker", "--pool=threads", f"--concurrency={THREADS}", f"--queues={DELIVER_QUEUE},{SUBMIT_QUEUE}",
        "--hostname=courier@%h", "--without-gossip", "--without-mingle", "--without-heartbeat",
        "--loglevel=WARNING", "--quiet",
    ])  # fmt: skip
    stopped.set()


def _relay_for_ever(courier: tasks.Courier, stopped: threading.Event) -> None:
    while not stopped.wait(RELAY_SECONDS):
        try:
            courier.relay()
        except StoreUnavailable:
            logger.warning("store.unavailable")
        except Exception as error:  # noqa: BLE001  # the thread must outlive any one round
            logger.error("round.error", **log.kind_and_place(error))


if __name__ == "__main__":
    main()
