from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.unit.imaging.dicom_files import native
from worker import uploads
from worker.errors import ImageRefused, ImageTooLarge, RegionOutside
from worker.imaging.fetch import places_of, supply_of
from worker.imaging.sandbox import Sandbox
from worker.imaging.source import Patch, open_patches, sandbox_of
from worker.jobs.request import ImageReference, Region, Unit
from worker.settings import ImagingSettings

TILE = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)


def png(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "PNG")
    return file.getvalue()


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def over_https(request: httpx.Request) -> httpx.Response:
    assert request.url == "https://images.example.org/tile"
    return httpx.Response(200, stream=httpx.ByteStream(native(TILE, "RGB")))


Opened = Callable[..., tuple[Patch, ...]]


@pytest.fixture
def opened(sandbox: Sandbox) -> Opened:
    def opened(settings: ImagingSettings, *images: ImageReference) -> tuple[Patch, ...]:
        web = httpx.Client(transport=httpx.MockTransport(over_https))
        places = replace(places_of(settings), web=web)
        supplies = partial(supply_of, places=places)
        return open_patches(images, settings=settings, supply_of=supplies, sandbox=sandbox)

    return opened


def uploaded(settings: ImagingSettings, data: bytes) -> str:
    return uploads.keep(settings.uploads_dir, [data], max_bytes=len(data))


def test_each_image_becomes_a_patch_with_its_record_whatever_its_name_says(
    opened: Opened, settings: ImagingSettings
) -> None:
    data = png(TILE)
    file = settings.image_roots[0] / "tile.dcm"
    file.write_bytes(data)
    first, second, third = opened(
        settings,
        ImageReference(reference=file.as_uri()),
        ImageReference(reference=uploaded(settings, data)),
        ImageReference(reference="https://images.example.org/tile"),
    )
    assert [patch.record.image for patch in (first, second, third)] == [0, 1, 2]
    assert [patch.record.format for patch in (first, second, third)] == [
        "PNG",
        "PNG",
        "DICOM 1.2.840.10008.1.2.1",
    ]
    assert first.record.source_digest == digest(data)
    assert first.record.pixels_digest == third.record.pixels_digest == digest(TILE.tobytes())
    assert first.pixels.mode == "RGB"
    assert (first.record.width, first.record.height) == (30, 20)
    assert (first.record.region, first.record.frame, third.record.frame) == (None, None, 1)


def test_a_region_is_cut_out_and_recorded(opened: Opened, settings: ImagingSettings) -> None:
    region = Region(x=5, y=2, width=25, height=18)
    (patch,) = opened(settings, ImageReference(reference=uploaded(settings, png(TILE)), region=region))
    assert np.array_equal(np.asarray(patch.pixels), TILE[2:20, 5:30])
    assert patch.record.region == (5, 2, 25, 18)
    assert (patch.record.width, patch.record.height) == (25, 18)
    assert patch.record.pixels_digest == digest(TILE[2:20, 5:30].tobytes())


@pytest.mark.parametrize("box", [(6, 2, 25, 18), (5, 3, 25, 18), (30, 0, 1, 1), (0, 0, 10**7, 1)])
def test_a_region_that_reaches_over_the_edge_is_refused(
    opened: Opened, settings: ImagingSettings, box: tuple[int, ...]
) -> None:
    region = Region(x=box[0], y=box[1], width=box[2], height=box[3])
    with pytest.raises(RegionOutside):
        opened(settings, ImageReference(reference=uploaded(settings, png(TILE)), region=region))


def test_a_region_is_meant_in_the_upright_picture(opened: Opened, settings: ImagingSettings) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(TILE).save(file, "PNG", exif=exif)
    region = Region(x=0, y=20, width=20, height=10)
    (patch,) = opened(settings, ImageReference(reference=uploaded(settings, file.getvalue()), region=region))
    assert np.array_equal(np.asarray(patch.pixels), np.rot90(TILE, -1)[20:30, 0:20])


def test_a_frame_that_is_not_there_is_refused(opened: Opened, settings: ImagingSettings) -> None:
    for data in (png(TILE), native(TILE, "RGB")):
        with pytest.raises(RegionOutside):
            opened(settings, ImageReference(reference=uploaded(settings, data), frame=2))


def test_a_picture_has_one_level_and_no_millimetres(opened: Opened, settings: ImagingSettings) -> None:
    reference = uploaded(settings, png(TILE))
    box = {"x": 0, "y": 0, "width": 2, "height": 2}
    with pytest.raises(RegionOutside):
        opened(settings, ImageReference(reference=reference, region=Region(**box, level=1)))
    with pytest.raises(ImageRefused) as refusal:
        opened(settings, ImageReference(reference=reference, region=Region(**box, unit=Unit.MILLIMETRE)))
    assert "millimetres" in refusal.value.detail


def test_the_smallest_picture_that_pillow_warns_of_is_cut_out_where_the_operator_allows_it(
    opened: Opened, settings: ImagingSettings
) -> None:
    side = 9500  # 90.25 megapixels; Pillow warns from 89.5 on
    file = io.BytesIO()
    Image.new("L", (side, side), 7).save(file, "PNG", compress_level=1)
    wide = settings.model_copy(update={"max_image_pixels": side * side})
    region = Region(x=0, y=0, width=side, height=side - 1)
    (patch,) = opened(wide, ImageReference(reference=uploaded(wide, file.getvalue()), region=region))
    assert patch.pixels.getpixel((side - 1, side - 2)) == (7, 7, 7)
    narrow = settings.model_copy(update={"max_image_pixels": side * side - 1})
    with pytest.raises(ImageTooLarge):
        opened(narrow, ImageReference(reference=uploaded(narrow, file.getvalue()), region=region))


def test_the_first_upload_may_come_after_the_first_child(settings: ImagingSettings) -> None:
    with closing(sandbox_of(settings)) as sandbox:
        sandbox.start()
        supplies = partial(supply_of, places=places_of(settings))
        while not sandbox.pids():
            time.sleep(0.01)
        image = ImageReference(reference=uploaded(settings, png(TILE)))
        (patch,) = open_patches([image], settings=settings, supply_of=supplies, sandbox=sandbox)
    assert patch.pixels.tobytes() == TILE.tobytes()
