from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from tests.unit.imaging.dicom_files import WHOLE_SLIDE, native
from worker.imaging.dicom import read_dicom
from worker.imaging.picture import Picture

#: four tiles of 2 x 2, each with the same values
TILES = np.vstack([np.array([[100, 200], [300, 400]], np.uint16)] * 4)


def slide(tiles: np.ndarray, **more: Any) -> bytes:
    return native(
        tiles,
        "MONOCHROME2",
        SOPClassUID=WHOLE_SLIDE,
        Rows=2,
        NumberOfFrames=len(tiles) // 2,
        DimensionOrganizationType="TILED_FULL",
        **({"TotalPixelMatrixRows": 4, "TotalPixelMatrixColumns": 3} | more),
    )


def read(file: bytes, frame: int | None = None) -> Picture:
    return read_dicom(file, frame=frame, max_pixels=100, max_bytes=10_000)


def grey(picture: Picture) -> np.ndarray:
    return np.asarray(picture.pixels)[..., 0]


def windows(*centers: int) -> dict[str, Any]:
    groups = []
    for center in centers:
        voi, group = Dataset(), Dataset()
        voi.WindowCenter, voi.WindowWidth = center, 2
        group.FrameVOILUTSequence = [voi]
        groups.append(group)
    return {"PerFrameFunctionalGroupsSequence": groups}


def test_each_tile_is_shown_with_its_own_window() -> None:
    file = slide(TILES, **windows(150, 250, 350, 450))
    level = read(file)
    assert grey(level).tolist() == [[0, 255, 0], [255, 255, 255], [0, 0, 0], [0, 255, 0]]
    assert level.steps == ("assembled from 4 tiles", "4 windows, tile by tile")
    assert np.array_equal(grey(level)[2:, :2], grey(read(file, frame=3)))


def test_one_window_for_all_tiles_is_named() -> None:
    level = read(slide(TILES, **windows(150, 150, 150, 150)))
    assert level.steps == ("assembled from 4 tiles", "window 150/2 LINEAR")


def test_a_value_without_a_window_looks_the_same_in_every_tile_and_alone() -> None:
    tiles = TILES.copy()
    tiles[2:4, 1] = 60_000
    file = slide(tiles)
    level = grey(read(file))
    assert level[0, 0] == level[0, 2] == level[2, 0] == round(100 / 65535 * 255)
    assert np.array_equal(level[:2, :2], grey(read(file, frame=1)))


def test_the_focal_plane_and_the_optical_path_that_are_shown_are_recorded() -> None:
    planes = np.repeat(np.arange(6, dtype=np.uint16) * 10_000, 2)[:, None].repeat(2, 1)
    one_tile = {"TotalPixelMatrixRows": 2, "TotalPixelMatrixColumns": 2}
    file = slide(planes, TotalPixelMatrixFocalPlanes=3, NumberOfOpticalPaths=2, **one_tile)
    level = read(file)
    assert level.steps[:3] == ("assembled from 1 tiles", "focal plane 2 of 3", "optical path 1 of 2")
    assert set(grey(level).flat) == {round(10_000 / 65535 * 255)}
