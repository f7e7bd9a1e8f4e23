"""Where the exceptions, warnings and log lines of image libraries end.

In: a block that parses or decodes bytes nobody vouches for. Out: its result, or one of our own refusals.
Parsers quote what they read, so nothing they say goes further than this.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from PIL import Image

from worker.errors import ImageTooLarge, ImageUnreadable, PathlaneError

_TALKATIVE = ("pydicom", "pylibjpeg", "PIL")
_SILENT = logging.CRITICAL + 1


class _Silence:
    """Warning filters and log levels belong to the whole process (up to Python 3.13), blocks to threads:
    the first thread in silences, and the last one out puts back what it found."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()
        self._levels: dict[str, int] = {}

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
                self._levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
                self._set_levels(dict.fromkeys(_TALKATIVE, _SILENT))

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(None, None, None)
                self._set_levels(self._levels)

    def _set_levels(self, levels: dict[str, int]) -> None:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


_SILENCE = _Silence()


@contextmanager
def decoding(kind: str) -> Iterator[None]:
    """Whatever goes wrong inside is ImageUnreadable, unless it is a refusal of ours already."""
    _SILENCE.enter()
    try:
        yield
    except PathlaneError:
        raise
    except Image.DecompressionBombError:
        raise ImageTooLarge(kind) from None
    except Exception:  # noqa: BLE001 - decoders raise nearly anything; SystemExit and its kind pass
        raise ImageUnreadable(kind) from None
    finally:
        _SILENCE.leave()
