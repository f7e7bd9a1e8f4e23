"""The door for bytes: a reference becomes a supply, from where the operator allows it.

In: a reference of one of the request's schemes. Out: what a reader needs: bytes in memory, files on disk, a
file of which pieces can be asked for, or a series in an archive; or a refusal. Nothing is decoded here, and
no whole slide is ever held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import httpx

from worker.address import AllowList
from worker.errors import ReferenceForbidden, UnknownScheme
from worker.imaging.archives import Access, read_archives
from worker.imaging.files import file_supply
from worker.imaging.series import Series, find_series
from worker.imaging.stores import Stores, stores_of
from worker.imaging.supply import Archived, Supply
from worker.imaging.uploaded import Verified, upload_supply
from worker.imaging.web import FetchLimits, web_supply
from worker.jobs.archived import archived_in
from worker.jobs.request import STORES
from worker.pinned import pinned_client
from worker.settings import ImagingSettings

#: of one exchange with a host of `https:` references
SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where references may lead. One for a process, for any number of threads."""

    settings: ImagingSettings
    web: httpx.Client
    stores: Stores
    #: by name
    archives: Mapping[str, Access]
    verified: Verified = field(default_factory=Verified)

    @property
    def limits(self) -> FetchLimits:
        settings = self.settings
        return FetchLimits(
            whole=min(settings.fetch_whole_bytes, settings.max_image_bytes),
            most_whole=settings.max_image_bytes,
            most=settings.max_slide_bytes,
            pieces=settings.fetch_pieces_bytes,
        )


def places_of(settings: ImagingSettings) -> Places:
    """Raises SettingsError."""
    return Places(
        settings=settings,
        web=pinned_client(AllowList.of(settings.fetch_hosts), seconds=SECONDS),
        stores=stores_of(
            settings.stores, endpoint=settings.store_endpoint, hosts=settings.store_hosts,
            plain_http=settings.store_plain_http,
        ),
        archives=read_archives(settings.archives) if settings.archives else {},
    )  # fmt: skip


def supply_of(reference: str, *, places: Places) -> Supply:
    """What lies behind `reference`.

    Raises UnknownScheme, ReferenceForbidden, ImageMissing, ImageTooLarge, ImageUnreadable, or FetchFailed,
    which is worth another try.
    """
    settings = places.settings
    scheme = reference.partition(":")[0].lower()
    if scheme == "file":
        return file_supply(reference, settings.image_roots, max_bytes=settings.max_slide_bytes)
    if scheme == "upload":
        return upload_supply(
            reference, settings.uploads_dir, max_bytes=settings.max_slide_bytes, verified=places.verified
        )
    if scheme == "https":
        return web_supply(places.web, reference, limits=places.limits)
    if scheme in STORES:
        return places.stores.supply(reference, limits=places.limits)
    if scheme == "dicomweb":
        return _archived(reference, places.archives)
    raise UnknownScheme


def _archived(reference: str, archives: Mapping[str, Access]) -> Archived:
    try:
        named = archived_in(reference)
    except ValueError:
        raise ReferenceForbidden from None
    access = archives.get(named.archive)
    if access is None:
        raise ReferenceForbidden("There is no archive of this name.")
    if not named.series:
        named = replace(named, series=find_series(access, named.study))
    return Archived(series=Series(access, named), sop_instance_uid=named.instance or None)
