"""Channels: how results reach a hospital's systems, by the scheme of an endpoint's URL.

In: settings and the store. Out: functions for `integrations.telling`, each one attempt. Libraries of a
channel are loaded when it is first used: a site that sends HL7 needs no DICOM.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

import httpx
from ulid import ULID

from integrations.fhir.client import FhirServer
from integrations.fhir.delivery import attempt as attempt_fhir
from integrations.fhir.results import result_bundle
from integrations.fhir_orders import server_of
from integrations.hl7.line import client_tls
from integrations.hl7.results import control_id_of, result_message
from integrations.hl7.sender import Lines
from integrations.hl7.sender import attempt as attempt_hl7
from integrations.telling import TellResult
from worker import uploads
from worker.address import AllowList
from worker.errors import ImageMissing, ImageRefused
from worker.jobs.event import Delivery, DeliveryStatus, Outcome
from worker.jobs.order import Result
from worker.jobs.reading import Reading
from worker.pinned import pinned_client
from worker.settings import LisSettings, Settings
from worker.store.jobs import Jobs

#: an HL7 connection that nobody used for so long is closed
IDLE_SECONDS = 300.0


class Channels:
    """All channels of one process, and the connections they keep."""

    def __init__(self, settings: Settings, jobs: Jobs) -> None:
        allow = AllowList.of(settings.lis.lis_hosts)
        self._lines = Lines(
            allow=allow,
            seconds=settings.delivery.webhook_seconds,
            idle_seconds=IDLE_SECONDS,
            tls=_tls(settings.lis),
        )
        self._client = pinned_client(
            allow,
            seconds=settings.delivery.webhook_seconds,
            plain_http=settings.delivery.webhook_plain_http,
        )
        hl7, fhir = _Hl7(settings, self._lines), _Fhir(settings, self._client)
        dicom = _Dicom(settings, allow, self._client, jobs)
        self.by_scheme: Mapping[str, TellResult] = {
            "mllp": hl7, "mllps": hl7, "fhir+http": fhir, "fhir+https": fhir, "dicom": dicom,
            "dicom+tls": dicom, "dicomweb+http": dicom, "dicomweb+https": dicom,
        }  # fmt: skip

    def close(self) -> None:
        self._lines.close()
        self._client.close()


def _tls(lis: LisSettings) -> ssl.SSLContext | None:
    """Who we believe and who we say we are; None for the public and the machine's own authorities."""
    if lis.lis_authorities is None and lis.lis_certificate is None:
        return None
    return client_tls(authorities=lis.lis_authorities, certificate=lis.lis_certificate, key=lis.lis_key)


def _made_at(delivery: Delivery) -> datetime:
    """When the delivery was written down: its ULID says so."""
    return ULID.from_str(delivery.id.removeprefix("msg_")).datetime


class _Hl7:
    def __init__(self, settings: Settings, lines: Lines) -> None:
        self._lis = settings.lis
        self._lines = lines

    def __call__(
        self, delivery: Delivery, result: Result, reading: Reading, now: datetime, chance: float
    ) -> Outcome:
        del now  # the same bytes on every attempt: a receiver may compare a resend with what it has
        lis, sender = self._lis, result.order.sender
        receiving = (lis.hl7_receiving_application, lis.hl7_receiving_facility)
        message = result_message(
            result, reading, control_id=control_id_of(delivery.id), at=_made_at(delivery),
            kind=lis.hl7_results, sending=(lis.hl7_application, lis.hl7_facility), test=False,
            receiving=receiving if receiving[0] else (sender.application, sender.facility),
        )  # fmt: skip
        self._lines.close_idle()
        line = self._lines.line(delivery.endpoint)
        return attempt_hl7(delivery, message, line, chance=chance)


class _Fhir:
    def __init__(self, settings: Settings, client: httpx.Client) -> None:
        self._settings = settings
        self._client = client
        #: base URL -> server, which keeps its access token
        self._servers: dict[str, FhirServer] = {}

    def __call__(
        self, delivery: Delivery, result: Result, reading: Reading, now: datetime, chance: float
    ) -> Outcome:
        base = delivery.endpoint.url.removeprefix("fhir+")
        if base not in self._servers:
            self._servers[base] = server_of(self._settings, self._client, base)
        bundle = result_bundle(result, reading, at=now, base=self._settings.delivery.public_url)
        return attempt_fhir(delivery, bundle, self._servers[base], now=now, chance=chance)


class _Dicom:
    def __init__(self, settings: Settings, allow: AllowList, client: httpx.Client, jobs: Jobs) -> None:
        self._settings = settings
        self._allow = allow
        self._client = client
        self._jobs = jobs

    def __call__(
        self, delivery: Delivery, result: Result, reading: Reading, now: datetime, chance: float
    ) -> Outcome:
        del now  # the report is the same on every attempt
        try:
            report = self._report(result, reading)
        except ImageRefused as error:
            return Outcome(status=DeliveryStatus.EXHAUSTED, reason=error.code)
        except ImportError:
            return Outcome(status=DeliveryStatus.EXHAUSTED, reason="extra_dicom_missing")
        return self._send(delivery, report, chance)

    def _report(self, result: Result, reading: Reading) -> bytes:
        from integrations.dicom.header import read_evidence  # noqa: PLC0415  an extra
        from integrations.dicom.results import structured_report  # noqa: PLC0415

        folder = self._settings.imaging.uploads_dir
        evidence = []
        for image in self._jobs.get(result.job_id).request.images:
            if not image.reference.startswith("upload:"):
                raise ImageMissing
            with uploads.path_of(folder, image.reference).open("rb") as file:
                evidence.append(read_evidence(file))
        return structured_report(result, reading, evidence)

    def _send(self, delivery: Delivery, report: bytes, chance: float) -> Outcome:
        from integrations.dicom import sender, stow  # noqa: PLC0415  an extra
        from integrations.dicom.endpoint import parse_dicomweb, parse_dimse  # noqa: PLC0415

        url = delivery.endpoint.url
        if urlsplit(url).scheme in {"dicom", "dicom+tls"}:
            sending = sender.Sending(
                title=self._settings.lis.dicom_title,
                seconds=self._settings.delivery.webhook_seconds,
                tls=_tls(self._settings.lis),
            )
            return sender.attempt(
                delivery, report, parse_dimse(url), sending,
                allow=self._allow, chance=chance,
            )  # fmt: skip
        return stow.attempt(delivery, report, parse_dicomweb(url), self._client, chance=chance)
