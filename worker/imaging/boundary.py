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
#: what `warnings.filterwarnings` makes of it
_FILTER: Any = ("ignore", None, Warning, re.compile(_MODULES), 0)
_SILENT = logging.CRITICAL + 1


def _hush() -> None:
    """Silence these libraries, for good, and lift Pillow's own limit of pixels.

    All of it belongs to the whole process, and other threads change it too: nothing that was taken down
    could be put back soundly, and whoever restores what they found takes this away. So it is made sure of
    before each block, and never undone. No filter here covers the warnings of anybody else.
    """
    if list(warnings.filters[:1]) != [_FILTER]:
        warnings.filterwarnings("ignore", module=_MODULES)
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if logger.level != _SILENT:
            logger.setLevel(_SILENT)
    # Pillow warns from 89 megapixels on and refuses from twice that on, when a file is opened and when a
    # picture is cropped, whatever the operator's limit is. `check_size` decides here, from the header.
    Image.MAX_IMAGE_PIXELS = None


_hush()


@contextmanager
def decoding(kind: str) -> Iterator[None]:
    """Whatever goes wrong inside is ImageUnreadable, unless it is a refusal of ours already."""
    _hush()
    try:
        yield
    except PathlaneError:
        raise
    except Image.DecompressionBombError:
        raise ImageTooLarge(kind) from None
    except Exception:  # noqa: BLE001 - decoders raise nearly anything; SystemExit and its kind pass
        raise ImageUnreadable(kind) from None
