"""Archives: the DICOMweb archives of a site, from the operator's file (PATHLANE_ARCHIVES).

In: a YAML file. Out: how to reach each archive, by name, or SettingsError with the place and without any
value. Only the operator says where an archive is and what opens it; a reference has its name and no more.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import httpx
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic import model_validator as model_check

from worker.address import AllowList
from worker.errors import FetchFailed
from worker.jobs.archived import ARCHIVE_NAME
from worker.pinned import pinned_client, trusted_authorities
from worker.settings import SettingsError

#: of one exchange
SECONDS = 60.0
LONGEST_TOKEN = 64 * 1024


class _Archive(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    name: Annotated[str, StringConstraints(pattern=rf"^{ARCHIVE_NAME}$")]
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#@]+$", max_length=2048)]
    #: hosts and networks, as PATHLANE_FETCH_HOSTS; without any, the host of `url`
    hosts: tuple[str, ...] = ()
    plain_http: bool = False
    token_file: Path | None = None
    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    #: frames asked for with one request
    batch: Annotated[int, Field(ge=1, le=100)] = 16
    #: for one image of a job
    max_frames: Annotated[int, Field(ge=1)] = 4096
    max_bytes: Annotated[int, Field(ge=1024)] = 256 * 1024 * 1024

    @model_check(mode="after")
    def _agree(self) -> Self:
        if self.url.startswith("http:") and not self.plain_http:
            raise ValueError("the URL must be https, unless plain_http is true")
        if self.key and not self.certificate:
            raise ValueError("a key belongs to a certificate")
        return self


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    archives: tuple[_Archive, ...]

    @model_check(mode="after")
    def _named_once(self) -> Self:
        if len({archive.name for archive in self.archives}) < len(self.archives):
            raise ValueError("two archives have one name")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Access:
    """One archive, and what opens it. For any number of threads."""

    name: str
    #: without a slash at its end; `/studies` comes behind it
    url: str
    client: httpx.Client
    token_file: Path | None
    #: frames asked for with one request
    batch: int
    #: for one image of a job
    max_frames: int
    max_bytes: int

    def headers(self) -> dict[str, str]:
        """The token is read each time: whoever renews it writes it anew. Raises FetchFailed."""
        if self.token_file is None:
            return {}
        try:
            with self.token_file.open("rb") as file:
                token = file.read(LONGEST_TOKEN).decode("ascii").strip()
        except (OSError, UnicodeDecodeError):
            raise FetchFailed("The archive's token cannot be read.") from None
        if not token.isprintable() or not token:
            raise FetchFailed("The archive's token cannot be read.")
        return {"authorization": f"Bearer {token}"}


def read_archives(path: Path) -> Mapping[str, Access]:
    """By name. Paths in the file count from its own folder. Raises SettingsError."""
    try:
        parsed = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError:
        raise SettingsError("PATHLANE_ARCHIVES: the file cannot be read") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"PATHLANE_ARCHIVES: {_explain(error)}") from None
    return {archive.name: _access(archive, path.absolute().parent) for archive in parsed.archives}


def _explain(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "the file is not YAML in UTF-8"
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in problem["loc"] if isinstance(part, int) or part in _KEYS)
    return f"{place or 'the file'}: {problem['msg'].removeprefix('Value error, ')}"


_KEYS = {*_File.model_fields, *_Archive.model_fields}


def _access(archive: _Archive, folder: Path) -> Access:
    try:
        host = httpx.URL(archive.url).netloc.decode("ascii")
        allow = AllowList.of(archive.hosts or (host,))
        tls = _tls(archive, folder)
    except (httpx.InvalidURL, UnicodeError, SettingsError):
        raise SettingsError(f"PATHLANE_ARCHIVES: {archive.name}: url or hosts cannot be used") from None
    except OSError:  # ssl.SSLError is one
        raise SettingsError(
            f"PATHLANE_ARCHIVES: {archive.name}: certificate, key or authorities cannot be used"
        ) from None
    return Access(
        name=archive.name, url=archive.url.rstrip("/"),
        client=pinned_client(allow, seconds=SECONDS, plain_http=archive.plain_http, tls=tls),
        token_file=folder / archive.token_file if archive.token_file else None,
        batch=archive.batch, max_frames=archive.max_frames, max_bytes=archive.max_bytes,
    )  # fmt: skip


def _tls(archive: _Archive, folder: Path) -> ssl.SSLContext:
    """Who we believe, and who we say we are (mutual TLS)."""
    tls = (
        ssl.create_default_context(cafile=str(folder / archive.authorities))
        if archive.authorities
        else trusted_authorities()
    )
    if archive.certificate:
        key: Any = folder / archive.key if archive.key else None
        tls.load_cert_chain(folder / archive.certificate, key, password=_no_password)
    return tls


def _no_password() -> str:
    """Without it OpenSSL would ask on the terminal. An empty one opens no key that has one."""
    return ""
