"""Receivers that are down, slow, lying, redirecting, gone: one storm, a fault for each event.

In: an open ward whose courier's schedule is a hundred times faster than the product's, and how many jobs. Out:
nothing. One receiver is moody with every event; one goes down for ten minutes of that schedule; one is gone.
"""

from __future__ import annotations

import threading
import zlib
from contextlib import ExitStack

from tests.faults.ward import SECRET, Ward
from tests.integration.webhooks.receiver import Handler, Receiver, Way, drop, says, status
from worker.store.endpoints import Endpoints

#: ten minutes on the scale of the courier's schedule
DOWN_SECONDS = 6.0


def tell(ward: Ward, events: int) -> None:
    night, gone = Receiver(), Receiver()
    ward.others += [night, gone]
    night.will(status(204))
    gone.will(*[status(204)] * 3, status(410))
    with ExitStack() as opened, ExitStack() as first_shift:
        first_shift.enter_context(night.listening())
        opened.enter_context(gone.listening())
        for name, receiver in (("night", night), ("gone", gone)):
            Endpoints(ward.database).add(name, receiver.url(), secret=SECRET)
        for _ in range(events // 2):
            ward.submit(ward.request())
        first_shift.close()
        for _ in range(events - events // 2):
            ward.submit(ward.request())
        threading.Event().wait(DOWN_SECONDS)
        opened.enter_context(night.listening())
        ward.settle(300)


def moody(handler: Handler) -> None:
    """The first time it hears of an event it does something else than take it; then it takes it."""
    webhook_id = handler.headers["webhook-id"]
    heard = [r for r in handler.receiver.received if r.headers["webhook-id"] == webhook_id]
    way = MOODS[zlib.crc32(webhook_id.encode()) % len(MOODS)] if len(heard) == 1 else status(204)
    way(handler)


def _late(handler: Handler) -> None:
    """Later than the sender waits."""
    handler.receiver.closing.wait(3)


def _slow(handler: Handler) -> None:
    handler.receiver.closing.wait(1)
    status(204)(handler)


def _byte_by_byte(handler: Handler) -> None:
    """No single read waits long; the whole of it would."""
    for byte in b"HTTP/1.1 204 No Content\r\n" * 4:
        if handler.receiver.closing.wait(0.1):
            return
        handler.wfile.write(bytes([byte]))


MOODS: tuple[Way, ...] = (
    status(500), drop, _late, _slow, _byte_by_byte, status(307, location="http://127.0.0.1:1/"),
    status(429, retry_after="1"), status(302, location="/in"),
    says(b"what?\r\n\r\n"), says(b"HTTP/1.1 500 No\r\ncontent-length: 99\r\n\r\nx"), says(b""),
)  # fmt: skip
