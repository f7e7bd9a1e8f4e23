"""A model server on loopback that speaks the protocol by hand, and misbehaves as it is told."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "patho/r1"


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers), None))
        self.whole(200, json.dumps({"object": "list", "data": self.server.models}))

    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            number = len(self.server.asked)
            self.server.asked.append(said)
            self.server.seen.append((self.path, dict(self.headers), said))
        with suppress(OSError):
            self.server.plan(self, number)
        self.close_connection = True

    def whole(self, status, text="", kind="application/json", **headers):
        self.send_response(status)
        for name, value in {
            "content-type": kind,
            "content-length": str(len(text.encode())),
            **headers,
        }.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(text.encode())

    def begin(self, kind="text/event-stream"):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("connection", "close")
        self.end_headers()

    def event(self, event):
        self.raw(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n")

    def raw(self, text):
        self.wfile.write(text if isinstance(text, bytes) else text.encode())
        self.wfile.flush()

    def piece(self, text, **more):
        self.event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None, **more}]})

    def end(self, reason="stop", usage=(7, 3)):
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        if usage:
            self.event({"choices": [], "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}})
        self.event("[DONE]")

    def answer(self, *pieces, **end):
        self.begin()
        for text in pieces:
            self.piece(text)
        self.end(**end)

    def until_left(self, seconds=20):
        """Wait until the other side has hung up, and note it."""
        self.connection.settimeout(seconds)
        with suppress(TimeoutError, OSError):
            if self.connection.recv(1) == b"":
                self.server.left.set()
                return
        self.server.left.set()

    def reset(self):
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_):
        pass


class ModelServer(ThreadingHTTPServer):
    """`plan(handler, number)` answers request `number`."""

    daemon_threads = True

    def __init__(
        self, plan=lambda handler, number: handler.answer("<answer>", "A", "</answer>"), port=0, tls=None
    ):
        super().__init__(("127.0.0.1", port), Answering)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self._scheme = "http" if tls is None else "https"
        self.plan, self.models = plan, [{"id": MODEL, "object": "model", "max_model_len": 4096}]
        self.asked, self.seen, self.lock = [], [], threading.Lock()
        self.left = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self):
        return f"{self._scheme}://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        pass

    def until_asked(self, count=1, seconds=20):
        end = time.monotonic() + seconds
        while len(self.asked) < count:
            assert time.monotonic() < end
            time.sleep(0.01)
