"""Makes whole slides for tests, from a photograph that comes with scikit-image: DICOM series and a scanner's TIFF.

The tissue is `skimage.data.immunohistochemistry()` (colonic glands, DAB and haematoxylin; no known copyright
restrictions), tiled over two ellipses on glass. Names in labels are made up.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from openjpeg.utils import encode_array
from PIL import Image, ImageCms, ImageDraw
from pydicom import dcmread, uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import UID
from skimage.data import immunohistochemistry

GLASS = (242, 240, 243)
FAKE_NAME = "DOE^JANE"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_ROOT = "1.2.826.0.1.3680043.10.1462"


def swapped_profile() -> bytes:
    """sRGB with the red and the blue primary exchanged: what it calls red is blue."""
    profile = bytearray(SRGB)
    red, blue = profile.index(b"rXYZ", 128), profile.index(b"bXYZ", 128)
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


def glass(width: int, height: int) -> Image.Image:
    """With a little noise; the same each time."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 2, (height, width, 3))
    return Image.fromarray(np.clip(np.array(GLASS) + noise, 0, 255).astype(np.uint8))


def photograph(width: int, height: int) -> Image.Image:
    """Two pieces of tissue on glass; the same each time."""
    slide = glass(width, height)
    tissue, photo = Image.new("RGB", (width, height)), Image.fromarray(immunohistochemistry())
    for y in range(0, height, 512):
        for x in range(0, width, 512):
            way = Image.Transpose.ROTATE_180 if (x + y) // 512 % 2 else Image.Transpose.FLIP_LEFT_RIGHT
            tissue.paste(photo.transpose(way), (x, y))
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    for left, top, right, bottom in ((0.08, 0.10, 0.45, 0.60), (0.55, 0.45, 0.92, 0.90)):
        draw.ellipse((width * left, height * top, width * right, height * bottom), fill=255)
    slide.paste(tissue, (0, 0), mask)
    return slide


@cache
def _photograph(width: int, height: int) -> Image.Image:
    return photograph(width, height)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A DICOM series. Each focal plane is darker than the one before, each optical path has other colours."""

    width: int = 700
    height: int = 500
    tile: int = 128
    levels: int = 3
    syntax: str = "jpeg"
    organisation: str = "TILED_FULL"
    #: how many instances the largest level is sent in
    parts: int = 1
    paths: int = 1
    planes: int = 1
    profile: bytes | None = SRGB
    #: millimetres; None leaves Pixel Spacing and the imaged volume out
    spacing: float | None = 0.0005
    #: row and column of tiles of the largest level that are not there
    missing: frozenset[tuple[int, int]] = frozenset()
    #: a LABEL and an OVERVIEW, which show a name
    labels: bool = False
    #: glass, and nothing on it
    blank: bool = False
    #: further attributes of each level
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Made:
    paths: tuple[Path, ...]
    #: each level as it was before it was encoded: first optical path, middle focal plane
    levels: tuple[np.ndarray, ...]


def dicom_series(folder: Path, recipe: Recipe | None = None) -> Made:
    """Writes the files of one series: `level0.dcm` (or `level0-part1.dcm` ...), `level1.dcm` ..."""
    recipe = recipe or Recipe()
    folder.mkdir(parents=True, exist_ok=True)
    drawn = glass if recipe.blank else _photograph
    image, paths, levels = drawn(recipe.width, recipe.height), [], []
    for number in range(recipe.levels):
        shown = [seen(image, path, plane) for path in range(recipe.paths) for plane in range(recipe.planes)]
        levels.append(np.asarray(shown[recipe.planes // 2]))
        missing = recipe.missing if number == 0 else frozenset()
        of_level = replace(recipe, missing=missing, parts=recipe.parts if number == 0 else 1)
        for name, dataset in _level(of_level, number, shown):
            paths.append(write(folder / f"{name}.dcm", dataset))
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BOX)
    if recipe.labels:
        paths += [write(folder / f"{name}.dcm", dataset) for name, dataset in _labels()]
    return Made(paths=tuple(paths), levels=tuple(levels))


def seen(image: Image.Image, path: int, plane: int) -> Image.Image:
    """What another optical path or focal plane makes of the picture."""
    pixels = np.roll(np.asarray(image), path, axis=2).astype(int) - 20 * plane
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write(path: Path, dataset: FileDataset) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def _jpeg(tile: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "JPEG", quality=90, subsampling=1)
    return file.getvalue()


def _jpeg_2000(tile: np.ndarray) -> bytes:
    return bytes(encode_array(tile, photometric_interpretation=1, use_mct=True))


def _rle(tile: np.ndarray) -> bytes:
    rows, columns, samples = tile.shape
    return RLELosslessEncoder.encode(
        tile, rows=rows, columns=columns, samples_per_pixel=samples, bits_allocated=8, bits_stored=8,
        pixel_representation=0, number_of_frames=1, photometric_interpretation="RGB", planar_configuration=0,
    )  # fmt: skip


@dataclass(frozen=True)
class _Codec:
    uid: UID
    photometric: str
    encode: Callable[[np.ndarray], bytes]


CODECS = {
    "jpeg": _Codec(uid.JPEGBaseline8Bit, "YBR_FULL_422", _jpeg),
    "j2k": _Codec(uid.JPEG2000Lossless, "YBR_RCT", _jpeg_2000),
    "rle": _Codec(uid.RLELossless, "RGB", _rle),
    "raw": _Codec(uid.ExplicitVRLittleEndian, "RGB", np.ndarray.tobytes),
}


def _level(recipe: Recipe, number: int, shown: list[Image.Image]) -> Iterable[tuple[str, FileDataset]]:
    codec, tile = CODECS[recipe.syntax], recipe.tile
    places = [
        (plane, row, column)
        for plane in range(len(shown))
        for row in range(-(-shown[0].height // tile))
        for column in range(-(-shown[0].width // tile))
        if (row, column) not in recipe.missing
    ]
    frames = [codec.encode(_tile(shown[plane], row, column, tile)) for plane, row, column in places]
    size = -(-len(frames) // recipe.parts)
    for part in range(recipe.parts):
        first = part * size
        name = f"level{number}" if recipe.parts == 1 else f"level{number}-part{part + 1}"
        dataset = _instance(recipe, number, shown[0].size, name)
        if recipe.organisation == "TILED_SPARSE":
            dataset.PerFrameFunctionalGroupsSequence = [
                _position(recipe, *place) for place in places[first : first + size]
            ]
        if recipe.parts > 1:
            dataset.ConcatenationUID = f"{_ROOT}.8"
            dataset.SOPInstanceUIDOfConcatenationSource = f"{_ROOT}.9"
            dataset.InConcatenationNumber, dataset.InConcatenationTotalNumber = part + 1, recipe.parts
            dataset.ConcatenationFrameOffsetNumber = first
        set_frames(dataset, frames[first : first + size])
        yield name, dataset


def set_frames(dataset: FileDataset, frames: list[bytes]) -> None:
    dataset.NumberOfFrames = len(frames)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        dataset.PixelData = encapsulate(frames)
        dataset["PixelData"].is_undefined_length = True
    else:
        data = b"".join(frames)
        dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB"


def _tile(image: Image.Image, row: int, column: int, side: int) -> np.ndarray:
    """Filled up with black, which must never be seen."""
    return np.asarray(image.crop((column * side, row * side, (column + 1) * side, (row + 1) * side)))


def _position(recipe: Recipe, plane: int, row: int, column: int) -> Dataset:
    position, content, optical, group = Dataset(), Dataset(), Dataset(), Dataset()
    position.ColumnPositionInTotalImagePixelMatrix = column * recipe.tile + 1
    position.RowPositionInTotalImagePixelMatrix = row * recipe.tile + 1
    position.XOffsetInSlideCoordinateSystem = position.YOffsetInSlideCoordinateSystem = 0
    position.ZOffsetInSlideCoordinateSystem = plane % recipe.planes
    content.DimensionIndexValues = [column + 1, row + 1]
    optical.OpticalPathIdentifier = str(plane // recipe.planes + 1)
    group.PlanePositionSlideSequence, group.FrameContentSequence = [position], [content]
    group.OpticalPathIdentificationSequence = [optical]
    return group


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _bare(sop_instance: str, syntax: UID, size: tuple[int, int], tile: tuple[int, int]) -> FileDataset:
    """What each instance of the series has, whatever it shows."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.VLWholeSlideMicroscopyImageStorage
    meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID = sop_instance, syntax
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, sop_instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{_ROOT}.1", f"{_ROOT}.2"
    dataset.FrameOfReferenceUID, dataset.Modality = f"{_ROOT}.3", "SM"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = FAKE_NAME, "SYN-0001", ""
    dataset.StudyDate = dataset.ContentDate = "20261123"
    dataset.StudyTime = dataset.ContentTime = "100000"
    dataset.AcquisitionDateTime, dataset.AccessionNumber = "20261123100000", "S26-0001"
    dataset.SeriesNumber, dataset.PositionReferenceIndicator = 1, "SLIDE_CORNER"
    dataset.ContainerIdentifier, dataset.FocusMethod = "S26-0001-A1-01", "AUTO"
    dataset.ExtendedDepthOfField, dataset.VolumetricProperties = "NO", "VOLUME"
    dataset.Rows, dataset.Columns = tile[1], tile[0]
    dataset.TotalPixelMatrixColumns, dataset.TotalPixelMatrixRows = size
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.BurnedInAnnotation = dataset.SpecimenLabelInImage = "NO"
    organisation, origin = Dataset(), Dataset()
    organisation.DimensionOrganizationUID = f"{_ROOT}.4"
    origin.XOffsetInSlideCoordinateSystem = origin.YOffsetInSlideCoordinateSystem = 0
    dataset.DimensionOrganizationSequence, dataset.TotalPixelMatrixOriginSequence = [organisation], [origin]
    dataset.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    return dataset


def _instance(recipe: Recipe, number: int, size: tuple[int, int], name: str) -> FileDataset:
    codec, base = CODECS[recipe.syntax], number == 0
    last = 100 + number if name == f"level{number}" else 200 + int(name[-1])
    dataset = _bare(f"{_ROOT}.{last}", codec.uid, size, (recipe.tile, recipe.tile))
    dataset.ImageType = [
        "ORIGINAL" if base else "DERIVED",
        "PRIMARY",
        "VOLUME",
        "NONE" if base else "RESAMPLED",
    ]
    dataset.InstanceNumber = number + 1
    dataset.PhotometricInterpretation = codec.photometric
    dataset.LossyImageCompression = "01" if recipe.syntax == "jpeg" else "00"
    dataset.DimensionOrganizationType = recipe.organisation
    dataset.TotalPixelMatrixFocalPlanes, dataset.NumberOfOpticalPaths = recipe.planes, recipe.paths
    dataset.OpticalPathSequence = [_optical_path(recipe, path) for path in range(recipe.paths)]
    measures, frame_type, shared = Dataset(), Dataset(), Dataset()
    frame_type.FrameType = dataset.ImageType
    shared.WholeSlideMicroscopyImageFrameTypeSequence = [frame_type]
    if recipe.spacing is not None:
        spacing = recipe.spacing * 2**number
        measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = (
            [spacing] * 2,
            0.001,
            0.001,
        )
        shared.PixelMeasuresSequence = [measures]
        dataset.ImagedVolumeWidth, dataset.ImagedVolumeHeight = size[0] * spacing, size[1] * spacing
        dataset.ImagedVolumeDepth = 0.001
    dataset.SharedFunctionalGroupsSequence = [shared]
    for keyword, value in recipe.attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def _optical_path(recipe: Recipe, number: int) -> Dataset:
    path = Dataset()
    path.OpticalPathIdentifier, path.ObjectiveLensPower = str(number + 1), 20
    path.IlluminationTypeCodeSequence = [_code("111744", "DCM", "Brightfield illumination")]
    path.IlluminationColorCodeSequence = [_code("414298005", "SCT", "Full Spectrum")]
    if recipe.profile is not None:
        path.ICCProfile = recipe.profile
    return path


def _labels() -> Iterable[tuple[str, FileDataset]]:
    for number, flavour in enumerate(("LABEL", "OVERVIEW")):
        image = Image.new("RGB", (400, 300), "white")
        ImageDraw.Draw(image).text((10, 10), f"{FAKE_NAME}  DOB 1950-01-01\nS26-0001 A1 H&E", fill="black")
        dataset = _bare(f"{_ROOT}.{300 + number}", uid.JPEGBaseline8Bit, image.size, image.size)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", flavour, "NONE"]
        dataset.PhotometricInterpretation, dataset.DimensionOrganizationType = "YBR_FULL_422", "TILED_FULL"
        dataset.BurnedInAnnotation = dataset.SpecimenLabelInImage = "YES"
        set_frames(dataset, [_jpeg(np.asarray(image))])
        yield flavour.lower(), dataset


def aperio_tiff(
    path: Path, *, width: int = 700, height: int = 500, tile: int = 128, levels: int = 3, mpp: float | None = 0.5,
    profile: bytes | None = None, description: str = "Aperio Image Library v11.2.1",
) -> Made:  # fmt: skip
    """A tiled TIFF as Aperio lays one out: the largest level, a thumbnail, the others, a label and a macro."""
    image, shown = _photograph(width, height), []
    for _ in range(levels):
        shown.append(image)
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    known = "" if mpp is None else f"|MPP = {mpp}"
    label = Image.new("RGB", (387, 463), "white")
    ImageDraw.Draw(label).text((10, 10), FAKE_NAME, fill="black")
    tiled: dict[str, Any] = {"photometric": "rgb", "tile": (tile, tile), "metadata": None}
    plain: dict[str, Any] = {"photometric": "rgb", "metadata": None, "rowsperstrip": 64}
    with tifffile.TiffWriter(path) as file:
        for number, level in enumerate(shown):
            text = f"{description}\r\n{width}x{height} (128x128) -> {level.width}x{level.height}|AppMag = 20{known}"
            file.write(np.asarray(level), description=text, iccprofile=profile, **tiled)
            if number == 0:
                file.write(np.asarray(shown[-1]), description=text, **plain)
        for name in ("label", "macro"):
            text = f"{description}\r\n{name} {label.width}x{label.height}"
            file.write(np.asarray(label), description=text, subfiletype=1 if name == "label" else 9, **plain)
    return Made(paths=(path,), levels=tuple(np.asarray(level) for level in shown))


class FiledPieces:
    """A file as a remote one: `Pieces`. Remembers what was asked for."""

    def __init__(self, path: Path) -> None:
        self._data = path.read_bytes()
        self.asked: list[tuple[int, int]] = []

    @property
    def size(self) -> int:
        return len(self._data)

    def read(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        return self._data[offset : offset + length]


class FiledSeries:
    """Files as an archive gives them: `Archive`. Remembers which frames were asked for."""

    def __init__(self, paths: Iterable[Path], *, inline: bool = True) -> None:
        self._datasets = {str(one.SOPInstanceUID): one for one in map(dcmread, paths)}
        self._inline = inline
        self.asked: list[tuple[str, tuple[int, ...]]] = []

    def instances(self) -> list[dict[str, Any]]:
        """Pixel Data stay behind; an ICC profile too unless `inline`."""
        limit = 1 << 20 if self._inline else 100
        return [
            {
                tag: value
                for tag, value in one.to_json_dict(limit, lambda element: "https://archive.test/bulk").items()
                if tag != "7FE00010"
            }
            for one in self._datasets.values()
        ]

    def frames(self, sop_instance_uid: str, numbers: Sequence[int]) -> list[bytes]:
        self.asked.append((sop_instance_uid, tuple(numbers)))
        one = self._datasets[sop_instance_uid]
        if one.file_meta.TransferSyntaxUID.is_encapsulated:
            stored = list(generate_frames(one.PixelData, number_of_frames=int(one.NumberOfFrames)))
            return [stored[number - 1] for number in numbers]
        length = one.Rows * one.Columns * one.SamplesPerPixel
        return [one.PixelData[(number - 1) * length : number * length] for number in numbers]

    def transfer_syntax(self, sop_instance_uid: str) -> str:
        return str(self._datasets[sop_instance_uid].file_meta.TransferSyntaxUID)
