"""Retention: uploads that are older than the site keeps them, and that nobody needs, are removed.

In: settings, a database, the time. Out: what was removed, in numbers. It is the only place that knows both
the folder of uploads and who refers to it; what keeps the two in step is told in docs/decisions/0017.
"""

from __future__ import annotations

from worker import log, uploads
from worker.settings import ImagingSettings
from worker.store.session import Database
from worker.store.used import Used

DAY = 86_400.0
#: a draft that was not written for so long was left by a process that died
DRAFT_DAYS = 1.0
ROUND_SECONDS = 3600.0

logger = log.get(__name__)


def remove_old_uploads(imaging: ImagingSettings, database: Database, *, now: float) -> int:
    """`now`: seconds since 1970. Gives how many uploads were removed. Raises StoreUnavailable."""
    days, used = imaging.upload_days, Used(database)
    removed = uploads.remove_old(
        imaging.uploads_dir,
        before=now - days * DAY if days else 0.0,
        drafts_before=now - DRAFT_DAYS * DAY,
        in_use=used.digests,
    )
    used.forget_instances(removed.uploads, days=days)
    if removed.uploads:
        logger.info("uploads.removed", count=len(removed.uploads))
    if removed.drafts:
        logger.info("drafts.removed", count=removed.drafts)
    return len(removed.uploads)
