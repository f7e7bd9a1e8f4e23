"""Keeping: the exact pictures a model was shown, for whoever looks at its reading later.

In: patches. Out: PNG files under the digests of their pixels (`worker.uploads.patch_path`). A picture that
cannot be kept is done without: a reading is worth more than its illustration.
"""

from __future__ import annotations

from collections.abc import Sequence

from worker import log, uploads
from worker.errors import PathlaneError
from worker.imaging.png import png_of
from worker.imaging.source import Patch
from worker.settings import ImagingSettings

logger = log.get(__name__)


def keep_patches(patches: Sequence[Patch], *, settings: ImagingSettings) -> None:
    """Never raises."""
    for patch in patches:
        try:
            _keep(patch, settings)
        except PathlaneError as error:
            logger.warning("patch.not_kept", code=error.code)
        except Exception as error:  # noqa: BLE001  # whatever it is, the reading goes on
            logger.warning("patch.not_kept", **log.kind_and_place(error))


def _keep(patch: Patch, settings: ImagingSettings) -> None:
    digest, width = patch.record.pixels_digest, patch.record.width
    if uploads.use_patch(settings.uploads_dir, digest, width):
        return
    png = png_of(patch.pixels)
    uploads.keep_patch(settings.uploads_dir, digest, width, png, reserve_bytes=settings.uploads_reserve_bytes)
