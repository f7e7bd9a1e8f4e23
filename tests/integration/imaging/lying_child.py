"""A child that does not keep to the protocol: `python -m tests.integration.imaging.lying_child LIE SOCKET ...`

In: the name of a lie, and what any child gets. Out: that, once an order has come.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
import time

READY = b'{"kind":"ready"}'
PLACE = {"image": 0, "source_digest": "", "pixels_digest": "", "format": "PNG", "width": 2, "height": 1}


def said(header: object, body: bytes = b"", *, announced: int | None = None) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("!IQ", len(encoded), len(body) if announced is None else announced) + encoded + body


def shown(body: bytes = b"123456", **place: object) -> bytes:
    return said({"kind": "shown", "records": [PLACE | place]}, body)


def ask(kind: str, **what: object) -> bytes:
    return said({"kind": kind} | what)


#: refusals that are not to be believed, though it keeps to the protocol
CLAIMS = {
    "a transient error": said({"kind": "refused", "code": "fetch_failed", "detail": ""}),
    "an error of the queue": said({"kind": "refused", "code": "queue_full", "detail": ""}),
}
LIES = {
    "nothing": b"",
    "no JSON": said(b"pixels"),
    "a pickle": said(b"\x80\x04c__builtin__\neval\n."),
    "JSON of another kind": said([1, 2, 3]),
    "another word": said({"kind": "succeeded"}),
    "ready again": said(json.loads(READY)),
    "a header of gigabytes": struct.pack("!IQ", 1 << 31, 0),
    "half a header": struct.pack("!IQ", 100, 0) + b"{",
    "deep JSON": said(b"[" * 100_000),
    "no patches": said({"kind": "shown", "records": []}),
    "a thousand patches": said({"kind": "shown", "records": [PLACE] * 1000}, b"123456" * 1000),
    "fewer pixels than it says": shown(b"123"),
    "more pixels than it says": shown(b"123456789"),
    "pixels that never come": said({"kind": "shown", "records": [PLACE]}, b"1", announced=6),
    "petabytes of pixels": said({"kind": "shown", "records": [PLACE | {"width": 1 << 39}]}, announced=3 << 39),
    "more pixels than are allowed": said(
        {"kind": "shown", "records": [PLACE | {"width": 4_000_001}]}, announced=12_000_003
    ),
    "a width below nothing": shown(width=-2, height=-1),
    "another image": shown(image=3),
    "a name in the format": shown(format="Doe\nJane"),
    "a spacing of infinity": said(
        json.dumps({"kind": "shown", "records": [PLACE | {"spacing": 7}]}).replace("7", "Infinity").encode(), b"123456"
    ),
    "steps without end": shown(steps=["x"] * 1000),
    "fields of its own": shown(diagnosis="malignant"),
    "a question about a file it has": ask("piece", offset=0, length=1),
    "a question about a series": ask("instances"),
    "a path for a UID": ask("frames", sop_instance_uid="../../etc/passwd", numbers=[1]),
    "a refusal with a body": said({"kind": "refused", "code": "image_unreadable"}, b"1234"),
}  # fmt: skip


def work() -> None:
    while True:
        pass


DEEDS = {
    "exit": lambda end: sys.exit(0),
    "signal": lambda end: os.kill(os.getpid(), signal.SIGSEGV),
    "sleep": lambda end: time.sleep(600),
    "work": lambda end: work(),
    "file descriptors": lambda end: [socket.send_fds(end, [b"\0"], [0] * 200) for _ in range(20)],
}


def main() -> None:
    lie = sys.argv[1]
    end = socket.socket(fileno=int(sys.argv[2]))
    end.sendall(said(READY))
    end.recv(1)
    if lie in DEEDS:
        DEEDS[lie](end)
    else:
        end.sendall((LIES | CLAIMS)[lie])
        end.shutdown(socket.SHUT_WR)
    time.sleep(600)


if __name__ == "__main__":
    main()
