"""References: what a command line names becomes the images of a request.

In: files, folders and references, and the part of each that is meant. Out: entries of a request's `images`.
Files are uploaded, because a worker may be on another machine and a path may name a patient; a folder is one
DICOM series. It does not know what is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from worker import uploads
from worker.errors import ImageMissing, ImageTooLarge
from worker.jobs.archived import SCHEME as ARCHIVE
from worker.jobs.request import Unit
from worker.settings import ImagingSettings

#: PS3.10 section 7.1: after the preamble
_PREAMBLE, _MARK = 128, b"DICM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Of every image the same, as it was typed; None: nothing was said."""

    region: str | None
    frame: int | None
    magnification: float | None
    windows: int | None

    def fields(self) -> dict[str, Any]:
        """Those of an ImageReference. Raises click.BadParameter."""
        said: dict[str, Any] = {
            "frame": self.frame,
            "magnification": self.magnification,
            "windows": self.windows,
        }
        if self.region is not None:
            said["region"] = _region(self.region)
        return {name: value for name, value in said.items() if value is not None}


def reference_of(image: str, settings: ImagingSettings) -> str:
    """Raises ImageMissing, ImageTooLarge or DiskFull."""
    if image.startswith(("file:", "upload:", "https:", ARCHIVE)) or "://" in image:
        return image
    path = Path(image)
    try:
        if not path.is_dir():
            return _upload(path, settings)
        kept = [_upload(one, settings) for one in _series_in(path)]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        raise ImageMissing from None
    return uploads.joined(list(dict.fromkeys(kept)))  # a file that is there twice is one


def _series_in(folder: Path) -> list[Path]:
    """The DICOM files in it, as a `file:` reference to it would find them."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink()]
    found = [path for path in files if _is_dicom(path)]
    if not found:
        raise ImageMissing
    if len(found) > uploads.MOST_FILES:
        raise ImageTooLarge(f"More than {uploads.MOST_FILES} DICOM files.")
    return found


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_PREAMBLE + len(_MARK))[_PREAMBLE:] == _MARK


def _upload(path: Path, settings: ImagingSettings) -> str:
    with path.open("rb") as file:
        return uploads.keep(
            settings.uploads_dir,
            iter(lambda: file.read(1 << 20), b""),
            max_bytes=settings.max_slide_bytes,
            reserve_bytes=settings.uploads_reserve_bytes,
        )


def _region(text: str) -> dict[str, Any]:
    in_millimetres = text.strip().endswith(Unit.MILLIMETRE)
    number = float if in_millimetres else int
    try:
        numbers = [number(part) for part in text.strip().removesuffix(Unit.MILLIMETRE).split(",")]
        region: dict[str, Any] = dict(zip(("x", "y", "width", "height"), numbers, strict=True))
    except ValueError:
        raise click.BadParameter(
            "give X,Y,WIDTH,HEIGHT in pixels, or with mm at its end", param_hint="--region"
        ) from None
    return region | ({"unit": Unit.MILLIMETRE.value} if in_millimetres else {})
