"""Keeping: the exact pictures a model was shown, for whoever looks at its reading later.

In: patches. Out: PNG files under the digests of their pixels (`worker.uploads.patch_path`). A picture that
cannot be kept is done without: a reading is worth more than its illustration.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

from worker import log, uploads
from worker.errors import PathlaneError
from worker.imaging.source import Patch
from worker.settings import ImagingSettings

#: zlib's fastest, and no search for what repeats but in a row: tissue has little of that, so it takes three
#: quarters of the time and no more room. A worker must not be kept from its next case.
COMPRESS_LEVEL, COMPRESS_TYPE = 1, zlib.Z_RLE

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
    png = io.BytesIO()
    patch.pixels.save(png, "PNG", compress_level=COMPRESS_LEVEL, compress_type=COMPRESS_TYPE)
    uploads.keep_patch(
        settings.uploads_dir, digest, width, png.getvalue(), reserve_bytes=settings.uploads_reserve_bytes
    )
