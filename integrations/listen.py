"""The listeners: programs that take a hospital's orders in.

Started by `pathlane listen` and `pathlane up --lis` as `python -m integrations.listen hl7` (or `dicom`). In:
settings from the environment. Out: an exit status. Neither needs torch.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from ulid import ULID

from integrations import account
from integrations.fhir_orders import fhir_orders_of
from integrations.hl7.mllp import Limits, Peer, serve, tls_context
from integrations.hl7.results import CONTROL_ID_LENGTH
from integrations.reception import Reception
from integrations.taking import client_of, delivery_bell, intake_of, job_bell, rules_of
from worker import log, metrics, traces
from worker.app import connect, ring_readers
from worker.errors import PathlaneError, StoreUnavailable, TransientError
from worker.settings import Settings, SettingsError, read_settings
from worker.store import schema
from worker.store.bookmarks import Bookmarks
from worker.store.instances import Instances
from worker.store.intake import Arrival, Intake
from worker.store.sealing import seal_of
from worker.store.session import Database

EX_CONFIG = 78
FORGET_SECONDS = 3600.0

logger = log.get(__name__)


def main(arguments: Sequence[str]) -> int:
    programs: dict[str, Callable[[Settings], None]] = {
        "hl7": listen_hl7,
        "dicom": listen_dicom,
        "fhir": listen_fhir,
    }
    if len(arguments) != 1 or arguments[0] not in programs:
        print(f"usage: python -m integrations.listen {{{','.join(programs)}}}", file=sys.stderr)  # noqa: T201
        return 2
    try:
        settings = read_settings()
        log.configure(arguments[0], settings.log_level)
        traces.configure(arguments[0], settings.telemetry.traces_url)
        metrics.serve(
            metrics.Program(arguments[0]),
            host=settings.telemetry.metrics_host,
            port=settings.telemetry.metrics_port,
        )
        connect(settings.queue.broker_url.get_secret_value())
        programs[arguments[0]](settings)
    except (SettingsError, PathlaneError, OSError, ValueError) as error:
        said = error.public if isinstance(error, PathlaneError) else str(error)
        print(f"pathlane listen: {said}", file=sys.stderr)  # noqa: T201
        return 1 if isinstance(error, StoreUnavailable) else EX_CONFIG
    return 0


def listen_hl7(settings: Settings) -> None:
    """Until SIGTERM or SIGINT; what has been read then is still answered."""
    lis = settings.lis
    rules = rules_of(settings)
    intake = intake_of(settings, _database(settings), rules)
    reception = Reception(
        rules=rules, intake=intake, now=lambda: datetime.now(UTC),
        new_id=lambda: str(ULID())[-CONTROL_ID_LENGTH:],
        ring=job_bell(), deliver=delivery_bell(),
    )  # fmt: skip
    threading.Thread(target=_forget_for_ever, args=(intake, lis.message_days), daemon=True).start()
    tls = (
        tls_context(lis.hl7_certificate, lis.hl7_key, lis.hl7_client_ca)
        if lis.hl7_certificate and lis.hl7_key
        else None
    )

    async def handle(batch: Sequence[bytes], _: Peer) -> Sequence[bytes]:
        return await asyncio.to_thread(reception.answer, batch)

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(
            handle, host=lis.hl7_host, port=lis.hl7_port, stop=stop, tls=tls, refuse=reception.refuse,
            limits=Limits(message_bytes=lis.hl7_message_bytes, idle_seconds=lis.hl7_idle_seconds),
            started=lambda port: logger.info("hl7.listening", host=lis.hl7_host, port=port),
        )  # fmt: skip

    asyncio.run(run())


def listen_fhir(settings: Settings) -> None:
    """Until SIGTERM or SIGINT: asks the FHIR server what has changed. Notifications come to the gateway."""
    database = _database(settings)
    intake = intake_of(settings, database, rules_of(settings))
    orders = fhir_orders_of(settings, client_of(settings), intake, Bookmarks(database), ring=job_bell())
    stopped = _on_signals()
    while not stopped.is_set():
        try:
            orders.poll()
        except PathlaneError as error:
            logger.warning("fhir.not_polled", code=error.code)
        stopped.wait(settings.lis.fhir_poll_seconds)


def listen_dicom(settings: Settings) -> None:
    """Until SIGTERM or SIGINT: keeps what comes, and orders what has come to rest."""
    from integrations.dicom_archive import DicomArchive, start_listener  # noqa: PLC0415  an extra

    database = _database(settings)
    intake = intake_of(settings, database, rules_of(settings))
    instances = Instances(database, seal_of(settings))
    stopped = _on_signals()
    listener = start_listener(settings, DicomArchive(instances))
    try:
        while not stopped.wait(1.0):
            try:
                _announce(instances, intake, quiet_seconds=settings.lis.dicom_quiet_seconds)
            except TransientError as error:
                logger.warning("series.not_announced", code=error.code)
    finally:
        listener.stop()


def _on_signals() -> threading.Event:
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    return stopped


def _announce(instances: Instances, intake: Intake, *, quiet_seconds: float) -> None:
    """Each series at rest becomes an order; a crash in between makes the same order again, which is one."""
    for order in instances.at_rest(quiet_seconds=quiet_seconds):
        if not order.accession and not order.slide:  # nobody could say whose it is: an order must name it
            instances.given_on(order.series_uid)
            logger.info("series.waits")
            continue
        arrival = Arrival(
            channel=order.sender.channel, application=order.sender.application, facility="",
            control_id=str(ULID()), raw=b"", orders=(order,),
        )  # fmt: skip
        began = account.now()
        (receipt,) = intake.take([arrival])
        instances.given_on(order.series_uid)
        logger.info("series.announced", jobs=len(receipt.jobs))
        account.taken_in(receipt.jobs, channel="dicom", began=began)
        ring_readers([len(receipt.jobs)])


def _database(settings: Settings) -> Database:
    """Raises SchemaOutdated, StoreUnavailable."""
    database = Database(settings.store.database_url.get_secret_value())
    schema.check(database)
    return database


def _forget_for_ever(intake: Intake, days: float) -> None:
    pause = threading.Event()
    while True:
        try:
            if count := intake.forget(days=days):
                logger.info("messages.forgotten", count=count)
        except StoreUnavailable:
            logger.warning("store.unavailable")
        pause.wait(FORGET_SECONDS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
