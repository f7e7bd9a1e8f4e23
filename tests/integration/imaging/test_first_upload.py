"""The first upload of a new store comes when the child that decodes it has long been running."""

import io
from contextlib import closing

from PIL import Image

from worker import uploads
from worker.imaging.source import sandbox_of
from worker.imaging.supply import InMemory, OnDisk
from worker.imaging.wanted import Limits, Wanted
from worker.settings import ImagingSettings

WANTED = Wanted(number=0, limits=Limits(max_pixels=1_000_000, max_bytes=1_000_000))


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "purple").save(file, "PNG")
    return file.getvalue()


def test_a_child_opens_uploads_though_there_were_none_when_it_started(tmp_path):
    folder = tmp_path / "new" / "uploads"
    with closing(sandbox_of(ImagingSettings(uploads_dir=folder, decoders=1))) as sandbox:
        sandbox.look(InMemory(data=png()), WANTED)
        reference = uploads.keep(folder, [png()], max_bytes=1000)
        (seen,) = sandbox.look(OnDisk(paths=uploads.paths_of(folder, reference)), WANTED)
    assert seen.record.format == "PNG"
