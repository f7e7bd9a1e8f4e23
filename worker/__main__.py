"""The worker program, one for each device: `python -m worker`. Also, for `pathlane` and for health
checks: `check`, `devices` and `alive`.

In: settings from the environment. Out: an exit status; 78 (EX_CONFIG) when a setting must change first.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import sys
from functools import partial

from worker import log, metrics, reasoners, tasks, traces
from worker.app import READ_QUEUE, connect, consume, ring_deliveries, ring_readers
from worker.bell import Bell
from worker.drain import LEAVE_SECONDS, Drain
from worker.engine import devices
from worker.engine.loop import EngineLoop
from worker.engine.reasoner import Identity, Reasoner
from worker.engine.slots import Slots
from worker.errors import PathlaneError, TransientError
from worker.imaging.fetch import places_of, supply_of
from worker.imaging.keeping import keep_patches
from worker.imaging.sandbox import Sandbox
from worker.imaging.source import open_patches, sandbox_of
from worker.pipeline import Pipeline
from worker.service import Bells, Rhythm, Service
from worker.settings import Settings, SettingsError, read_settings
from worker.store import schema
from worker.store.audit import Audit
from worker.store.jobs import Jobs
from worker.store.presence import Presence, Workers
from worker.store.session import Database
from worker.watchdog import QUARANTINED, Watchdog, leave_now

EX_CONFIG = 78
#: a round of the heartbeat may wait for SQLite's lock, and for the lost connections of a pool, one by one
ROUND_SECONDS = 120.0

logger = log.get("worker")


def main() -> int:
    arguments = _parser().parse_args()
    try:
        settings = read_settings()
        if arguments.command == "check":
            return _check(settings)
        if arguments.command == "alive":
            return _alive(settings)
        if arguments.command == "devices":
            print(json.dumps(reasoners.devices_of(settings.model)))  # noqa: T201
            return 0
        return _work(settings, arguments.device or settings.model.device)
    except (SettingsError, PathlaneError) as error:
        print(f"pathlane worker: {error}", file=sys.stderr)  # noqa: T201
        return _status_of(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m worker", description=__doc__)
    parser.add_argument("command", nargs="?", default="run", choices=["run", "check", "devices", "alive"])
    parser.add_argument("--device", help="auto, cpu or cuda:N (default: PATHLANE_DEVICE)")
    return parser


def _check(settings: Settings) -> int:
    """Whether the model could be loaded, or its server has it: prints one JSON object."""
    try:
        reasoners.check_model(settings.model)
    except (SettingsError, PathlaneError) as error:
        print(json.dumps({"ok": False, "text": str(error)}))  # noqa: T201
        return _status_of(error)
    print(json.dumps({"ok": True, "text": f"{settings.model.model} is here"}))  # noqa: T201
    return 0


def _status_of(error: Exception) -> int:
    return 1 if isinstance(error, TransientError) else EX_CONFIG


def _alive(settings: Settings) -> int:
    """For a container's health check: 0 while a worker of this host reports."""
    workers = Workers(Database(settings.store.database_url.get_secret_value()))
    reporting = workers.alive(within_seconds=2 * settings.store.lease_seconds)
    return 0 if any(worker.host == socket.gethostname() for worker in reporting) else 1


def _work(settings: Settings, device: str) -> int:
    log.configure("worker", settings.log_level)
    _be_watched(settings, device)
    connect(settings.queue.broker_url.get_secret_value())
    # As many again as slots: STAT is claimed and prepared while all are taken. And whoever stands outside.
    readers = 2 * settings.model.slots + settings.model.ahead
    database = Database(settings.store.database_url.get_secret_value(), pool_size=readers + 4)
    schema.check(database)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until Celery takes over: loading may be stopped
    sandbox = sandbox_of(settings.imaging)
    sandbox.start()  # beside the loading of the model
    engine = EngineLoop(_reasoner(settings), rows=settings.model.slots)
    identity = engine.start(device)
    logger.info("model.loaded", model=identity.model, device=identity.device, engine=identity.engine)
    service = _service(settings, database, engine, identity, sandbox)
    drain = _drain(settings, service)
    watchdog = _watchdog(settings, service, engine, identity)
    tasks.install(service, drain)
    signal.signal(signal.SIGTERM, lambda *_: _end_before_celery(drain))
    service.start()
    watchdog.start()
    try:
        consume(READ_QUEUE, threads=readers, name=service.presence.id)
    finally:
        drain.begin()
        drain.ended.wait()
        watchdog.stop()
        drain.left.set()
        service.stop()
        sandbox.close()
        if not engine.close(timeout=LEAVE_SECONDS):
            leave_now(0)
    return 0


def _end_before_celery(drain: Drain) -> None:
    """Cases are read before Celery listens, where rings go unheard. A second request only hurries the first:
    another SystemExit would leave the wait for what is held, and its jobs to their leases."""
    is_first = not drain.begun.is_set()
    drain.begin()
    if is_first:
        sys.exit(0)


def _be_watched(settings: Settings, device: str) -> None:
    """Before the model is loaded, which may take minutes. Raises SettingsError."""
    told = settings.telemetry
    traces.configure("worker", told.traces_url)
    number = int(device.removeprefix("cuda:")) if device.startswith("cuda:") else 0
    metrics.serve(metrics.Program.WORKER, host=told.metrics_host, port=told.metrics_port, number=number)


def _drain(settings: Settings, service: Service) -> Drain:
    drain = Drain(
        held=service.held,
        give_back=service.give_back,
        grace_seconds=settings.queue.grace_seconds,
        begun=service.draining,
    )
    service.quarantine = partial(drain.begin, QUARANTINED)
    service.deaf = partial(drain.begin, os.EX_TEMPFAIL)
    return drain


def _watchdog(settings: Settings, service: Service, engine: EngineLoop, identity: Identity) -> Watchdog:
    return Watchdog(
        progress=engine.progress,
        rounds=lambda: service.rounds,
        give_back=lambda progress: service.give_back(progress.in_step),
        step_seconds=settings.model.step_seconds or reasoners.step_seconds(settings.model, identity),
        round_seconds=max(ROUND_SECONDS, 4 * settings.store.lease_seconds),
    )


def _reasoner(settings: Settings) -> Reasoner:
    return reasoners.reasoner_of(settings.model)


def _service(
    settings: Settings, database: Database, engine: EngineLoop, identity: Identity, sandbox: Sandbox
) -> Service:
    imaging = settings.imaging
    places = places_of(imaging)
    pipeline = Pipeline(
        open_patches=partial(
            open_patches, settings=imaging, supply_of=partial(supply_of, places=places), sandbox=sandbox
        ),
        engine=engine,
        identity=identity,
        limits=settings.model,
        keep=partial(keep_patches, settings=imaging) if imaging.keep_patches else lambda _: None,
    )
    host = socket.gethostname()
    presence = Presence(
        id=f"{host}-{os.getpid()}-{secrets.token_hex(4)}",
        host=host,
        pid=os.getpid(),
        device=identity.device,
        model=identity.model,
        slots=settings.model.slots,
        running=0,
    )
    model = settings.model
    slots = Slots(model.slots_dir, devices.key_of(identity.device), model.slots, ahead=model.ahead)
    metrics.SLOTS.set(slots.count)
    metrics.SLOTS_USED.set_function(lambda: float(slots.count - slots.free_here))
    return Service(
        jobs=Jobs(database, public_url=settings.delivery.public_url),
        workers=Workers(database),
        slots=slots,
        pipeline=pipeline,
        presence=presence,
        bells=Bells(read=Bell(ring_readers), deliver=Bell(ring_deliveries)),
        rhythm=Rhythm(
            lease=settings.store.lease_seconds,
            sweep=settings.queue.sweep_seconds,
            patience=settings.store.patience_minutes * 60,
        ),
        chain=Audit(database).chain,
        can_pause=engine.can_pause,
    )


if __name__ == "__main__":
    sys.exit(main())
