"""DICOM instances that were received: which pictures a series has, and which series have come to rest.

In: identifiers and `upload:` references. Out: references a job may be given. It opens no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sqlalchemy import Connection, Table, func, insert, select, update

from worker import uploads
from worker.jobs.order import Order, order_document, order_of
from worker.store.hospital_tables import InstanceRow
from worker.store.sealing import Seal
from worker.store.session import Database, clock

MOST_PICTURES = 8

instances = cast("Table", InstanceRow.__table__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    sop_instance_uid: str
    sop_class: str
    #: one level of a whole slide
    is_slide: bool
    #: `upload:` reference of the stored file
    reference: str
    is_eligible: bool
    #: of all frames
    pixels: int
    #: what its header says about case and patient, as the order that its series will be
    order: Order


class Instances:
    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    def add(self, instance: Instance) -> None:
        """Keep what was received. The same instance again is the same: it was sent later, that is all.
        Raises StoreUnavailable."""
        row = {
            "sop_instance_uid": instance.sop_instance_uid, "sop_class": instance.sop_class,
            "study_uid": instance.order.study_uid, "series_uid": instance.order.series_uid,
            "is_slide": instance.is_slide, "is_eligible": instance.is_eligible,
            "pixels": instance.pixels, "reference": instance.reference, "received_at": clock(),
            "sealed": self._seal.close_json(order_document(instance.order)),
        }  # fmt: skip
        known = instances.c.sop_instance_uid == instance.sop_instance_uid
        again = update(instances).where(known).values(received_at=clock())
        with self._database.write() as connection:
            if not connection.execute(again).rowcount:
                connection.execute(insert(instances).values(row))

    def at_rest(self, *, quiet_seconds: float) -> list[Order]:
        """One order for each series that nothing was added to for so long and that was not given on."""
        newest, given_on = func.max(instances.c.received_at), func.count(instances.c.announced_at)
        quiet = (
            select(instances.c.series_uid)
            .group_by(instances.c.series_uid)
            .having(newest < clock(-quiet_seconds), given_on < func.count())
        )
        with self._database.read() as connection:
            series = connection.execute(quiet).scalars().all()
            return [self._order_of(connection, uid) for uid in series]

    def given_on(self, series_uid: str) -> None:
        """Its order is in the store: it is not announced again until another instance comes."""
        with self._database.write() as connection:
            connection.execute(
                update(instances).where(instances.c.series_uid == series_uid).values(announced_at=clock())
            )

    def _order_of(self, connection: Connection, series_uid: str) -> Order:
        query = select(instances.c.sealed).where(instances.c.series_uid == series_uid).limit(1)
        return order_of(self._seal.open_json(connection.execute(query).scalar_one()))


def pictures(connection: Connection, series_uid: str) -> Sequence[str]:
    """References of what a model may be shown of a series; empty while nothing has come.

    Of a whole slide all levels, as one reference, the largest first; of other series the largest eight.
    """
    query = select(instances).where(instances.c.series_uid == series_uid, instances.c.is_eligible)
    found = connection.execute(query.order_by(instances.c.pixels.desc(), instances.c.sop_instance_uid)).all()
    levels = [row.reference for row in found if row.is_slide][: uploads.MOST_FILES]
    slide = [uploads.joined(levels)] if levels else []
    others = [row.reference for row in found if not row.is_slide]
    return [*slide, *others][:MOST_PICTURES]
