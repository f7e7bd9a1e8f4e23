"""The DICOM listener: a Storage and Verification SCP that answers Success when file and row are durable.

In: C-ECHO and C-STORE from the application entities that are listed. Out: an Instance for each object, given
to the archive; its bytes as they came, under their digest. It does not decode pixels, does not choose what is
read, and knows no table. What a peer names a thing never becomes a path.

pynetdicom keeps some of its settings, and the folder it streams to, for the whole process: one listener a
process, in a program of its own.
"""

from __future__ import annotations

import shutil
import ssl
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol, cast
from weakref import WeakKeyDictionary

from pydicom import uid
from pydicom.dataset import Dataset
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.transport import AssociationServer

from integrations.dicom.header import SYNTAXES, hush, read_instance
from integrations.dicom.instance import Instance
from integrations.dicom.spool import pieces, spooled, sweep
from integrations.dicom.transport import LONGEST_PDU, PDU_BYTES, SECONDS, LimitedServer, TlsSocket
from worker import log, uploads
from worker.errors import DiskFull, ImageTooLarge, ImageUnreadable, TransientError
from worker.settings import SettingsError

SOP_CLASSES: Final = (
    uid.VLWholeSlideMicroscopyImageStorage,
    uid.VLMicroscopicImageStorage,
    uid.VLSlideCoordinatesMicroscopicImageStorage,
    uid.VLPhotographicImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
)

#: PS3.4 table B.2-1. After A700 a sender may try again.
SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
NOT_WHAT_WAS_ANNOUNCED: Final = 0xA900
UNREADABLE: Final = 0xC100
TOO_LARGE: Final = 0xC200

#: an object of up to this many times the limit is taken off the wire to answer TOO_LARGE; after that, A-ABORT
PATIENCE: Final = 2
#: objects one peer may send ahead of our answers; nobody should, since one operation at a time is agreed
AHEAD: Final = 4
#: who connects and asks for nothing holds one of the few places for this long
SILENT_SECONDS: Final = 5.0
_VERIFICATION: Final = "1.2.840.10008.1.1"

_log = log.get("dicom")


class Archive(Protocol):
    """Where it is written down that an object came."""

    def add(self, instance: Instance) -> None:
        """Durable when it returns; the same instance may come again. Raises StoreUnavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """How a listener is set up."""

    host: str
    #: 0 takes a free one
    port: int
    #: our own application entity title
    title: str
    #: titles of those who may send
    callers: frozenset[str]
    #: where objects are kept, with the other uploads
    uploads: Path
    #: where they are written while they come in; on the same disk
    spool: Path
    #: of one object
    max_bytes: int
    #: of the disk, left free for others
    reserve_bytes: int = 256 * 1024 * 1024
    associations: int = 4
    tls: ssl.SSLContext | None = None


class _Mismatch(Exception):
    """The data set is not the object that the request announced."""


class _Inbound:
    """What one association has sent, each number written by one thread only."""

    __slots__ = ("aborted", "answers", "bytes", "requests", "spooled")

    def __init__(self) -> None:
        #: of the message that is coming in
        self.bytes = 0
        self.requests = 0
        self.answers = 0
        self.aborted = False
        #: files of complete messages that nobody has looked at yet
        self.spooled: list[Any] = []


class Listener:
    """Runs in threads of its own from `start` to `stop`."""

    def __init__(self, listening: Listening, archive: Archive) -> None:
        """Raises SettingsError where no caller is listed."""
        if not listening.callers:
            raise SettingsError("name at least one application entity title that may send")
        self._to = listening
        self._archive = archive
        self._inbound: WeakKeyDictionary[Any, _Inbound] = WeakKeyDictionary()
        self._ae = _application_entity(listening)
        self._server: AssociationServer | None = None

    def start(self) -> int:
        """Listen; gives the port. Raises OSError."""
        self._to.spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        sweep(self._to.spool)
        _set_up_library(self._to.spool)
        if self._to.tls is not None:
            self._to.tls.sslsocket_class = TlsSocket
        server: AssociationServer = self._ae.make_server(
            (self._to.host, self._to.port),
            ae_title=self._to.title,
            ssl_context=self._to.tls,
            server_class=LimitedServer,
            evt_handlers=[
                (evt.EVT_C_STORE, self._store),
                (evt.EVT_PDU_RECV, self._count),
                (evt.EVT_DIMSE_RECV, self._asked),
                (evt.EVT_DIMSE_SENT, self._answered),
                (evt.EVT_CONN_CLOSE, self._closed),
            ],
        )
        threading.Thread(target=server.serve_forever, name="dicom-listener", daemon=True).start()
        self._server = server
        return int(server.server_address[1])

    def stop(self) -> None:
        """Take no more; what is half sent is aborted, and its sender has no Success."""
        if self._server is not None:
            self._server.shutdown()
            self._server = None
        self._ae.shutdown()

    def _store(self, event: Event) -> int | Dataset:
        """EVT_C_STORE, in the association's thread."""
        started = time.monotonic()
        try:
            self._keep(event)
        except ImageTooLarge:
            return self._refused(TOO_LARGE, "larger than this server accepts")
        except ImageUnreadable:
            return self._refused(UNREADABLE, "the data set cannot be read")
        except _Mismatch:
            return self._refused(NOT_WHAT_WAS_ANNOUNCED, "the data set is not the announced one")
        except (TransientError, OSError):
            return self._refused(OUT_OF_RESOURCES, "it cannot be stored just now")
        except Exception as error:  # noqa: BLE001 - pynetdicom would log its text
            _log.error("dicom.failed", **log.kind_and_place(error))
            return self._refused(OUT_OF_RESOURCES, "it cannot be stored just now")
        _log.info("dicom.stored", seconds=round(time.monotonic() - started, 3))
        return SUCCESS

    def _keep(self, event: Event) -> None:
        """The header is read before anything is kept, and the row is written after the file is durable."""
        if event.dataset_path is None:
            raise ImageUnreadable("DICOM")
        path = Path(event.dataset_path)
        if path.stat().st_size > self._to.max_bytes:
            raise ImageTooLarge
        if not self._has_room():
            raise DiskFull
        with path.open("rb") as file:
            instance = read_instance(file, caller=str(event.assoc.requestor.ae_title).strip())
        request = cast("C_STORE", event.request)
        announced = (str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID))
        if (instance.sop_class, instance.sop_instance_uid) != announced:
            raise _Mismatch
        with path.open("rb") as file:
            reference = uploads.keep(self._to.uploads, pieces(file), max_bytes=self._to.max_bytes)
        self._archive.add(replace(instance, reference=reference))

    def _refused(self, status: int, comment: str) -> Dataset:
        _log.warning("dicom.refused", code=f"0x{status:04X}")
        answer = Dataset()
        answer.Status = status
        answer.ErrorComment = comment
        return answer

    def _count(self, event: Event) -> None:
        """EVT_PDU_RECV, before pynetdicom writes the PDU into the spool."""
        inbound = self._of(event)
        if inbound.aborted or not isinstance(event.pdu, P_DATA_TF):
            return
        inbound.bytes += len(event.pdu)
        if inbound.bytes > PATIENCE * self._to.max_bytes + LONGEST_PDU:
            self._abort(event, "too large")
        elif inbound.requests - inbound.answers > AHEAD:
            self._abort(event, "too far ahead")
        elif not self._has_room(fraction=4):
            self._abort(event, "no room")

    def _abort(self, event: Event, reason: str) -> None:
        self._of(event).aborted = True
        _log.warning("dicom.aborted", reason=reason)
        event.assoc.abort()

    def _asked(self, event: Event) -> None:
        """EVT_DIMSE_RECV: one message is complete."""
        inbound = self._of(event)
        inbound.bytes = 0
        inbound.requests += 1
        files = (*inbound.spooled, spooled(event.message))
        inbound.spooled = [file for file in files if file and not file.closed]

    def _answered(self, event: Event) -> None:
        """EVT_DIMSE_SENT."""
        self._of(event).answers += 1

    def _has_room(self, fraction: int = 1) -> bool:
        return shutil.disk_usage(self._to.spool).free > self._to.reserve_bytes // fraction

    def _of(self, event: Event) -> _Inbound:
        return self._inbound.setdefault(event.assoc, _Inbound())

    def _closed(self, event: Event) -> None:
        """EVT_CONN_CLOSE: pynetdicom leaves the files of objects that were refused unseen or broke off."""
        for file in (*self._of(event).spooled, spooled(event.assoc.dimse.message)):
            if file:
                file.close()
                Path(file.name).unlink(missing_ok=True)
        sweep(self._to.spool)


def _application_entity(listening: Listening) -> ApplicationEntity:
    entity = ApplicationEntity(listening.title)
    entity.require_called_aet = True
    entity.require_calling_aet = sorted(listening.callers)
    entity.maximum_associations = listening.associations
    entity.maximum_pdu_size = PDU_BYTES
    entity.acse_timeout = SILENT_SECONDS
    entity.dimse_timeout, entity.network_timeout = SECONDS, 2 * SECONDS
    entity.add_supported_context(_VERIFICATION)
    for sop_class in SOP_CLASSES:
        entity.add_supported_context(sop_class, list(SYNTAXES))
    return entity


def _set_up_library(spool: Path) -> None:
    """For the whole process: pynetdicom offers no other way."""
    hush()
    _config.ENFORCE_UID_CONFORMANCE = True
    _config.STORE_RECV_CHUNKED_DATASET = True
    _config.LOG_HANDLER_LEVEL = "none"
    tempfile.tempdir = str(spool)
