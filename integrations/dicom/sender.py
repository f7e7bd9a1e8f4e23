"""One attempt to deliver a report by C-STORE: one association, one object, one Outcome.

In: a delivery, the report's bytes, the peer, the operator's list of hosts, a chance. Out: an Outcome,
whatever the peer does. It does not know the outbox, keeps nothing of the answer but its status, and logs
nothing.
"""

from __future__ import annotations

import io
import ssl
import threading
from dataclasses import dataclass
from typing import Final

from pydicom import dcmread, uid
from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association

from integrations.dicom.endpoint import Dimse
from integrations.dicom.header import hush
from integrations.schedule import failed
from worker.address import AllowList
from worker.errors import AddressRefused
from worker.jobs.event import Delivery, DeliveryStatus, Outcome
from worker.pinned import Resolver, system_resolver

#: PS3.4 table B.2-1 and PS3.7 annex C. The report is the same for the same job, so one that is there is ours.
STORED: Final = {
    0x0000: "",
    0xB000: "coerced",
    0xB006: "elements_discarded",
    0xB007: "warning",
    0x0111: "duplicate",
}
_DELIVERED: Final = frozenset(STORED.values())
_REFUSED: Final = {0x0122: "sop_class", 0x0124: "not_authorised", 0x0213: "busy"}
_BY_HIGH_BYTE: Final = {
    0xA7: "busy",
    0xA9: "not_accepted",
    **dict.fromkeys(range(0xC0, 0xD0), "not_accepted"),
}

#: PS3.8 table 9-21: (source, diagnostic) of a rejection that is worth a word
_REJECTED: Final = {(1, 3): "calling_title", (1, 7): "called_title", (3, 1): "busy", (3, 2): "busy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """How this side calls."""

    #: our application entity title
    title: str
    #: for each step: to connect, to negotiate, to answer
    seconds: float
    tls: ssl.SSLContext | None = None
    resolve: Resolver = system_resolver


def attempt(
    delivery: Delivery,
    report: bytes,
    peer: Dimse,
    sending: Sending,
    *,
    allow: AllowList,
    chance: float,
) -> Outcome:
    """Send `report`, a DICOM file of our own making, once. `chance` (0 to 1) is for jitter."""
    hush()
    _config.LOG_HANDLER_LEVEL = "none"
    try:
        address = _address(peer, sending, allow)
    except AddressRefused:
        return failed(delivery, chance=chance, reason="address_refused")
    except (OSError, UnicodeError):
        return failed(delivery, chance=chance, reason="dns")
    reason = _stored(report, peer, sending, address)
    if reason in _DELIVERED:
        return Outcome(status=DeliveryStatus.DELIVERED, reason=reason)
    return failed(delivery, chance=chance, reason=reason)


def _address(peer: Dimse, sending: Sending, allow: AllowList) -> str:
    """The address that was checked is the one that is called."""
    if not allow.may_allow(peer.host, peer.port):
        raise AddressRefused
    answers = sending.resolve(peer.host, peer.port)
    return str(allow.check(peer.host, peer.port, answers)[0])


def _stored(report: bytes, peer: Dimse, sending: Sending, address: str) -> str:
    """A word of `_DELIVERED`, or another."""
    entity = ApplicationEntity(sending.title)
    entity.connection_timeout = entity.acse_timeout = sending.seconds
    entity.dimse_timeout = entity.network_timeout = sending.seconds
    entity.add_requested_context(
        uid.Comprehensive3DSRStorage, [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian]
    )
    tls = (sending.tls or ssl.create_default_context(), peer.host) if peer.tls else None
    connected = threading.Event()
    association = entity.associate(
        address,
        peer.port,
        ae_title=peer.title,
        tls_args=tls,
        evt_handlers=[(evt.EVT_CONN_OPEN, lambda _event: connected.set())],
    )
    if not association.is_established:
        return _not_established(association) if connected.is_set() else "unreachable"
    try:
        answer = association.send_c_store(dcmread(io.BytesIO(report)))
    except ValueError:  # no presentation context was accepted
        return "sop_class"
    finally:
        association.release()
    if "Status" not in answer:
        return "dropped"
    return _word(int(answer.Status))


def _word(status: int) -> str:
    if status in STORED:
        return STORED[status]
    return _REFUSED.get(status) or _BY_HIGH_BYTE.get(status >> 8, "failed")


def _not_established(association: Association) -> str:
    if association.rejected_contexts:
        return "sop_class"
    if not association.is_rejected:
        return "dropped"
    answer = association.acceptor.primitive
    why = (answer.result_source or 0, answer.diagnostic or 0) if answer else (0, 0)
    return _REJECTED.get(why, "rejected")
