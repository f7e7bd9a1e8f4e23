"""DICOM instances that were received: which pictures a series has, and which series have come to rest.

In: identifiers and `upload:` references. Out: references a job may be given. It opens no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Table, func, insert, select, update

from worker.jobs.order import Order, order_document, order_of
from worker.store.sealing import Seal
from worker.store.session import Database, clock
from worker.store.tables import InstanceRow

#: VL Whole Slide Microscopy Image Storage (PS3.4 B.5): the instances of a series are levels of one picture
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
#: of a slide, the largest level with no more pixels than this is shown whole
MOST_PIXELS = 16_000_000
MOST_PICTURES = 8

instances = cast("Table", InstanceRow.__table__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    sop_instance_uid: str
    sop_class: str
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
        """Keep what was received; the same instance again changes nothing. Raises StoreUnavailable."""
        row = {
            "sop_instance_uid": instance.sop_instance_uid, "sop_class": instance.sop_class,
            "study_uid": instance.order.study_uid, "series_uid": instance.order.series_uid,
            "reference": instance.reference, "is_eligible": instance.is_eligible,
            "pixels": instance.pixels, "received_at": clock(),
            "sealed": self._seal.close_json(order_document(instance.order)),
        }  # fmt: skip
        known = select(instances.c.reference).where(instances.c.sop_instance_uid == instance.sop_instance_uid)
        with self._database.write() as connection:
            if connection.execute(known).one_or_none() is None:
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

    Of a whole slide one level, the largest that can be shown whole; of other series the first eight.
    """
    query = select(instances).where(instances.c.series_uid == series_uid, instances.c.is_eligible)
    found: Sequence[Any] = connection.execute(query.order_by(instances.c.pixels)).all()
    if any(row.sop_class == WHOLE_SLIDE for row in found):
        small = [row for row in found if row.pixels <= MOST_PIXELS]
        found = small[-1:] or found[:1]
    return [row.reference for row in found[:MOST_PICTURES]]
