"""What is read of a header, and what is never said about it."""

from __future__ import annotations

import io

import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from integrations.dicom.header import read_evidence, read_instance
from tests.unit.dicom.objects import NAME, PATIENT, a_file, a_photograph, a_slide
from worker.errors import ImageUnreadable


def described(dataset, **more):
    return read_instance(io.BytesIO(a_file(dataset, **more)), caller="SCANNER")


def test_a_level_of_a_slide():
    found = described(a_slide())
    assert (found.sop_instance_uid, found.study_uid, found.series_uid) == ("1.2.3.4", "1.2.3.1", "1.2.3.2")
    assert (found.modality, found.flavor, found.accession) == ("SM", "VOLUME", "S26-0001")
    assert (found.container, found.specimens) == ("S26-0001-A1-01", ("S26-0001-A1",))
    assert (found.rows, found.frames, found.matrix_columns, found.pixels) == (16, 4, 32, 1024)
    assert found.is_slide
    assert found.eligible


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
)
def test_the_same_in_every_encoding(syntax):
    assert described(a_photograph(), syntax=syntax) == described(a_photograph())


@pytest.mark.parametrize(
    "marked",
    [
        {"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "OVERVIEW"]},
        {"ImageType": ["DERIVED", "PRIMARY", "thumbnail"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        {"ImageType": "LABEL"},
        {"BurnedInAnnotation": "YES"},
        {"SpecimenLabelInImage": "yes "},
    ],
)
def test_what_shows_a_label_or_text_is_not_eligible(marked):
    assert not described(a_slide(**marked)).eligible


def test_an_object_without_a_picture_is_not_eligible():
    assert not described(a_photograph(Rows=None)).eligible


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [None, "", "../../evil", "A.B", "1" * 65])
def test_a_uid_that_is_none_is_refused_and_not_repeated(keyword, value):
    with pytest.raises(ImageUnreadable) as refused:
        described(a_photograph(**{keyword: value}))
    assert keyword in str(refused.value)
    assert not value or value not in str(refused.value)


def test_numbers_that_are_none_count_as_missing():
    data = a_file(a_slide()).replace(b"IS\x02\x004 ", b"IS\x02\x001A")
    assert read_instance(io.BytesIO(data), caller="").frames == 1


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a" * 50, b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\x02\0\x10\0UI\xff\xff1"]
)
def test_what_is_no_dicom_file_is_refused(data):
    with pytest.raises(ImageUnreadable):
        read_instance(io.BytesIO(data), caller="")


def test_a_deflated_data_set_is_not_inflated():
    with pytest.raises(ImageUnreadable):
        described(a_photograph(), syntax=uid.DeflatedExplicitVRLittleEndian)


def test_only_the_beginning_of_a_file_is_read():
    data = a_file(a_slide())
    here = data.index(b"\xe0\x7f\x10\x00")

    class Watched(io.BytesIO):
        def read(self, size=-1):
            assert size > 0
            return super().read(size)

    assert read_instance(Watched(data[:here]), caller="") == read_instance(Watched(data), caller="")


def test_nothing_of_the_patient_is_in_an_instance_or_its_repr():
    found = described(a_slide())
    kept = [getattr(found, name) for name in found.__slots__]
    assert not [value for value in kept if NAME in str(value) or PATIENT in str(value)]
    assert "S26" not in repr(found)


def test_evidence_is_utf8_whatever_the_sender_wrote():
    dataset = a_slide(SpecificCharacterSet="ISO_IR 100", PatientName="M\u00dcLLER^ZO\u00cb")
    evidence = read_evidence(io.BytesIO(a_file(dataset)))
    assert str(evidence.PatientName) == "M\u00dcLLER^ZO\u00cb"
    assert evidence.SpecificCharacterSet == "ISO_IR 192"


def test_evidence_has_what_a_report_needs_even_where_the_image_has_not():
    bare = a_photograph(
        PatientName=None, StudyID=None, StudyDate=None, PatientSex="X", ReferringPhysicianName=None
    )
    evidence = read_evidence(io.BytesIO(a_file(bare)))
    assert [evidence.PatientName, evidence.StudyID, evidence.StudyDate, evidence.PatientSex] == [""] * 4


def test_evidence_has_no_more_than_that():
    dataset = a_slide(PatientAddress="1 Main Street", PatientComments="private", OperatorsName="X^Y")
    evidence = read_evidence(io.BytesIO(a_file(dataset)))
    assert isinstance(evidence, Dataset)
    assert not {"PatientAddress", "PatientComments", "OperatorsName", "PixelData"} & {
        e.keyword for e in evidence
    }
