"""Where objects are while they come in: pynetdicom's temporary files, and what is left of them.

In: a folder, messages, files. Out: pieces of a file, and folders that are durable or swept. It does not know
what an object is, or who sent it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from integrations.dicom.transport import SECONDS

_PIECE: Final = 1024 * 1024
_SPOOLED: Final = "*.dcm"


def spooled(message: object) -> Any:
    """The file pynetdicom writes a message to. Its name for it is private; `sweep` does without."""
    return getattr(message, "_data_set_file", None)


def sweep(spool: Path) -> None:
    """What a listener left that was killed. A file that still grows is younger than the time limits."""
    oldest = time.time() - 4 * SECONDS
    for path in spool.glob(_SPOOLED):
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def pieces(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(_PIECE), b"")
