from __future__ import annotations

import logging
import threading
import warnings

import pytest
from PIL import Image

from worker.errors import ImageTooLarge, ImageUnreadable, RegionOutside
from worker.imaging.boundary import decoding


@pytest.mark.parametrize(
    "error", [RuntimeError, ValueError, AttributeError, RecursionError, MemoryError, KeyError]
)
def test_whatever_a_decoder_raises_is_an_unreadable_image_without_its_words(error: type[Exception]) -> None:
    with pytest.raises(ImageUnreadable) as refusal, decoding("PNG"):
        raise error("Doe^Jane")
    assert "Doe" not in refusal.value.public
    assert refusal.value.__suppress_context__


def test_refusals_of_ours_pass_and_pillows_bomb_is_too_large() -> None:
    with pytest.raises(RegionOutside), decoding("PNG"):
        raise RegionOutside
    with pytest.raises(ImageTooLarge), decoding("PNG"):
        raise Image.DecompressionBombError


def test_an_interrupt_is_no_damaged_image() -> None:
    with pytest.raises(KeyboardInterrupt), decoding("PNG"):
        raise KeyboardInterrupt


def test_warnings_and_log_lines_stay_inside_and_return_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    with decoding("DICOM"):
        warnings.warn("Doe^Jane", UserWarning, stacklevel=1)
        logging.getLogger("pydicom.pixels").error("Doe^Jane")
    assert not caplog.records
    with pytest.warns(UserWarning, match="heard again"):
        warnings.warn("heard again", UserWarning, stacklevel=1)


def test_threads_that_overlap_leave_the_filters_as_they_were() -> None:
    before = list(warnings.filters)
    level = logging.getLogger("pydicom").level
    first_is_in, second_is_in = threading.Event(), threading.Event()

    def first() -> None:
        with decoding("PNG"):
            first_is_in.set()
            second_is_in.wait(5)

    thread = threading.Thread(target=first)
    thread.start()
    first_is_in.wait(5)
    with decoding("PNG"):
        second_is_in.set()
        thread.join(5)
        warnings.warn("still silent", UserWarning, stacklevel=1)
    assert warnings.filters == before
    assert logging.getLogger("pydicom").level == level
