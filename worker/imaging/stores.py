"""Stores: an `s3:`, `gs:` or `abfs:` reference becomes bytes, or a file that is read in pieces.

In: a reference, and what the operator allows: buckets and folders, and the hosts of S3. Out: a supply. fsspec
and the packages behind it are the extra `stores`; credentials come from where the platform keeps them (boto's
own chain), never from a request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from worker.address import AllowList
from worker.errors import (
    AddressRefused,
    FetchFailed,
    ImageMissing,
    PathlaneError,
    ReferenceForbidden,
    UnknownScheme,
)
from worker.imaging.files import check_bytes
from worker.imaging.pieces import Blocks
from worker.imaging.supply import InMemory, Remote
from worker.imaging.web import FetchLimits
from worker.jobs.request import STORES
from worker.settings import SettingsError

#: seconds
CONNECT_SECONDS, READ_SECONDS = 5, 30
_PREFIX = re.compile(rf"(?:{'|'.join(STORES)})://[^/\s]+(?:/\S*)?")
#: where each comes from that is not in the extra
_PACKAGES = {"s3": "the extra `stores`", "gs": "the package gcsfs", "abfs": "the package adlfs"}


def check_prefixes(prefixes: Sequence[str]) -> tuple[str, ...]:
    """Without a slash at their ends. Raises SettingsError."""
    for number, prefix in enumerate(prefixes, start=1):
        if _PREFIX.fullmatch(prefix) is None:
            raise SettingsError(f"PATHLANE_STORES: entry {number} is not s3://bucket/prefix, gs://, abfs://")
    return tuple(prefix.rstrip("/") for prefix in prefixes)


@dataclass(slots=True, kw_only=True)
class Stores:
    prefixes: tuple[str, ...]
    #: of S3; empty: Amazon's
    endpoint: str
    allow: AllowList
    plain_http: bool
    #: scheme -> fsspec's file system
    _opened: dict[str, Any] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def supply(self, reference: str, *, limits: FetchLimits) -> InMemory | Remote:
        """Raises UnknownScheme (an extra is missing), ReferenceForbidden, ImageMissing, ImageTooLarge or
        FetchFailed."""
        scheme, path = self._allowed(reference)
        with _errors():
            file = self._system(scheme).open(path, "rb", cache_type="none")
            if file.details.get("type") != "file":
                raise ImageMissing
            size = int(file.size)
            if size <= limits.whole:
                return InMemory(data=file.read())
        check_bytes(size, limits.most)
        return Remote(file=Blocks(_getter(file), size, max_bytes=limits.pieces))

    def _allowed(self, reference: str) -> tuple[str, str]:
        """Scheme, and bucket with key. A key is taken letter by letter: nothing in it is unquoted."""
        if not any(reference.startswith(f"{prefix}/") for prefix in self.prefixes):
            raise ReferenceForbidden
        scheme, _, path = reference.partition("://")
        if any(part in ("", ".", "..") for part in path.split("/")) or not path.isprintable():
            raise ReferenceForbidden
        return scheme, path

    def _system(self, scheme: str) -> Any:
        with self._lock:
            if scheme not in self._opened:
                self._opened[scheme] = self._open(scheme)
            return self._opened[scheme]

    def _open(self, scheme: str) -> Any:
        try:
            import fsspec  # noqa: PLC0415  an extra

            options = self._s3_options() if scheme == "s3" else {}
            return fsspec.filesystem(scheme, skip_instance_cache=True, use_listings_cache=False, **options)
        except ImportError:
            raise UnknownScheme(f"Here {_PACKAGES[scheme]} is missing.") from None

    def _s3_options(self) -> dict[str, Any]:
        """No proxy of the environment, no other host than those allowed, each on a checked address."""
        from worker.imaging.store_hosts import CheckedResolver, check_endpoint  # noqa: PLC0415  an extra

        check_endpoint(self.endpoint, self.allow, plain_http=self.plain_http)
        config = {
            "proxies": {}, "connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS,
            "connector_args": {"resolver": CheckedResolver(self.allow), "use_dns_cache": False},
            "retries": {"total_max_attempts": 2},
        }  # fmt: skip
        if not self.endpoint:
            return {"config_kwargs": config}
        return {"config_kwargs": config | {"s3": {"addressing_style": "path"}}, "endpoint_url": self.endpoint}


def stores_of(prefixes: Sequence[str], *, endpoint: str, hosts: Sequence[str], plain_http: bool) -> Stores:
    """Raises SettingsError."""
    return Stores(
        prefixes=check_prefixes(prefixes), endpoint=endpoint, allow=AllowList.of(hosts), plain_http=plain_http
    )


def _getter(file: Any) -> Callable[[int, int], bytes]:
    """fsspec asks for the file's own ETag each time (If-Match): a file that was changed is FileExpired."""

    def get(offset: int, length: int) -> bytes:
        with _errors():
            file.seek(offset)
            return bytes(file.read(length))

    return get


@contextmanager
def _errors() -> Iterator[None]:
    """Libraries of stores raise nearly anything, and quote bucket, key and account."""
    try:
        yield
    except AddressRefused:
        raise ReferenceForbidden from None
    except PathlaneError:
        raise
    except FileNotFoundError:
        raise ImageMissing from None
    except PermissionError:
        raise ReferenceForbidden from None
    except Exception as error:  # noqa: BLE001
        if _is_refused(error):
            raise ReferenceForbidden from None
        raise FetchFailed(_said(error)) from None


def _is_refused(error: BaseException | None) -> bool:
    """An address that is not allowed, or no credentials, somewhere behind `error`."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, AddressRefused) or type(error).__name__ == "NoCredentialsError":
            return True
        seen.append(error)
        error = error.__cause__ or error.__context__
    return False


def _said(error: Exception) -> str:
    return "It was changed while it was read." if type(error).__name__ == "FileExpired" else ""
