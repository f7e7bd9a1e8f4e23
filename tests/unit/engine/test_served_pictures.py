"""A picture is shown to a served model as the local engines show it."""

import io
from base64 import b64decode

import pytest
from PIL import Image

from worker.engine.models.served_pictures import data_url
from worker.engine.pixels import model_size
from worker.errors import PromptUnreadable

MILLION = 1_003_520


@pytest.mark.parametrize(
    ("size", "most", "shown"),
    [
        ((112, 84), MILLION, (112, 84)),  # multiples of 28 stay
        ((500, 333), MILLION, (504, 336)),  # others go to the nearest
        ((3000, 2000), MILLION, (1204, 812)),  # too many pixels: scaled down
        ((3000, 2000), 12_544, (112, 84)),
        ((20, 10), MILLION, (84, 56)),  # too few: scaled up
        ((4000, 21), MILLION, (4004, 28)),
    ],
)
def test_sides_are_multiples_of_a_token_within_the_limits(size, most, shown):
    assert model_size(*size, most) == shown


def test_a_picture_that_is_far_too_long_is_refused():
    with pytest.raises(PromptUnreadable):
        model_size(4001, 20, MILLION)


def test_what_is_sent_is_a_png_in_rgb():
    head, _, encoded = data_url(Image.new("L", (56, 56), 7), MILLION).partition(",")
    sent = Image.open(io.BytesIO(b64decode(encoded)))
    assert head == "data:image/png;base64"
    assert (sent.format, sent.mode, sent.size, sent.getpixel((3, 3))) == ("PNG", "RGB", (56, 56), (7, 7, 7))
