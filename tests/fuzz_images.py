"""Damaged images, by the thousand, through one sandbox.

    python -m tests.fuzz_images --count 20000 --seed 0

In: nothing but this repository and pydicom's own files. Out: a table of what came of them, and exit status 1 when
something else came of one than a picture or a typed refusal, when one took longer than it may, or when a child or
the worker took more memory than it may. `--only N` does one case again; `--keep FOLDER` writes down those of
which a child died.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import struct
import sys
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import jpeg_ls
import numpy as np
import pydicom
from openjpeg.utils import encode_array
from PIL import Image
from pydicom import uid
from pydicom.data.data_manager import DATA_ROOT

from tests.ome import STORED, ome_tiff
from tests.slides import Recipe, aperio_tiff, dicom_series
from tests.unit.imaging.children import memory
from tests.unit.imaging.dicom_files import encoded, native
from worker.errors import DecoderUnavailable, DecodingCrashed, ImageRefused
from worker.imaging.decoder import Confines
from worker.imaging.part10 import READABLE
from worker.imaging.sandbox import Sandbox
from worker.imaging.supply import InMemory
from worker.imaging.wanted import Limits, Wanted

LIMITS = Limits(max_pixels=4_000_000, max_bytes=16 << 20)
CONFINES = Confines(seconds=20, memory_bytes=512 << 20)
#: a child holds so much before its first image, at most
START_BYTES = 256 << 20
#: beyond its seconds: a process that is killed, another that is started, on a busy machine
SLACK = 60.0
LARGEST = 200_000
SMALL = 64
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Original:
    kind: str
    data: bytes


def originals() -> list[Original]:
    """Whole files: those of pydicom that are small, and ours."""
    found = [Original("DICOM of pydicom", data) for data in bundled()]
    photo = np.random.default_rng(0).integers(0, 256, (SMALL, SMALL, 3), np.uint8)
    photo[8:40, 8:40] = (180, 60, 120)
    found += [Original("DICOM, JPEG 2000", data) for data in jpeg_2000(photo)]
    found += [Original("DICOM, other syntaxes", data) for data in other_syntaxes(photo)]
    for kind, mode, options in RASTER:
        file = io.BytesIO()
        Image.fromarray(photo).convert(mode).save(file, kind, **options)
        found.append(Original(kind, file.getvalue()))
    return [*found, *slides()]


def slides() -> Iterator[Original]:
    """One file of each kind that is read in pieces, as small as it can be."""
    with TemporaryDirectory() as folder:
        (path,) = dicom_series(Path(folder), Recipe(width=200, height=150, tile=SMALL, levels=1)).paths
        yield Original("whole slide, DICOM", path.read_bytes())
        aperio_tiff(path, width=200, height=150, levels=2)
        yield Original("whole slide, Aperio", path.read_bytes())
        for stored in STORED:
            ome_tiff(path, stored, width=200, height=150, tile=SMALL, levels=2, big=stored == "plain")
            yield Original("whole slide, OME-TIFF", path.read_bytes())


RASTER: tuple[tuple[str, str, dict], ...] = (
    ("JPEG", "RGB", {"quality": 80}), ("JPEG", "RGB", {"quality": 30, "progressive": True}), ("JPEG", "CMYK", {}),
    ("JPEG", "L", {"restart_marker_blocks": 2}),
    ("PNG", "RGB", {}), ("PNG", "P", {}), ("PNG", "RGBA", {}), ("PNG", "1", {}), ("PNG", "I;16", {}),
    ("WEBP", "RGB", {"quality": 50}), ("WEBP", "RGB", {"lossless": True}), ("WEBP", "RGBA", {}),
    ("TIFF", "RGB", {}), ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}), ("TIFF", "RGB", {"compression": "jpeg"}),
    ("TIFF", "P", {"compression": "packbits"}), ("TIFF", "1", {"compression": "group4"}),
    ("TIFF", "CMYK", {"big_tiff": True}), ("TIFF", "I;16", {}),
)  # fmt: skip


def bundled() -> Iterator[bytes]:
    for path in sorted((Path(DATA_ROOT) / "test_files").glob("*.dcm")):
        if path.stat().st_size <= LARGEST:
            yield path.read_bytes()


def jpeg_2000(photo: np.ndarray) -> Iterator[bytes]:
    for more in ({}, {"use_mct": True}, {"compression_ratios": [20, 5]}):
        stream = encode_array(photo, bits_stored=8, photometric_interpretation=1, **more)
        yield encoded([stream], photo, "RGB", uid.JPEG2000)
        yield encoded([stream] * 3, photo, "YBR_ICT", uid.JPEG2000, NumberOfFrames=3)
    grey = (photo[..., 0].astype(np.uint16) << 4).copy()
    yield encoded([encode_array(grey, bits_stored=12)], grey, "MONOCHROME2", uid.JPEG2000Lossless)


def other_syntaxes(photo: np.ndarray) -> Iterator[bytes]:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=80)
    yield encoded([file.getvalue()], photo, "YBR_FULL_422", uid.JPEGBaseline8Bit)
    grey = photo[..., 0].copy()
    yield encoded([bytes(jpeg_ls.encode_array(grey))], grey, "MONOCHROME2", uid.JPEGLSLossless)
    yield native(photo, "RGB")
    yield native(grey, "MONOCHROME1", WindowCenter=100, WindowWidth=50)
    tables = {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in ("Red", "Green", "Blue")}
    values = {f"{c}PaletteColorLookupTableData": bytes(512) for c in ("Red", "Green", "Blue")}
    yield native(grey, "PALETTE COLOR", **tables, **values)


# How they are damaged. Each takes the bytes and a source of chance, and gives other bytes.


def place_in(data: bytearray, chance: random.Random) -> int:
    """Headers are looked at twice as hard."""
    return chance.randrange(min(len(data), chance.choice((64, 700, 4096, len(data), len(data)))))


def flip_bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 2, 4, 16, 64))):
        data[place_in(data, chance)] ^= 1 << chance.randrange(8)


def write_number(data: bytearray, chance: random.Random) -> None:
    """A length, a size, a count or an offset becomes one that parsers find hard."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        place, width = place_in(data, chance), chance.choice((1, 2, 4, 8))
        number = chance.choice((*NUMBERS, len(data), len(data) - 1, chance.getrandbits(32)))
        order = chance.choice(("little", "big"))
        data[place : place + width] = (number & ((1 << 8 * width) - 1)).to_bytes(width, order)


def cut(data: bytearray, chance: random.Random) -> None:
    del data[place_in(data, chance) :]


def lose(data: bytearray, chance: random.Random) -> None:
    place = place_in(data, chance)
    del data[place : place + chance.choice((1, 2, 4, 16, 500))]


def put_in(data: bytearray, chance: random.Random) -> None:
    place = place_in(data, chance)
    data[place:place] = chance.choice((b"\0", b"\xff")) * chance.choice((1, 2, 4, 64, 5000))


def repeat(data: bytearray, chance: random.Random) -> None:
    place = place_in(data, chance)
    part = data[place : place + chance.choice((2, 8, 64, 1000))]
    data[place:place] = part * chance.choice((1, 2, 50))


def swap(data: bytearray, chance: random.Random) -> None:
    length = chance.choice((2, 4, 12, 100))
    one, other = place_in(data, chance), place_in(data, chance)
    data[one : one + length], data[other : other + length] = (
        data[other : other + length],
        data[one : one + length],
    )


def swap_png_chunks(data: bytearray, chance: random.Random) -> None:
    """And their checksums agree again, with whatever else is wrong in them."""
    chunks = list(png_chunks(data))
    if not chunks:
        return flip_bits(data, chance)
    if len(chunks) > 2:
        one, other = chance.randrange(len(chunks)), chance.randrange(len(chunks))
        chunks[one], chunks[other] = chunks[other], chunks[one]
    _, body = chunks[0]
    for _ in range(chance.choice((0, 1, 2))):
        body[chance.randrange(len(body))] = chance.randrange(256) if body else 0
    data[8:] = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return None


def png_chunks(data: bytearray) -> Iterator[tuple[bytes, bytearray]]:
    place = 8 if data.startswith(b"\x89PNG") else len(data)
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        yield bytes(data[place + 4 : place + 8]), data[place + 8 : place + 8 + length] or bytearray(1)
        place += 12 + length


DAMAGE: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip_bits, flip_bits, write_number, write_number, write_number, cut, lose, put_in, repeat, swap, swap_png_chunks,
)  # fmt: skip

#: of the data set: (keyword, what it may become)
FIELDS: tuple[tuple[str, tuple], ...] = (
    ("Rows", (0, 1, 2, 63, 65, 4000, 65535)), ("Columns", (0, 1, 2, 63, 65, 4000, 65535)),
    ("NumberOfFrames", ("0", "-1", "2", "1000", "2147483647")), ("SamplesPerPixel", (0, 1, 2, 3, 4, 65535)),
    ("BitsAllocated", (0, 1, 8, 12, 16, 32, 64)), ("BitsStored", (0, 1, 7, 8, 12, 16, 65535)),
    ("HighBit", (0, 7, 15)), ("PixelRepresentation", (0, 1, 7)), ("PlanarConfiguration", (0, 1, 9)),
    ("PhotometricInterpretation", ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "MONOCHROME1",
                                   "MONOCHROME2", "PALETTE COLOR", "")),
    ("WindowWidth", ("0", "1", "-5", "1e308")), ("WindowCenter", ("0", "1e308")),
    ("RescaleSlope", ("0", "-1", "1e300", "nan")),
    ("RedPaletteColorLookupTableDescriptor", ([0, 0, 16], [65535, 65535, 8], [1, 1, 0])),
    ("DimensionOrganizationType", ("TILED_FULL", "TILED_SPARSE")), ("TotalPixelMatrixRows", (0, 1, 500, 4294967295)),
    ("TotalPixelMatrixColumns", (0, 1, 500, 4294967295)), ("TotalPixelMatrixFocalPlanes", (0, 3)),
)  # fmt: skip


def change_fields(data: bytes, chance: random.Random) -> bytes:
    """A data set that is well written and wrong; unchanged where this one cannot be."""
    with suppress(Exception):
        dataset = pydicom.dcmread(io.BytesIO(data))
        for keyword, values in chance.sample(FIELDS, chance.choice((1, 1, 2, 3))):
            setattr(dataset, keyword, chance.choice(values))
        if chance.random() < 0.2:
            dataset.file_meta.TransferSyntaxUID = uid.UID(chance.choice(sorted(READABLE)))
        file = io.BytesIO()
        pydicom.dcmwrite(file, dataset, enforce_file_format=False)
        return file.getvalue()
    return data


def case(number: int, seed: int, whole: list[Original]) -> tuple[str, bytes]:
    """The same for the same number and seed."""
    chance = random.Random(f"{seed} {number}")
    kind = chance.choice(sorted({one.kind for one in whole}))
    original = chance.choice([one for one in whole if one.kind == kind])
    data = bytearray(original.data)
    if original.kind.startswith("DICOM") and chance.random() < 0.35:
        data = bytearray(change_fields(original.data, chance))
    for _ in range(chance.choice((1, 1, 1, 2, 3)) if data == original.data else chance.choice((0, 0, 1))):
        if data:
            chance.choice(DAMAGE)(data, chance)
    return original.kind, bytes(data)


@dataclass(slots=True)
class Outcome:
    """What came of all of them."""

    by_kind: dict[str, Counter[str]] = field(default_factory=dict)
    #: numbers of cases, and why each is wrong
    wrong: list[tuple[int, str]] = field(default_factory=list)
    crashed: list[int] = field(default_factory=list)
    longest: float = 0.0
    peak: int = 0

    def add(self, number: int, kind: str, code: str, seconds: float) -> None:
        self.by_kind.setdefault(kind, Counter())[code] += 1
        self.longest = max(self.longest, seconds)
        if code == DecodingCrashed.code:
            self.crashed.append(number)
        if seconds > CONFINES.seconds + SLACK:
            self.wrong.append((number, f"took {seconds:.1f} s"))

    def look_at_memory(self, number: int, sandbox: Sandbox) -> None:
        for pid in sandbox.pids():
            with suppress(OSError, StopIteration):  # it has ended meanwhile
                self.peak = max(self.peak, peak := memory(pid, "VmHWM"))
                if peak > START_BYTES + CONFINES.memory_bytes:
                    self.wrong.append((number, f"a child took {peak >> 20} MiB"))

    def table(self) -> str:
        codes = sorted({code for counts in self.by_kind.values() for code in counts})
        rows = [f"| files | cases | {' | '.join(codes)} |", f"|---|---|{'---|' * len(codes)}"]
        for kind, counts in sorted(self.by_kind.items()):
            cells = " | ".join(str(counts[code]) for code in codes)
            rows.append(f"| {kind} | {counts.total()} | {cells} |")
        return "\n".join(rows)


def look(sandbox: Sandbox, data: bytes, frame: int | None = None) -> str:
    """`read`, or the code of the refusal. Anything else passes."""
    wanted = Wanted(number=0, limits=LIMITS, frame=frame)
    for _ in range(3):
        try:
            sandbox.look(InMemory(data=data), wanted)
        except ImageRefused as refused:
            return refused.code
        except DecoderUnavailable:  # a machine that has no time for a child says nothing about the image
            continue
        return "read"
    raise DecoderUnavailable


def fuzz(
    count: int,
    seed: int,
    *,
    first: int = 0,
    children: int = 1,
    keep: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Outcome:
    whole, outcome = originals(), Outcome()
    sandbox = Sandbox(CONFINES, children=children)

    def one(number: int) -> None:
        kind, data = case(number, seed, whole)
        began = time.monotonic()
        try:
            code = look(sandbox, data, 2 if number % 10 == 0 else None)
        except Exception as error:  # noqa: BLE001
            code = type(error).__name__
            outcome.wrong.append((number, code))
        outcome.add(number, kind, code, time.monotonic() - began)
        outcome.look_at_memory(number, sandbox)
        if keep is not None and code not in ("read", "image_unreadable", "image_too_large"):
            (keep / f"{seed}-{number}-{code}").write_bytes(data)
        if number % 1000 == 999:
            tell(
                f"{number + 1} cases, child {outcome.peak >> 20} MiB, worker {memory(os.getpid()) >> 20} MiB"
            )

    try:
        with quiet(), ThreadPoolExecutor(children) as threads:
            list(threads.map(one, range(first, first + count)))
    finally:
        sandbox.close()
    return outcome


@contextmanager
def quiet() -> Iterator[None]:
    """pydicom warns of what is written wrong on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--children", type=int, default=2)
    parser.add_argument("--only", type=int, help="the number of one case")
    parser.add_argument("--keep", type=Path, help="a folder for cases that are worth a look")
    options = parser.parse_args()
    first, count = (0, options.count) if options.only is None else (options.only, 1)
    before = memory(os.getpid())
    outcome = fuzz(
        count, options.seed, first=first, children=options.children, keep=options.keep,
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    print(outcome.table())
    print(
        f"\nlongest {outcome.longest:.1f} s; a child at most {outcome.peak >> 20} MiB; the worker grew by"
        f" {(memory(os.getpid()) - before) >> 20} MiB; children that died: {len(outcome.crashed)} {outcome.crashed[:20]}"
    )
    for number, reason in outcome.wrong:
        print(f"case {number}: {reason}")
    return 1 if outcome.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
