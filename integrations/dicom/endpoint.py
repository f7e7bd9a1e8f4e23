"""Endpoints of this channel: `dicom://TITLE@host:port` and `dicomweb+https://host/dicom-web`.

In: the URL an operator gave. Out: a frozen value, or InvalidRequest, which does not repeat it. It opens
nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from worker.errors import InvalidRequest

#: PS3.8: 104 is the well-known port, 11112 the registered one; 2762 with TLS
_PORTS: Final = {"dicom": 104, "dicom+tls": 2762}
#: PS3.5 table 6.2-1, AE, less what a URL cannot carry as it is
_TITLE: Final = re.compile(r"[A-Za-z0-9._ -]{1,16}")
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]{1,253}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimse:
    """An application entity that stores."""

    title: str
    host: str
    port: int
    tls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomWeb:
    """A server that stores over the web."""

    #: service root, without a slash at its end
    root: str

    @property
    def studies(self) -> str:
        """Where STOW-RS posts. Without a study's UID, which would stand in every proxy's log."""
        return f"{self.root}/studies"


def parse_dimse(url: str) -> Dimse:
    """`dicom://TITLE@host:port`, or `dicom+tls://`. Raises InvalidRequest."""
    parts, port = _split(url)
    title = (parts.username or "").replace("%20", " ").strip()
    host = parts.hostname or ""
    plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.password)
    if parts.scheme not in _PORTS or not plain or not _TITLE.fullmatch(title) or not _HOST.fullmatch(host):
        raise InvalidRequest((("url", "must be dicom://TITLE@host:port"),))
    return Dimse(title=title, host=host, port=port or _PORTS[parts.scheme], tls=parts.scheme == "dicom+tls")


def parse_dicomweb(url: str) -> DicomWeb:
    """`dicomweb+https://host/root`; `dicomweb+http://` is for closed networks. Raises InvalidRequest."""
    parts, _ = _split(url)
    scheme = parts.scheme.removeprefix("dicomweb+")
    odd = parts.query or parts.fragment or "@" in parts.netloc
    if (
        not parts.scheme.startswith("dicomweb+")
        or scheme not in {"http", "https"}
        or odd
        or not parts.hostname
    ):
        raise InvalidRequest((("url", "must be dicomweb+https://host/root"),))
    return DicomWeb(root=f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}")


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidRequest((("url", "is not a URL"),)) from None
    return parts, port
