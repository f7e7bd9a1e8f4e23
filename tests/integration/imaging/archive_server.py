"""A DICOMweb archive of a few frames behind uvicorn, which can be told to misbehave."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

STUDY, SERIES, SOP = "1.2.3", "1.2.4", "1.2.5"
JPEG = "1.2.840.10008.1.2.4.50"


def value(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


class ArchiveServer:
    def __init__(self) -> None:
        self.frames = [b"\xff\xd8frame %d" % number * 50 for number in range(1, 31)]
        self.metadata: list[dict[str, Any]] = [{
            "00080018": value("UI", SOP), "00080060": value("CS", "SM"), "0020000E": value("UI", SERIES),
            "00280008": value("IS", len(self.frames)), "00083002": value("UI", JPEG),
            "00100010": value("PN", {"Alphabetic": "CANARY^PATIENT"}), "00100020": value("LO", "CANARY-1"),
            "00080090": value("PN", {"Alphabetic": "CANARY^DOCTOR"}),
            "00480105": value("SQ", {"00282000": {"vr": "OB", "BulkDataURI": f"instances/{SOP}/bulk/icc"}}),
        }]  # fmt: skip
        self.series: list[dict[str, Any]] = [{"0020000E": value("UI", SERIES), "00080060": value("CS", "SM")}]
        self.part_type = f"application/octet-stream; transfer-syntax={JPEG}"
        #: path and headers of what was asked
        self.asked: list[tuple[str, dict[str, str]]] = []
        #: come first
        self.answers: list[Response] = []
        #: after so many parts each answer breaks off, as often as it stands here
        self.breaks: list[int] = []
        self.url = ""

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    async def answer(self, request: Request) -> Response:
        path = request.url.path.removeprefix("/dicom-web")
        self.asked.append((path, dict(request.headers)))
        if self.answers:
            return self.answers.pop(0)
        if path.endswith("/metadata"):
            return JSONResponse(self.metadata, media_type="application/dicom+json")
        if path.endswith("/series"):
            return JSONResponse(self.series) if self.series else Response(status_code=204)
        if path.endswith("/bulk/icc"):
            return self._parts([b"profile"])
        numbers = map(int, path.rpartition("/")[2].split(","))
        return self._parts([self.frames[number - 1] for number in numbers])

    def _parts(self, bodies: list[bytes]) -> Response:
        breaks = self.breaks.pop(0) if self.breaks else None

        async def stream() -> AsyncIterator[bytes]:
            for number, body in enumerate(bodies):
                yield b"\r\n--b\r\nContent-Type: " + self.part_type.encode() + b"\r\n\r\n"
                if number == breaks:
                    yield body[: len(body) // 2]
                    raise ConnectionError
                yield body
            yield b"\r\n--b--"

        return StreamingResponse(stream(), media_type='multipart/related; boundary="b"')

    @contextmanager
    def running(self, tls: tuple[Path, Path] | None = None) -> Iterator[ArchiveServer]:
        """`tls`: certificate and key; then whoever asks must show a certificate that is signed with it."""
        more = {
            "ssl_certfile": tls[0], "ssl_keyfile": tls[1], "ssl_ca_certs": str(tls[0]),
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
        } if tls else {}  # fmt: skip
        app = Starlette(routes=[Route("/{path:path}", self.answer)])
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off", **more)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http{'s' if tls else ''}://{'localhost' if tls else '127.0.0.1'}:{port}/dicom-web"
        try:
            yield self
        finally:
            server.should_exit = True
            thread.join(10)
