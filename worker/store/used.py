"""Used: which uploads somebody still needs, and what is forgotten of those that are gone.

In: nothing, or references that were removed. Out: digests. It opens no file; `worker.uploads` removes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import delete, or_, select

from worker import uploads
from worker.errors import ReferenceForbidden
from worker.jobs.event import DeliveryStatus
from worker.jobs.job import Status
from worker.store.due import deliveries
from worker.store.instances import instances
from worker.store.job_rows import jobs
from worker.store.session import Database, clock


class Used:
    def __init__(self, database: Database) -> None:
        self._database = database

    def digests(self) -> frozenset[str]:
        """Of uploads that a queued or running job refers to, or a job of which something is still to be told
        (a DICOM report is made from the headers of its images). Raises StoreUnavailable."""
        to_tell = select(deliveries.c.job_id).where(deliveries.c.status == DeliveryStatus.PENDING)
        open_ones = jobs.c.status.in_([Status.QUEUED, Status.RUNNING])
        query = select(jobs.c.request["images"]).where(or_(open_ones, jobs.c.id.in_(to_tell)))
        found: set[str] = set()
        with self._database.patiently(reads_only=True) as connection:
            for images in connection.execution_options(yield_per=1000).execute(query).scalars():
                for image in images or ():
                    with suppress(ReferenceForbidden):  # no upload
                        found.update(uploads.digests_of(image["reference"]))
        return frozenset(found)

    def forget_instances(self, references: Sequence[str], *, days: float) -> int:
        """DICOM instances whose uploads were removed; gives how many. One that was sent again since is
        younger than `days`, and stays. Raises StoreUnavailable."""
        old = delete(instances).where(instances.c.received_at < clock(-days * 86_400))
        forgotten = 0
        for start in range(0, len(references), 500):
            with self._database.write() as connection:
                some = references[start : start + 500]
                forgotten += connection.execute(old.where(instances.c.reference.in_(some))).rowcount
        return forgotten
