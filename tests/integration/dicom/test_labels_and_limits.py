"""Labels are stored and never decoded; a full disk; TLS."""

from __future__ import annotations

import gc
import ssl
import subprocess
import sys
import threading

import pytest

from integrations.dicom.header import read_evidence, read_instance
from integrations.dicom.listener import Listener, Listening
from tests.integration.dicom.conftest import kept
from tests.integration.dicom.test_listener import associated, sent
from tests.unit.dicom.objects import a_file, a_slide
from worker.settings import SettingsError

DECODERS = (
    "pydicom.pixels",
    "pydicom.encaps",
    "pydicom.pixel_data_handlers",
    "PIL",
    "openjpeg",
    "jpeg_ls",
    "rle",
)


@pytest.fixture
def called():
    """Modules of decoders that any thread calls into, seen by the interpreter's own profiler."""
    seen: list[str] = []

    def look(frame, event, _argument):
        module = frame.f_globals.get("__name__", "") if event == "call" else ""
        if module.startswith(DECODERS):
            seen.append(module)

    threading.setprofile(look)
    sys.setprofile(look)
    yield seen
    threading.setprofile(None)
    sys.setprofile(None)


@pytest.mark.parametrize("flavor", ["LABEL", "OVERVIEW", "VOLUME"])
def test_no_pixel_is_decoded_on_the_way_in(scp, archive, called, flavor):
    assert sent(scp, a_slide(flavor=flavor)).Status == 0
    assert called == []
    (instance,) = archive.instances
    assert instance.eligible is (flavor == "VOLUME")


def test_no_pixel_is_decoded_for_a_report(called, tmp_path):
    path = tmp_path / "label.dcm"
    path.write_bytes(a_file(a_slide(flavor="LABEL")))
    with path.open("rb") as file:
        read_instance(file, caller="")
    with path.open("rb") as file:
        read_evidence(file)
    assert called == []


def test_the_profiler_would_see_a_decoder(called):
    dataset = a_slide()
    a_file(dataset)
    assert dataset.pixel_array.shape == (4, 16, 16, 3)
    assert called != []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a small file system needs the right to mount one")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_when_the_disk_is_full_the_sender_is_told_to_try_again(start, archive, small_disk):
    scp = start(uploads=small_disk / "uploads")
    assert sent(scp, a_slide(tiles=24)).Status == 0xA700
    assert archive.instances == []
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []
    assert sent(scp, a_slide()).Status == 0
    assert kept(scp, archive.instances[0])


def test_room_is_left_for_others(start, archive):
    scp = start(reserve_bytes=2**60)
    assert "Status" not in sent(scp, a_slide(tiles=30))
    assert archive.instances == []


def test_a_listener_without_a_list_of_callers_does_not_start(tmp_path, archive):
    listening = Listening(
        host="127.0.0.1",
        port=0,
        title="PATHLANE",
        callers=frozenset(),
        uploads=tmp_path,
        spool=tmp_path,
        max_bytes=1,
    )
    with pytest.raises(SettingsError):
        Listener(listening, archive)


def test_over_tls_with_a_certificate_it_is_stored(start, archive, certificates):
    server = certificates(ssl.Purpose.CLIENT_AUTH, own=True)
    server.verify_mode = ssl.CERT_REQUIRED
    scp = start(tls=server)
    assert sent(scp, a_slide(tiles=40), tls=certificates(ssl.Purpose.SERVER_AUTH, own=True)).Status == 0
    (instance,) = archive.instances
    assert len(kept(scp, instance)) > 40 * 40 * 16 * 16 * 3


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pynetdicom's client leaves its socket
def test_over_tls_without_a_certificate_nobody_gets_in(start, certificates):
    server = certificates(ssl.Purpose.CLIENT_AUTH, own=True)
    server.verify_mode = ssl.CERT_REQUIRED
    scp = start(tls=server)
    for tls in (certificates(ssl.Purpose.SERVER_AUTH, own=False), None):
        assert not associated(scp, a_slide(), tls=tls).is_established
    gc.collect()
