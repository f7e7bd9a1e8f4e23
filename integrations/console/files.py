"""Files: the console's pages, styles and scripts, as they are sent.

In: the folder `static`. Out: bytes with their type and tag. All of them have one version, the digest of
everything there, which stands in their addresses: a page never gets scripts of another version, and they may
be kept for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Final

INDEX: Final = "index.html"
#: stands in the page where the version belongs
PLACE: Final = b"VERSION"
TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    content: bytes = field(repr=False)
    media_type: str
    tag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    version: str
    page: File
    #: by name
    assets: Mapping[str, File]


@cache
def console_files() -> Files:
    """Read once in a process."""
    folder = files(__package__) / "static"
    found = {one.name: one.read_bytes() for one in folder.iterdir() if _kind(one.name) in TYPES}
    whole = hashlib.sha256()
    for name in sorted(found):
        whole.update(f"{name} {len(found[name])}\n".encode() + found[name])
    version = whole.hexdigest()[:16]
    page = found.pop(INDEX).replace(PLACE, version.encode())
    assets = {name: _file(name, content) for name, content in found.items()}
    return Files(version=version, page=_file(INDEX, page), assets=assets)


def _file(name: str, content: bytes) -> File:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return File(content=content, media_type=TYPES[_kind(name)], tag=tag)


def _kind(name: str) -> str:
    return name.rpartition(".")[2]
