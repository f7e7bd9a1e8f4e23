"""The listener, called by dcmtk's programs and by pynetdicom."""

from __future__ import annotations

import io

import pydicom
import pytest
from pydicom import uid
from pynetdicom import AE

from tests.integration.dicom.conftest import eventually, kept
from tests.unit.dicom.objects import NAME, a_file, a_photograph, a_slide
from worker.errors import StoreUnavailable


def storescu(dcmtk, scp, *files, title="PATHLANE", caller="SCANNER", options=("-R", "-xy")):
    return dcmtk("storescu", *options, "-aet", caller, "-aec", title, scp.host, scp.port, *files)


def test_an_echo_is_answered(dcmtk, scp):
    assert dcmtk("echoscu", "-aet", "SCANNER", "-aec", "PATHLANE", scp.host, scp.port).code == 0


def test_what_dcmtk_stores_is_kept_whole_and_written_down(dcmtk, scp, archive, folder):
    files = folder(a_file(a_slide()), a_file(a_slide("1.2.3.40", flavor="LABEL")), a_file(a_photograph()))
    done = storescu(dcmtk, scp, *files)
    assert done.code == 0, done.text
    volume, label, photograph = archive.instances
    assert (volume.accession, volume.container, volume.flavor) == ("S26-0001", "S26-0001-A1-01", "VOLUME")
    assert (volume.matrix_columns, volume.frames, volume.caller) == (32, 4, "SCANNER")
    assert [one.eligible for one in (volume, label, photograph)] == [True, False, True]
    sent, stored = (pydicom.dcmread(io.BytesIO(b)) for b in (files[0].read_bytes(), kept(scp, volume)))
    sent["PixelData"].VR = stored["PixelData"].VR  # dcmtk sends 8-bit pixels as OW
    assert sent.to_json() == stored.to_json()
    assert list(scp.spool.iterdir()) == []


def test_jpeg_slides_are_taken_as_they_are(dcmtk, scp, archive, shared_data):
    path = shared_data / "dicom" / "ezwsi_camelyon_multiframe.dcm"
    assert storescu(dcmtk, scp, path).code == 0
    (instance,) = archive.instances
    assert instance.is_slide
    assert instance.frames == 15
    stored = pydicom.dcmread(io.BytesIO(kept(scp, instance)))
    assert stored.file_meta.TransferSyntaxUID == uid.JPEGBaseline8Bit
    assert stored.PixelData == pydicom.dcmread(path).PixelData


@pytest.mark.parametrize(
    ("titles", "reason"),
    [
        ({"caller": "STRANGER"}, "Calling AE Title Not Recognized"),
        ({"title": "OTHER"}, "Called AE Title Not Recognized"),
    ],
)
def test_a_title_that_is_not_listed_is_rejected(dcmtk, scp, folder, titles, reason):
    done = storescu(dcmtk, scp, *folder(a_file(a_slide())), **titles)
    assert done.code != 0
    assert reason in done.text


def test_success_comes_after_file_and_row(dcmtk, scp, archive, folder):
    seen = []
    archive.on_add = lambda instance: seen.append(kept(scp, instance))
    assert storescu(dcmtk, scp, *folder(a_file(a_slide()))).code == 0
    assert len(seen) == 1


def test_while_the_store_is_down_the_sender_may_try_again(dcmtk, scp, archive, folder):
    archive.refuse = [StoreUnavailable()]
    files = folder(a_file(a_slide()))
    assert "outofresources" in storescu(dcmtk, scp, *files, options=("-v", "-R", "-xy")).text.lower()
    assert archive.instances == []
    assert storescu(dcmtk, scp, *files).code == 0
    assert len(archive.instances) == 1


def test_an_error_of_the_archive_is_not_told(scp, archive):
    archive.refuse = [RuntimeError(NAME)]
    answer = sent(scp, a_slide())
    assert answer.Status == 0xA700
    assert NAME not in answer.ErrorComment


def test_twice_the_same_object_is_two_rows_for_the_archive_and_one_file(dcmtk, scp, archive, folder):
    files = folder(a_file(a_slide()))
    storescu(dcmtk, scp, *files)
    storescu(dcmtk, scp, *files)
    assert len({one.reference for one in archive.instances}) == 1


def test_several_senders_at_once_are_all_served(scp, archive):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: sent(scp, a_slide(f"1.2.3.{n}")), range(10, 14)))
    assert [answer.Status for answer in answers] == [0] * 4
    assert len(archive.instances) == 4


def test_a_deflated_data_set_has_no_presentation_context(scp):
    assert associated(scp, a_slide(), syntax=uid.DeflatedExplicitVRLittleEndian).accepted_contexts == []


def associated(scp, dataset, *, syntax=uid.ExplicitVRLittleEndian, tls=None):
    entity = AE("SCANNER")
    entity.add_requested_context(dataset.SOPClassUID, syntax)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    association = entity.associate(
        scp.host, scp.port, ae_title="PATHLANE", tls_args=(tls, "localhost") if tls else None
    )
    assert eventually(lambda: association.is_established or not association.is_alive())
    return association


def sent(scp, dataset, **more):
    a_file(dataset)
    association = associated(scp, dataset, **more)
    try:
        return association.send_c_store(dataset)
    finally:
        association.release()
