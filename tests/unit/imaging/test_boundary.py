from __future__ import annotations

import io
import logging
import threading
import warnings

import pytest
from PIL import Image

from worker.errors import ImageTooLarge, ImageUnreadable, RegionOutside
from worker.imaging.boundary import decoding, limit_pixels


@pytest.mark.parametrize("error", [RuntimeError, ValueError, AttributeError, RecursionError, KeyError])
def test_whatever_a_decoder_raises_is_an_unreadable_image_without_its_words(error: type[Exception]) -> None:
    with pytest.raises(ImageUnreadable) as refusal, decoding("PNG"):
        raise error("Doe^Jane")
    assert "Doe" not in refusal.value.public
    assert refusal.value.__suppress_context__


def test_refusals_of_ours_pass() -> None:
    with pytest.raises(RegionOutside), decoding("PNG"):
        raise RegionOutside


@pytest.mark.parametrize("error", [Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError])
def test_what_there_is_no_room_for_is_too_large(error: type[Exception]) -> None:
    with pytest.raises(ImageTooLarge), decoding("PNG"):
        raise error


def test_pillows_warning_of_a_bomb_is_an_error_above_our_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.new("L", (5, 5)).save(file, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    limit_pixels(24)
    with pytest.raises(ImageTooLarge), decoding("PNG"):
        Image.open(file)
    limit_pixels(25)
    with decoding("PNG"), Image.open(file) as image:
        image.load()


def test_a_panic_in_rust_is_an_unreadable_image() -> None:
    class PanicException(BaseException):
        """As pyo3 derives it."""

    with pytest.raises(ImageUnreadable), decoding("DICOM"):
        raise PanicException


def test_an_interrupt_is_no_damaged_image() -> None:
    with pytest.raises(KeyboardInterrupt), decoding("PNG"):
        raise KeyboardInterrupt


def warn_as(module: str) -> None:
    warnings.warn_explicit("Doe^Jane", UserWarning, filename="there.py", lineno=1, module=module)


@pytest.mark.parametrize("module", ["pydicom.filereader", "PIL.TiffImagePlugin", "openjpeg.utils", "rle"])
def test_what_the_libraries_say_stays_inside(module: str, caplog: pytest.LogCaptureFixture) -> None:
    with decoding("DICOM"):
        warn_as(module)
        logging.getLogger(module).error("Doe^Jane")
    assert not caplog.records


def test_warnings_of_anybody_else_are_heard_also_inside() -> None:
    with decoding("PNG"), pytest.warns(UserWarning, match="Doe"):
        warn_as("pydicomparison.of.somebody.else")


def test_filters_that_others_put_up_and_take_down_leave_nothing_for_every_module() -> None:
    with warnings.catch_warnings():
        before = list(warnings.filters)
        block, other = decoding("PNG"), warnings.catch_warnings()
        block.__enter__()
        other.__enter__()
        block.__exit__(None, None, None)
        other.__exit__(None, None, None)
        added = [filter_ for filter_ in warnings.filters if filter_ not in before]
        assert all(module is not None for _, _, _, module, _ in added)
        with pytest.warns(UserWarning, match="Doe"):
            warn_as("somebody.else")


def test_libraries_are_silent_again_after_others_took_the_filter_down() -> None:
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("error")
        logging.getLogger("pydicom").setLevel(logging.DEBUG)
        with decoding("DICOM"):
            warn_as("pydicom.filereader")
            assert not logging.getLogger("pydicom").isEnabledFor(logging.CRITICAL)


def test_threads_that_overlap_stay_silent_until_the_last_is_out() -> None:
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
        warn_as("PIL.Image")
