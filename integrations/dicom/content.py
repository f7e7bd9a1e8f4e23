"""The content tree of a report: TID 1500, from a result and its reading.

In: a Result, a Reading, the headers of the images. Out: highdicom's MeasurementReport, the same for the same
values. It knows no patient and no file.

A region is given as SCOORD3D where the slide's coordinates are known. A 3D report has no other way to show
one, so otherwise it is said in words, in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID, uuid5

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    GraphicTypeValues3D,
    ImageRegion3D,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from integrations.dicom.geometry import Point, polygon
from worker.jobs.order import Question, Result, TriageClass
from worker.jobs.reading import PatchRecord, Reading, ReadingOutcome
from worker.jobs.request import OPTION_LETTERS

#: our own coding scheme: questions and answers of site protocols, triage classes
SCHEME: Final = "99PATHLANE"
DRAFT: Final = "Draft by a model, not reviewed."

_NAMES: Final = UUID("6f2b4b1e-6f5b-4d0a-9a55-0c6b1f0f7c11")
#: Code Meaning and most text of a header are LO (PS3.5 table 6.2-1)
_LONGEST: Final = 64
_DIGEST_LETTERS: Final = 12
_MEANS: Final = {
    TriageClass.STAT: "Raise to STAT",
    TriageClass.URGENT: "Raise to urgent",
    TriageClass.FLAG: "Flag for review",
    TriageClass.NOTHING: "No change of priority",
}


def uid_of(*name: str) -> str:
    """A UID under 2.25 (PS3.5 B.2), the same for the same name."""
    return f"2.25.{uuid5(_NAMES, ':'.join(name)).int}"


def short(text: str) -> str:
    return text[:_LONGEST]


def measurement_report(result: Result, reading: Reading, evidence: Sequence[Dataset]) -> MeasurementReport:
    """Raises nothing of its own; `evidence` has one header for each image of the job, in their order."""
    algorithm = _algorithm(reading)
    regions = list(_regions(reading, evidence))
    report = MeasurementReport(
        observation_context=_observer(reading),
        procedure_reported=codes.SCT.LightMicroscopy,
        imaging_measurements=[
            _evaluations(result, reading, evidence, algorithm),
            *(
                _in_space(number, result, evidence[patch.image], points, algorithm)
                for number, (patch, points) in enumerate(regions, start=1)
                if points is not None
            ),
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )
    unplaced = [patch for patch, points in regions if points is None]
    report[0].ContentSequence.append(_words(result, reading, unplaced))
    return report


def _observer(reading: Reading) -> ObservationContext:
    """TID 1004: the device is the model with these weights."""
    provenance = reading.provenance
    device = DeviceObserverIdentifyingAttributes(
        uid=uid_of("device", provenance.model, provenance.weights_digest),
        name="Pathlane",
        manufacturer_name="Pathlane",
        model_name=provenance.model,
        serial_number=provenance.weights_digest,
    )
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )


def _algorithm(reading: Reading) -> AlgorithmIdentification:
    """TID 4019."""
    digest = reading.provenance.weights_digest
    return AlgorithmIdentification(
        name=reading.provenance.model,
        version=digest[: len("sha256:") + _DIGEST_LETTERS],
        family=codes.DCM.ArtificialIntelligence,
        parameters=[f"prompt {reading.provenance.prompt_version}"],
    )


def _evaluations(
    result: Result, reading: Reading, evidence: Sequence[Dataset], algorithm: AlgorithmIdentification
) -> MeasurementsAndQualitativeEvaluations:
    """TID 1501, of the images as a whole."""
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=uid_of("reading", result.job_id), identifier=short(result.job_id)
        ),
        algorithm_id=algorithm,
        qualitative_evaluations=list(_coded(result, reading)),
        source_images=[
            SourceImageForMeasurementGroup(
                referenced_sop_class_uid=header.SOPClassUID, referenced_sop_instance_uid=header.SOPInstanceUID
            )
            for header in evidence
        ],
    )


def _coded(result: Result, reading: Reading) -> Iterator[QualitativeEvaluation]:
    """The answer, where it is one of the options; the triage class; what went wrong, where something did."""
    number = OPTION_LETTERS.find(reading.choice) if reading.choice else -1
    if 0 <= number < len(result.question.options):
        asked = _question(result.question)
        option = result.question.options[number]
        yield QualitativeEvaluation(
            name=CodedConcept(asked, SCHEME, short(result.question.text)),
            value=CodedConcept(f"{asked}/{reading.choice}", SCHEME, short(option)),
        )
    yield QualitativeEvaluation(
        name=CodedConcept("triage", SCHEME, "Triage class"),
        value=CodedConcept(f"triage/{result.triage.value}", SCHEME, _MEANS[result.triage]),
    )
    if reading.outcome is not ReadingOutcome.ANSWERED:
        yield QualitativeEvaluation(
            name=CodedConcept("outcome", SCHEME, "Outcome of the reading"),
            value=CodedConcept(f"outcome/{reading.outcome.value}", SCHEME, reading.outcome.value),
        )


def _question(question: Question) -> str:
    return f"{question.protocol}/{question.version}/{question.name}"


def _regions(
    reading: Reading, evidence: Sequence[Dataset]
) -> Iterator[tuple[PatchRecord, tuple[Point, ...] | None]]:
    """Which part of which image was shown to the model. A box inside one numbered frame is not placed."""
    for patch in reading.provenance.patches:
        if patch.region is not None and patch.image < len(evidence):
            placed = None if patch.frame is not None else polygon(evidence[patch.image], patch.region)
            yield patch, placed


def _in_space(
    number: int,
    result: Result,
    header: Dataset,
    points: Sequence[Point],
    algorithm: AlgorithmIdentification,
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """TID 1410: where the model looked. What it said is said once, of all regions together."""
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=uid_of("region", result.job_id, str(number)), identifier=f"Region {number}"
        ),
        referenced_region=ImageRegion3D(
            graphic_type=GraphicTypeValues3D.POLYGON,
            graphic_data=np.asarray(points, dtype=float),
            frame_of_reference_uid=header.FrameOfReferenceUID,
        ),
        finding_type=codes.DCM.SelectedRegion,
        algorithm_id=algorithm,
    )


def _words(result: Result, reading: Reading, unplaced: Sequence[PatchRecord]) -> ContainerContentItem:
    """TID 1500 row 12, Qualitative Evaluations: what cannot be coded."""
    provenance = reading.provenance
    said = [
        ("question", "Question", result.question.text),
        ("answer", "Answer", reading.answer),
        ("reasoning", "Reasoning", reading.reasoning),
        ("notice", "Notice", f"{DRAFT} {provenance.notice}".strip()),
        ("license", "Model licence", provenance.license),
        *(
            ("region", "Region in pixels", f"image {patch.image + 1}: x, y, width, height = {patch.region}")
            for patch in unplaced
        ),
    ]
    container = ContainerContentItem(
        name=CodedConcept("C0034375", "UMLS", "Qualitative Evaluations"),
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    container.ContentSequence = ContentSequence(
        [
            TextContentItem(
                name=CodedConcept(f"text/{code}", SCHEME, meaning),
                value=text,
                relationship_type=RelationshipTypeValues.CONTAINS,
            )
            for code, meaning, text in said
            if text
        ]
    )
    return container
