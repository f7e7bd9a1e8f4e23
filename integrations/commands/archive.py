"""For whoever has DICOM files at hand: archive add."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from integrations.commands.place import data_option, leave, open_place, tells_errors
from worker import uploads
from worker.store.instances import Instances
from worker.store.sealing import seal_of

#: who sent it, where nobody did
CALLER = "COMMAND-LINE"


@click.group()
def archive() -> None:
    """DICOM images that orders may refer to: add."""


@archive.command("add")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False)
)
@data_option
@tells_errors
def add(files: tuple[Path, ...], *, data: Path | None) -> None:
    """Keep DICOM files, so that an order that names their series finds them.

    \b
    pathlane archive add slide.dcm --data .pathlane
    """
    try:
        from integrations.dicom.header import read_instance  # noqa: PLC0415  an extra
        from integrations.dicom_archive import DicomArchive  # noqa: PLC0415
    except ImportError:
        leave("the extra `dicom` is not installed here: pip install 'pathlane[dicom]'", 78)
    place = open_place(data)
    kept = DicomArchive(Instances(place.database, seal_of(place.settings)))
    imaging = place.settings.imaging
    for file in files:
        with file.open("rb") as stream:
            instance = read_instance(stream, caller=CALLER)
            stream.seek(0)
            chunks = iter(lambda: stream.read(1 << 20), b"")
            reference = uploads.keep(
                imaging.uploads_dir,
                chunks,
                max_bytes=imaging.max_slide_bytes,
                reserve_bytes=imaging.uploads_reserve_bytes,
            )
        kept.add(replace(instance, reference=reference))
        click.echo(f"kept     series {instance.series_uid}")
