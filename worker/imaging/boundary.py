"""Where the exceptions, warnings and log lines of image libraries end.

In: a block that parses or decodes bytes nobody vouches for. Out: its result, or one of our own refusals.
Parsers quote what they read, so nothing they say goes further than this.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from worker.errors import ImageTooLarge, ImageUnreadable, PathlaneError

_TALKATIVE = ("pydicom", "PIL", "pylibjpeg", "openjpeg", "jpeg_ls", "rle", "wsidicom", "openslide")
#: with this room, which is where numpy's warnings about hostile numbers come from
_MODULES = rf"({'|'.join(_TALKATIVE)}|worker\.imaging)(\.|$)"
#: what `warnings.filterwarnings` makes of them; the first that fits counts
_FILTERS: list[Any] = [
    ("error", None, Image.DecompressionBombWarning, re.compile(_MODULES), 0),
    ("ignore", None, Warning, re.compile(_MODULES), 0),
]
_SILENT = logging.CRITICAL + 1

# Pillow warns from 89 megapixels on and refuses from twice that on, whatever the operator's limit is.
Image.MAX_IMAGE_PIXELS = None


def limit_pixels(max_pixels: int) -> None:
    """Pillow's own limit of pixels, for the whole process: what lies above it is an error, not a warning.

    The rule is `check_size`, from the header, before anything is decoded. This is the same number once more,
    in the library, for whatever opens or crops a picture without having asked.
    """
    Image.MAX_IMAGE_PIXELS = max_pixels


def _hush() -> None:
    """Silence these libraries, for good; Pillow's warning of a bomb is an error.

    All of it belongs to the whole process, and other threads change it too: nothing that was taken down
    could be put back soundly, and whoever restores what they found takes this away. So it is made sure of
    before each block, and never undone. No filter here covers the warnings of anybody else.
    """
    if list(warnings.filters[:2]) != _FILTERS:
        warnings.filterwarnings("ignore", module=_MODULES)
        warnings.filterwarnings("error", category=Image.DecompressionBombWarning, module=_MODULES)
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if logger.level != _SILENT:
            logger.setLevel(_SILENT)


_hush()


@contextmanager
def decoding(kind: str) -> Iterator[None]:
    """Whatever goes wrong inside is ImageUnreadable, unless it is a refusal of ours already, or more than
    there is room for."""
    _hush()
    try:
        yield
    except PathlaneError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageTooLarge(f"At most {Image.MAX_IMAGE_PIXELS} pixels are decoded.") from None
    except MemoryError:
        raise ImageTooLarge("It does not fit into the memory there is for decoding.") from None
    except (SystemExit, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException:  # noqa: BLE001 - decoders raise nearly anything; a panic of Rust's is no Exception
        raise ImageUnreadable(kind) from None
