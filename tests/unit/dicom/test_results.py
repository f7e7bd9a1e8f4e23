"""What a report says, of whom, and where on the slide."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pydicom
import pytest
from highdicom.spatial import ImageToReferenceTransformer
from highdicom.sr import Comprehensive3DSR

from integrations.dicom.geometry import polygon
from integrations.dicom.header import read_evidence
from integrations.dicom.results import report_uid, structured_report
from tests.unit.dicom.objects import (
    AT,
    FRAME,
    NAME,
    PATIENT,
    SERIES,
    STUDY,
    TRIAGE,
    a_file,
    a_photograph,
    a_reading_of,
    a_result,
    a_slide,
)
from worker.errors import UnsupportedImage
from worker.jobs.order import TriageClass
from worker.jobs.reading import ReadingOutcome


def evidence(dataset=None):
    return read_evidence(io.BytesIO(a_file(dataset or a_slide())))


def report(result=None, reading=None, images=None):
    data = structured_report(result or a_result(), reading or a_reading_of(None), images or [evidence()])
    return pydicom.dcmread(io.BytesIO(data))


def items(dataset, depth=0):
    """(depth, value type, name, value) of the whole tree."""
    name = dataset.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in dataset else ""
    value = {
        "CODE": lambda: dataset.ConceptCodeSequence[0].CodeMeaning,
        "TEXT": lambda: dataset.TextValue,
        "UIDREF": lambda: dataset.UID,
        "SCOORD3D": lambda: list(dataset.GraphicData),
        "IMAGE": lambda: dataset.ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
    }.get(dataset.ValueType, str)()
    yield depth, dataset.ValueType, name, value
    for item in dataset.get("ContentSequence", ()):
        yield from items(item, depth + 1)


def said(dataset, name):
    return [value for _, _, found, value in items(dataset) if found == name]


def test_it_is_a_preliminary_unverified_report_on_the_image_of_the_study():
    made = report()
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert (made.PreliminaryFlag, made.VerificationFlag, made.CompletionFlag) == (
        "PRELIMINARY",
        "UNVERIFIED",
        "COMPLETE",
    )
    assert (made.StudyInstanceUID, made.AccessionNumber, made.Modality) == (STUDY, "S26-0001", "SR")
    assert made.SeriesInstanceUID != SERIES
    assert (str(made.PatientName), made.PatientID, made.PatientBirthDate) == (NAME, PATIENT, "19500101")
    assert (made.ContentDate, made.ContentTime) == ("20261123", "100005")
    assert made.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    study = made.CurrentRequestedProcedureEvidenceSequence[0]
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"
    Comprehensive3DSR.from_dataset(made)


def test_it_says_who_observed_what_was_asked_and_what_it_means():
    made = report()
    assert said(made, "Observer Type") == ["Device"]
    assert said(made, "Algorithm Name") == ["demo"]
    assert said(made, "Algorithm Version") == ["sha256:cc"]
    assert said(made, "Algorithm Family") == ["Artificial Intelligence"]
    assert said(made, "Is there tumour?") == ["Yes"]
    assert said(made, "Triage class") == ["Raise to urgent"]
    assert said(made, "Question") == ["Is there tumour?"]
    assert said(made, "Answer") == ["A. Yes"]
    assert said(made, "Reasoning") == ["Brown chromogen."]
    assert said(made, "Notice") == [
        "Draft by a model, not reviewed. Demonstration model: not a medical statement."
    ]


@pytest.mark.parametrize("triage", TriageClass)
def test_every_triage_class_has_a_code_of_its_own(triage):
    made = report(a_result(triage=triage))
    codes = [
        item.ConceptCodeSequence[0]
        for item in made.ContentSequence[-2].ContentSequence[0].ContentSequence
        if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].CodeMeaning == "Triage class"
    ]
    assert [code.get("CodeValue") or code.LongCodeValue for code in codes] == [f"triage/{triage.value}"]


def test_sending_twice_is_one_object():
    first, again = (structured_report(a_result(), a_reading_of((4, 4, 8, 8)), [evidence()]) for _ in range(2))
    assert first == again
    assert report_uid("job_01") != report_uid("job_02")
    assert all(len(report_uid(f"job_{n}")) <= 64 for n in range(100))


def test_a_newer_reading_names_the_older_report():
    made = report(a_result(job_id="job_02", supersedes="job_01", observed_at=AT + timedelta(hours=1)))
    before = made.PredecessorDocumentsSequence[0]
    assert before.StudyInstanceUID == STUDY
    referenced = before.ReferencedSeriesSequence[0]
    assert referenced.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == report().SOPInstanceUID
    assert referenced.SeriesInstanceUID == report().SeriesInstanceUID


def test_a_reading_without_an_answer_is_partial_and_says_why():
    cut = replace(a_reading_of(None), outcome=ReadingOutcome.TRUNCATED, answer="", choice=None)
    made = report(reading=cut)
    assert made.CompletionFlag == "PARTIAL"
    assert said(made, "Outcome of the reading") == ["truncated"]
    assert said(made, "Answer") == said(made, "Is there tumour?") == []


def test_an_open_question_has_its_answer_in_words_only():
    question = replace(TRIAGE, options=(), text="What is shown? " * 20)
    made = report(
        a_result(question=question),
        replace(a_reading_of(None), choice=None, answer="Colonic glands \u2265 3 \u00b5m"),
    )
    assert said(made, "Answer") == ["Colonic glands \u2265 3 \u00b5m"]
    assert said(made, "Question") == [question.text.strip()]


def test_a_region_lies_where_the_slide_has_it():
    made = report(reading=a_reading_of((4, 6, 8, 10)))
    (points,) = said(made, "Image Region")
    to_slide = ImageToReferenceTransformer([20, 40, 0], [0, -1, 0, -1, 0, 0], [0.0005, 0.0005])
    corners = to_slide(np.array([[4, 6], [12, 6], [12, 16], [4, 16], [4, 6]], dtype=float))
    assert np.allclose(np.array(points).reshape(-1, 3), corners, atol=1e-5)
    (item,) = [
        item
        for group in made.ContentSequence[-2].ContentSequence
        for item in group.ContentSequence
        if item.ValueType == "SCOORD3D"
    ]
    assert item.ReferencedFrameOfReferenceUID == FRAME


def test_several_regions_are_several_groups():
    made = report(reading=a_reading_of((0, 0, 4, 4), (8, 8, 4, 4)))
    assert len(said(made, "Image Region")) == 2
    assert said(made, "Finding") == ["Selected region"] * 2


@pytest.mark.parametrize(
    "dataset",
    [
        a_photograph(),
        a_slide(TotalPixelMatrixOriginSequence=None),
        a_slide(ImageOrientationSlide=[0, -1]),
        a_slide(SharedFunctionalGroupsSequence=None),
        a_slide(FrameOfReferenceUID=None),
    ],
    ids=["photograph", "no origin", "half an orientation", "no spacing", "no frame of reference"],
)
def test_without_coordinates_the_region_is_said_in_pixels(dataset):
    made = report(reading=a_reading_of((4, 6, 8, 10)), images=[evidence(dataset)])
    assert said(made, "Image Region") == []
    assert said(made, "Region in pixels") == ["image 1: x, y, width, height = (4, 6, 8, 10)"]


def test_a_region_of_one_numbered_frame_is_said_in_pixels():
    assert said(report(reading=a_reading_of((4, 6, 8, 10), frame=2)), "Image Region") == []


@pytest.mark.parametrize("orientation", [[1, 0, 0, 0, 1, 0], [0, -1, 0, -1, 0, 0], [-1, 0, 0, 0, -1, 0]])
def test_the_arithmetic_is_that_of_the_standard(orientation):
    header = evidence(a_slide(ImageOrientationSlide=orientation))
    to_slide = ImageToReferenceTransformer([20, 40, 0], orientation, [0.0005, 0.0005])
    expected = to_slide(np.array([[1, 2], [4, 2], [4, 6], [1, 6], [1, 2]], dtype=float))
    assert np.allclose(np.array(polygon(header, (1, 2, 3, 4))), expected)


def test_several_images_are_all_referred_to():
    images = [evidence(), evidence(a_slide("1.2.3.44"))]
    assert said(report(images=images), "Source of Measurement") == ["1.2.3.4", "1.2.3.44"]


def test_a_report_without_a_dicom_image_is_refused():
    with pytest.raises(UnsupportedImage):
        structured_report(a_result(), a_reading_of(None), [])


def test_a_report_on_a_given_slide(shared_data):
    with (shared_data / "dicom" / "highdicom_sm_image.dcm").open("rb") as file:
        images = [read_evidence(file)]
    made = report(reading=a_reading_of((10, 10, 20, 20)), images=images)
    assert len(said(made, "Image Region")) == 1
    assert str(made.PatientName) == "Test^Patient"
