"""The archive behind the DICOM listener: what was received becomes rows, and later an order.

In: instances as the DICOM room describes them. Out: rows of the store. It is the only place that knows
both; the listener knows no table, the store no header.
"""

from __future__ import annotations

from integrations.dicom.instance import Instance
from integrations.dicom.listener import Listener, Listening
from worker import log
from worker.jobs.order import Channel, Order, Sender, Verb
from worker.settings import Settings
from worker.store import instances

logger = log.get(__name__)


class DicomArchive:
    def __init__(self, kept: instances.Instances) -> None:
        self._kept = kept

    def add(self, instance: Instance) -> None:
        """Durable when it returns. Raises StoreUnavailable."""
        order = Order(
            verb=Verb.AVAILABLE,
            sender=Sender(channel=Channel.DICOM, application=instance.caller),
            accession=instance.accession,
            slide=instance.container or next(iter(instance.specimens), ""),
            study_uid=instance.study_uid,
            series_uid=instance.series_uid,
        )
        self._kept.add(
            instances.Instance(
                sop_instance_uid=instance.sop_instance_uid, sop_class=instance.sop_class,
                reference=instance.reference, is_eligible=instance.eligible, is_slide=instance.is_slide,
                pixels=instance.pixels, order=order,
            )
        )  # fmt: skip


def start_listener(settings: Settings, archive: DicomArchive) -> Listener:
    """Raises SettingsError, OSError."""
    lis, folder = settings.lis, settings.imaging.uploads_dir
    listener = Listener(
        Listening(
            host=lis.dicom_host, port=lis.dicom_port, title=lis.dicom_title,
            callers=frozenset(lis.dicom_callers), uploads=folder, spool=folder / "spool",
            max_bytes=settings.imaging.max_slide_bytes,
            reserve_bytes=settings.imaging.uploads_reserve_bytes,
        ),
        archive,
    )  # fmt: skip
    logger.info("dicom.listening", host=lis.dicom_host, port=listener.start())
    return listener
