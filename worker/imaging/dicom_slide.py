"""A DICOM whole slide: the levels of one series as one pyramid.

In: a supply, and the operator's limits. Out: a Slide, or a refusal, or None for what is no whole slide. It
chooses the pyramid, the optical path and the focal plane, once, and says so. It does not know where the bytes
lie (`dicom_parts`) or how tiles become pixels (`mosaic`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

from PIL import Image
from pydicom.dataset import Dataset

from worker.errors import ImageRefused, SlideIncomplete, UnsupportedImage
from worker.imaging import digests
from worker.imaging.boundary import decoding
from worker.imaging.colour import ICC_TO_SRGB, to_srgb
from worker.imaging.dicom import profile_of
from worker.imaging.dicom_parts import Part, Parts, is_reduced, open_parts
from worker.imaging.mosaic import Mosaic, Plane
from worker.imaging.pyramid import check_tiles, fitted, piece_for
from worker.imaging.slide import Level
from worker.imaging.supply import Archived, InMemory, OnDisk, Supply
from worker.imaging.units import Box, MicronsPerPixel, Size
from worker.imaging.wanted import Limits

ICC_MISSING = "ICC profile not at hand, left out"
#: millimetres; the origin of a reduced level may lie half of its own pixel aside
_SAME_ORIGIN = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """One level: its matrix, and the plane of it that is shown."""

    mosaic: Mosaic
    plane: Plane


def open_dicom_slide(supply: Supply, limits: Limits) -> DicomSlide | None:
    """None for one file or instance that is no whole slide.

    Raises SlideIncomplete where parts of a concatenation are missing, where a series has no level that was
    not made from a larger one, or no level at all beside its label; or an ImageRefused.
    """
    with decoding("DICOM"):
        parts = open_parts(supply, max_bytes=limits.max_bytes)
        try:
            return _opened(supply, parts, limits)
        except BaseException:
            parts.opened.close()
            raise


def _opened(supply: Supply, parts: Parts, limits: Limits) -> DicomSlide | None:
    is_series = _is_series(supply)
    if not parts.found:
        parts.opened.close()
        _check_absence(is_series=is_series, labels=parts.turned_away)
        return None
    if len({str(part.dataset.SeriesInstanceUID) for part in parts.found}) > 1:
        raise UnsupportedImage("files of several DICOM series")
    if is_series and all(is_reduced(part) for part in parts.found):
        raise SlideIncomplete("The largest level is missing.")
    mosaics = [Mosaic(group, max_pixels=limits.max_pixels) for group in _instances(parts.found)]
    shown, steps = _choose(_pyramid(mosaics))
    return DicomSlide(shown, parts, digest=_digest(supply, parts.found), steps=steps, limits=limits)


def _is_series(supply: Supply) -> bool:
    if isinstance(supply, Archived):
        return supply.sop_instance_uid is None
    return isinstance(supply, OnDisk) and len(supply.paths) > 1


def _check_absence(*, is_series: bool, labels: int) -> None:
    if labels and is_series:
        raise SlideIncomplete("There is a label and no level.")
    if labels:
        raise ImageRefused("Slide label, overview and thumbnail images are not read.")
    if is_series:
        raise UnsupportedImage("DICOM series that is no whole slide")


def _instances(parts: Iterable[Part]) -> list[list[Part]]:
    """The parts of each concatenation together (PS3.3 C.7.6.16.2.2.4)."""
    groups: dict[str, list[Part]] = defaultdict(list)
    for part in sorted(parts, key=_order):
        groups[str(part.dataset.get("SOPInstanceUIDOfConcatenationSource") or part.sop_instance_uid)].append(
            part
        )
    return list(groups.values())


def _order(part: Part) -> tuple[int, str]:
    return int(part.dataset.get("InstanceNumber") or 0), part.sop_instance_uid


def _pyramid(mosaics: Sequence[Mosaic]) -> list[list[Mosaic]]:
    """The largest matrix and what belongs to it, by size: a plane may be an instance of its own."""
    base = max(mosaics, key=lambda mosaic: mosaic.size.pixels)
    levels: dict[tuple[int, int], list[Mosaic]] = defaultdict(list)
    for mosaic in mosaics:
        if _belongs(mosaic, base):
            levels[mosaic.size.width, mosaic.size.height].append(mosaic)
    return [levels[size] for size in sorted(levels, reverse=True)]


def _belongs(mosaic: Mosaic, base: Mosaic) -> bool:
    """Shows the same area: another one of the glass is another pyramid."""
    ids = [one.dataset.get("PyramidUID") for one in (mosaic, base)]
    if all(ids) and ids[0] != ids[1]:
        return False
    skew = abs(mosaic.size.width * base.size.height - mosaic.size.height * base.size.width)
    if skew > 2 * max(base.size.width, base.size.height):
        return False
    return all(abs(a - b) <= _SAME_ORIGIN for a, b in zip(_origin(mosaic), _origin(base), strict=False))


def _origin(mosaic: Mosaic) -> tuple[float, ...]:
    """Millimetres on the glass; empty where it is not said."""
    items = mosaic.dataset.get("TotalPixelMatrixOriginSequence") or []
    keywords = ("XOffsetInSlideCoordinateSystem", "YOffsetInSlideCoordinateSystem")
    values = [items[0].get(keyword) for keyword in keywords] if items else []
    return () if None in values else tuple(float(value) for value in values)


def _choose(pyramid: Sequence[Sequence[Mosaic]]) -> tuple[list[_Shown], tuple[str, ...]]:
    """The first optical path and the middle focal plane of the largest level, the nearest to it in the
    others; and what was left out by that."""
    planes = list(_planes(pyramid[0]))
    paths = list(dict.fromkeys(plane.path for plane in planes))
    focus = sorted(plane.focus for plane in planes if plane.path == paths[0])
    middle = len(focus) // 2
    steps = (
        *((f"focal plane {middle + 1} of {len(focus)}",) if len(focus) > 1 else ()),
        *((f"optical path 1 of {len(paths)}",) if len(paths) > 1 else ()),
    )
    return [_nearest(level, Plane(paths[0], focus[middle])) for level in pyramid], steps


def _nearest(level: Sequence[Mosaic], wanted: Plane) -> _Shown:
    planes = _planes(level)
    plane = min(planes, key=lambda plane: (plane.path != wanted.path, abs(plane.focus - wanted.focus)))
    return _Shown(mosaic=planes[plane], plane=plane)


def _colours(mosaic: Mosaic) -> tuple[bytes | None, tuple[str, ...]]:
    """The profile of the optical path that is shown, and what becomes of the colours of all tiles."""
    if mosaic.is_grey:
        return None, mosaic.steps
    profile = profile_of(mosaic.dataset)
    if profile is None:
        left_out = (ICC_MISSING,) if any("ICCProfile" in path for path in _paths(mosaic)) else ()
        return None, (*mosaic.steps, *left_out)
    _, converted = to_srgb(Image.new("RGB", (1, 1)), profile)
    return (profile if ICC_TO_SRGB in converted else None), (*mosaic.steps, *converted)


def _paths(mosaic: Mosaic) -> Sequence[Dataset]:
    return list(mosaic.dataset.get("OpticalPathSequence") or [])[:1]


def _planes(level: Sequence[Mosaic]) -> dict[Plane, Mosaic]:
    found: dict[Plane, Mosaic] = {}
    for mosaic in level:
        for plane in mosaic.planes:
            found.setdefault(plane, mosaic)
    return found


def _digest(supply: Supply, parts: Sequence[Part]) -> str:
    if isinstance(supply, InMemory):
        return digests.of_bytes(supply.data)
    if isinstance(supply, OnDisk) and len(supply.paths) == 1:
        path = supply.paths[0]
        if path.stat().st_size <= digests.HASHED_WHOLE:
            return digests.of_file(path)
    return digests.of_names(part.sop_instance_uid for part in parts)


class DicomSlide:
    """A Slide. Not for several threads."""

    def __init__(
        self, shown: Sequence[_Shown], parts: Parts, *, digest: str, steps: tuple[str, ...], limits: Limits
    ) -> None:
        self._shown = shown
        self._parts = parts
        self._limits = limits
        self._base = shown[0].mosaic
        self._profile, colours = _colours(self._base)
        self.digest = digest
        self.steps = (*steps, *colours)
        self.levels = tuple(
            Level(size=one.mosaic.size, downsample=self._base.size.width / one.mosaic.size.width)
            for one in shown
        )

    @property
    def format(self) -> str:
        return f"DICOM WSI {self._base.parts[0].syntax}"

    @property
    def spacing(self) -> MicronsPerPixel | None:
        """Pixel Spacing (PS3.3 C.7.6.16.2.1), the mean of both directions; else the Imaged Volume Width."""
        given = self._base.parts[0].described.pixel_spacing
        imaged = float(self._base.dataset.get("ImagedVolumeWidth") or 0) / self._base.size.width
        millimetres = (given.width + given.height) / 2 if given else imaged
        return MicronsPerPixel(millimetres * 1000) if isfinite(millimetres) and millimetres > 0 else None

    def read(self, box: Box, size: Size) -> Image.Image:
        """Raises RegionOutside, ImageTooLarge, ImageUnreadable, or what the supply raises."""
        piece = piece_for(self.levels, box, size, max_pixels=self._limits.max_pixels)
        shown = self._shown[piece.level]
        check_tiles(piece, shown.mosaic.tile, max_pixels=self._limits.max_pixels)
        with decoding("DICOM"):
            pixels = Image.fromarray(shown.mosaic.read(shown.plane, piece))
            return to_srgb(fitted(pixels, piece, size), self._profile)[0]

    def close(self) -> None:
        self._parts.opened.close()
