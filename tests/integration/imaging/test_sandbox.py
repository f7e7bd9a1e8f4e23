"""Images are decoded in children: which refusal comes of what, and what becomes of the child and of the worker."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from openjpeg.utils import encode_array
from PIL import Image
from pydicom import uid

from tests.conftest import ROOT
from tests.integration.imaging.lying_child import CLAIMS, LIES
from tests.unit.imaging.children import GOOD, LIMITS, a_child, forget_peak, look, memory, png, reads_well
from tests.unit.imaging.dicom_files import encoded, image_attributes, native, written
from worker.errors import (
    DecoderUnavailable,
    DecodingCrashed,
    DecodingTooSlow,
    FetchFailed,
    ImageMissing,
    ImageRefused,
    ImageTooLarge,
    ImageUnreadable,
    ReferenceForbidden,
)
from worker.imaging.decoder import PROGRAM, Confines
from worker.imaging.sandbox import Sandbox
from worker.imaging.supply import OnDisk, Remote, Supply
from worker.imaging.wanted import Limits, Wanted

MEBIBYTE = 1 << 20
MEMORY = 256 * MEBIBYTE
TILE = np.random.default_rng(2).integers(0, 256, (256, 256, 3), np.uint8)
LIAR = (sys.executable, "-m", "tests.integration.imaging.lying_child")

Start = Callable[..., Sandbox]


@pytest.fixture
def start() -> Iterator[Start]:
    started = []

    def start(
        *, seconds: float = 60.0, memory_bytes: int = MEMORY, folders: tuple[Path, ...] = (), **named: object
    ) -> Sandbox:
        confines = Confines(seconds=seconds, memory_bytes=memory_bytes, folders=folders)
        started.append(Sandbox(confines, **{"children": 1} | named))
        return started[-1]

    yield start
    for sandbox in started:
        sandbox.close()


@pytest.fixture(scope="module")
def narrow() -> Iterator[Sandbox]:
    sandbox = Sandbox(Confines(seconds=60, memory_bytes=MEMORY), children=1)
    yield sandbox
    sandbox.close()


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# The hostile table of the design's measurements: with these very libraries each row took gigabytes, or much time.


def a_gigabyte_of_zeros_deflated() -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    start = stream.compress(struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 1 << 30)) + stream.flush(
        zlib.Z_FULL_FLUSH
    )
    again = stream.compress(bytes(MEBIBYTE)) + stream.flush(zlib.Z_FULL_FLUSH)
    whole = written(image_attributes(TILE, "RGB"), uid.ExplicitVRLittleEndian)
    meta = whole[: 144 + int.from_bytes(whole[140:144], "little")]
    known, deflated = b"UI\x14\0" + b"1.2.840.10008.1.2.1\0", b"UI\x16\0" + b"1.2.840.10008.1.2.1.99"
    return meta.replace(known, deflated) + start + again * 1024 + stream.flush()


def saved(side: int, kind: str, mode: str = "L", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, kind, **options)
    return file.getvalue()


def tiles_that_are_larger_than_they_say() -> bytes:
    return encoded([saved(13_000, "JPEG", quality=10)] * 4, TILE[..., 0], "MONOCHROME2", uid.JPEGBaseline8Bit)


def a_small_jpeg_2000_of_12000_squared() -> bytes:
    stream = bytearray(encode_array(TILE, bits_stored=8, photometric_interpretation=1))
    stream[8:16] = stream[24:32] = struct.pack(">II", 12_000, 12_000)
    return encoded([bytes(stream)], TILE, "RGB", uid.JPEG2000)


def a_million_frames() -> bytes:
    stream = struct.pack("<16I", 3, *range(64, 64 + 3 * 2048, 2048), *[0] * 12) + b"\x81\x00" * 3072
    return encoded([stream], TILE, "RGB", uid.RLELossless, NumberOfFrames=1_000_000)


def nested_sequences() -> bytes:
    item = struct.pack("<HH2sHI", 0x40, 0x275, b"SQ", 0, 0xFFFFFFFF)
    return written(image_attributes(TILE, "RGB"), uid.ExplicitVRLittleEndian)[:-20] + 3000 * (
        item + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    )


def an_element_longer_than_the_file() -> bytes:
    whole = native(TILE, "RGB")
    place = whole.index(b"\xe0\x7f\x10\x00OB\0\0")
    return whole[: place + 8] + struct.pack("<I", 0xFFFFFFF0) + bytes(100)


TABLE = {
    "a deflated gigabyte": (a_gigabyte_of_zeros_deflated, ImageTooLarge),
    "JPEG tiles of 13000 x 13000": (tiles_that_are_larger_than_they_say, ImageUnreadable),
    "JPEG 2000 of 12000 x 12000": (a_small_jpeg_2000_of_12000_squared, ImageUnreadable),
    "60000 rows and columns": (lambda: native(TILE, "RGB", Rows=60_000, Columns=60_000), ImageTooLarge),
    "a million frames": (a_million_frames, ImageUnreadable),
    "JPEG of 400 megapixels": (lambda: saved(20_000, "JPEG", quality=10), ImageTooLarge),
    "PNG of 200 megapixels": (lambda: saved(14_200, "PNG", "1"), ImageTooLarge),
    "nested sequences": (nested_sequences, ImageUnreadable),
    "an element longer than the file": (an_element_longer_than_the_file, ImageUnreadable),
}


@pytest.mark.parametrize("row", TABLE)
def test_each_row_of_the_hostile_table_is_refused_far_below_the_limit(narrow: Sandbox, row: str) -> None:
    make, refusal = TABLE[row]
    data = make()
    child = a_child(narrow)
    before, ours = memory(child), memory(os.getpid())
    forget_peak(child)
    with pytest.raises(ImageRefused) as refused:
        look(narrow, data)
    assert type(refused.value) is refusal
    assert memory(child, "VmHWM") - before < 64 * MEBIBYTE + len(data)
    assert memory(os.getpid()) - ours < 32 * MEBIBYTE
    assert narrow.pids() == (child,)
    assert reads_well(narrow)


@pytest.mark.parametrize("row", TABLE)
def test_each_row_is_refused_also_where_pictures_may_be_of_any_size(start: Start, row: str) -> None:
    make, _ = TABLE[row]
    sandbox = start(seconds=120)
    child = a_child(sandbox)
    before = memory(child)
    with pytest.raises(ImageRefused):
        look(sandbox, make(), limits=Limits(max_pixels=1 << 40, max_bytes=1 << 40))
    if child in sandbox.pids():
        assert (
            memory(child, "VmHWM") - before < MEMORY + 100 * MEBIBYTE
        )  # wsidicom's import has a peak of its own
    assert reads_well(sandbox)


def test_what_does_not_fit_into_the_childs_memory_is_too_large(narrow: Sandbox) -> None:
    data = saved(9_000, "PNG", "RGB", compress_level=1)
    with pytest.raises(ImageTooLarge) as refused:
        look(narrow, data, limits=Limits(max_pixels=100_000_000, max_bytes=LIMITS.max_bytes))
    assert "memory" in refused.value.detail
    assert reads_well(narrow)


# How children end.


def test_a_child_that_was_killed_is_replaced_and_nobody_hears_of_it(start: Start) -> None:
    sandbox = start()
    child = a_child(sandbox)
    os.kill(child, signal.SIGKILL)
    assert reads_well(sandbox)
    assert child not in sandbox.pids()


def test_a_child_that_stands_still_is_late_and_the_image_may_be_tried_again(start: Start) -> None:
    sandbox = start(seconds=2)
    child = a_child(sandbox)
    os.kill(child, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(DecoderUnavailable) as caught:
        look(sandbox, png())
    assert caught.value.retryable
    assert time.monotonic() - began < 20
    assert not psutil.pid_exists(child)
    assert reads_well(sandbox)


def test_a_child_serves_so_many_images_and_no_more(start: Start) -> None:
    sandbox = start(looks_per_child=3)
    seen = []
    for _ in range(6):
        sandbox.start()  # where the last one has just ended
        until(sandbox.pids)
        seen += sandbox.pids()
        assert reads_well(sandbox)
    first, second = sorted(set(seen), key=seen.index)
    assert seen == [first] * 3 + [second] * 3


def test_an_image_that_an_earlier_one_broke_the_child_for_is_read_by_another(
    start: Start, tmp_path: Path
) -> None:
    """The child ends at its second image: not the fault of that one."""
    program = tmp_path / "second.py"
    program.write_text(
        "import os, sys\nfrom worker.imaging import child\nserve, times = child._serve, []\n"
        "def ends(*given, **named):\n    times.append(1)\n"
        "    if len(times) > 1:\n        given[0].header_and_file()\n        os._exit(9)\n"
        "    return serve(*given, **named)\n"
        "child._serve = ends\nsys.exit(child.main())\n"
    )
    sandbox = start(program=(sys.executable, str(program)))
    assert all(reads_well(sandbox) for _ in range(3))


@pytest.mark.parametrize("lie", [*LIES, "exit", "signal", "file descriptors"])
def test_a_child_that_lies_or_ends_costs_the_image_and_nothing_else(start: Start, lie: str) -> None:
    sandbox = start(program=(*LIAR, lie), seconds=5, children=1)
    ours, files = memory(os.getpid()), open_files()
    with pytest.raises(DecodingCrashed):
        look(sandbox, png())
    assert memory(os.getpid()) - ours < 32 * MEBIBYTE
    sandbox.close()
    assert open_files() <= files


def test_what_a_child_calls_transient_is_not_believed(start: Start) -> None:
    for lie in CLAIMS:
        with pytest.raises(ImageUnreadable) as refused:
            look(start(program=(*LIAR, lie)), png())
        assert not refused.value.retryable


def test_a_child_that_works_without_end_is_ended_and_one_that_waits_is_no_verdict(start: Start) -> None:
    sandbox = start(program=(*LIAR, "work"), seconds=3)

    def verdict() -> ImageRefused | DecoderUnavailable:
        with pytest.raises((DecodingTooSlow, DecoderUnavailable)) as caught:
            look(sandbox, png())
        return caught.value

    # Where this machine has no time for it, that is no verdict either.
    refused = next(one for one in (verdict() for _ in range(10)) if isinstance(one, DecodingTooSlow))
    assert "3 seconds" in refused.detail
    with pytest.raises(DecoderUnavailable):
        look(start(program=(*LIAR, "sleep"), seconds=1), png())


def test_a_program_that_does_not_start_is_no_fault_of_the_image(start: Start) -> None:
    for program in ((sys.executable, "-c", "raise SystemExit(1)"), ("/nowhere/python",)):
        with pytest.raises(DecoderUnavailable) as caught:
            look(start(program=program), png())
        assert caught.value.retryable


# From many threads.


def test_many_threads_share_a_few_children(start: Start) -> None:
    sandbox = start(children=2)
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda _: reads_well(sandbox), range(64)))
    assert 1 <= len(sandbox.pids()) <= 2


def test_closed_no_child_is_left_and_who_waits_hears_of_it(start: Start) -> None:
    sandbox = start(program=(*LIAR, "sleep"), children=1)
    with ThreadPoolExecutor(3) as threads:
        looks = [threads.submit(look, sandbox, png()) for _ in range(3)]
        until(lambda: sandbox._busy)
        (child,) = sandbox.pids()
        sandbox.close()
        assert {type(one.exception(60)) for one in looks} == {DecoderUnavailable}
    assert sandbox.pids() == ()
    assert not psutil.pid_exists(child)


HOLDER = """
import sys, time
from tests.unit.imaging.children import a_child
from worker.imaging.decoder import Confines
from worker.imaging.sandbox import Sandbox
sandbox = Sandbox(Confines(seconds=60, memory_bytes=1 << 28), children=1)
print(a_child(sandbox), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("while_stopped", [False, True])
def test_a_worker_that_is_killed_takes_its_children_along(*, while_stopped: bool) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    child = psutil.Process(int(worker.stdout.readline()))
    if while_stopped:  # it reads no end of file
        child.suspend()
    worker.kill()
    worker.wait()
    worker.stdout.close()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


# Supplies whose bytes are not in memory.


class Far:
    """A remote file, with the places that were read."""

    def __init__(self, data: bytes, error: Exception | None = None) -> None:
        self.data, self.error, self.read_at = data, error, []

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        self.read_at.append((offset, length))
        if self.error is not None:
            raise self.error
        return self.data[offset : offset + length]


def wanted(**more: object) -> Wanted:
    return Wanted(**{"number": 0, "limits": LIMITS} | more)


def test_a_file_on_disk_is_opened_in_the_child_where_it_may_read(start: Start, tmp_path: Path) -> None:
    inside, outside = tmp_path / "images" / "a.png", tmp_path / "b.png"
    inside.parent.mkdir()
    for file in (inside, outside):
        file.write_bytes(png())
    sandbox = start(folders=(inside.parent,))
    (seen,) = sandbox.look(OnDisk(paths=(inside,)), wanted())
    assert seen.rgb == GOOD.tobytes()
    assert seen.record.source_digest.startswith("sha256:")
    with pytest.raises(ReferenceForbidden):
        sandbox.look(OnDisk(paths=(outside,)), wanted())
    inside.unlink()
    inside.symlink_to(outside)
    with pytest.raises(ReferenceForbidden):
        sandbox.look(OnDisk(paths=(inside,)), wanted())


def test_the_child_asks_for_a_remote_file_and_hears_no_more_of_its_errors_than_that(start: Start) -> None:
    sandbox = start()
    far = Far(png())
    (seen,) = sandbox.look(Remote(file=far), wanted())
    assert seen.rgb == GOOD.tobytes()
    assert set(far.read_at) == {(0, far.size)}
    for error in (FetchFailed("HTTP 503"), ImageMissing(), RuntimeError("a bug of ours")):
        supply: Supply = Remote(file=Far(png(), error))
        with pytest.raises(type(error)) as caught:
            sandbox.look(supply, wanted())
        assert caught.value is error
    assert reads_well(sandbox)


def test_time_that_fetching_takes_is_not_the_childs(start: Start) -> None:
    sandbox = start(seconds=1.5)
    assert reads_well(sandbox)

    class Slow(Far):
        def read(self, offset: int, length: int) -> bytes:
            time.sleep(2.5)
            return super().read(offset, length)

    (seen,) = sandbox.look(Remote(file=Slow(png())), wanted())
    assert seen.rgb == GOOD.tobytes()


# What a child may not do.

ATTEMPTS = {
    "a socket": "import socket; socket.socket()",
    "a program": "import subprocess; subprocess.run(['/bin/true'])",
    "a process of its own": "import os; os.fork()",
    "a signal to the worker": "import os; os.kill(os.getppid(), 0)",
    "the worker's environment": "import os; open(f'/proc/{os.getppid()}/environ').read()",
    "the accounts of this machine": "open('/etc/passwd').read()",
    "a file beside the package": "open('pyproject.toml').read()",
    "a new file": "open('/tmp/pathlane-child', 'w')",
    "a file that is gone": "import os; os.unlink('README.md')",
    "more memory": "bytearray(1 << 30)",
    "the limits of another": "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_CPU)",
}


@pytest.mark.skipif(sys.platform != "linux", reason="what a kernel refuses is Linux's here")
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_confined_process_gets_no_further_than_decoding(attempt: str) -> None:
    program = (
        "from pathlib import Path; import socket, subprocess, os, resource\n"
        "from worker.imaging.confined import confine\n"
        "confine(memory_bytes=1 << 28, folders=())\n"
        f"try:\n    {ATTEMPTS[attempt]}\n"
        "except (PermissionError, MemoryError):\n    raise SystemExit(7)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert ended.returncode == 7, ended.stderr


def test_a_child_is_told_no_secrets(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATHLANE_DATABASE_URL", "postgresql://lab:secret@db/pathlane")
    child = psutil.Process(a_child(start()))
    assert "secret" not in str(child.environ())
    assert not [name for name in child.environ() if name.startswith("PATHLANE_")]
    assert PROGRAM[-1] in child.cmdline()
