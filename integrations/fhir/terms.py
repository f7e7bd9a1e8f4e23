"""Terms: the coding systems and codes that this room reads and writes, each as its standard spells it.

In: nothing. Out: constants. A test holds them against the value sets that HL7 publishes with R4 (4.0.1); two
systems are not in there and marked so.
"""

from __future__ import annotations

from typing import Final

SNOMED: Final = "http://snomed.info/sct"
LOINC: Final = "http://loinc.org"
#: FHIR's name of a coding system -> HL7 v2's (table 0396), which rules and orders use
SHORT: Final = {SNOMED: "SCT", LOINC: "LN"}

DICOM_UID: Final = "urn:dicom:uid"
#: DICOM CID 29: slide microscopy
SLIDE_MICROSCOPY: Final = "SM"

#: table 0203, as `http://terminology.hl7.org/CodeSystem/v2-0203` has it
IDENTIFIER_TYPE: Final = "http://terminology.hl7.org/CodeSystem/v2-0203"
ACCESSION, PLACER, FILLER, MEDICAL_RECORD = "ACSN", "PLAC", "FILL", "MR"

OBSERVATION_CATEGORY: Final = "http://terminology.hl7.org/CodeSystem/observation-category"
SERVICE_SECTION: Final = "http://terminology.hl7.org/CodeSystem/v2-0074"
ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
PARTICIPANT: Final = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
REQUEST_PRIORITY: Final = "http://hl7.org/fhir/request-priority"
ACT_REASON: Final = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
#: R4, "Test data": what is not about a real patient
TEST_HEALTH_DATA: Final = "HTEST"

#: terminology.hl7.org; newer than the copy published with R4
OBSERVATION_VALUE: Final = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
AI_ASSERTED: Final = "AIAST"
#: AI Transparency on FHIR, 1.0.0-ballot: a draft
AI_DEVICE: Final = "http://hl7.org/fhir/uv/aitransparency/CodeSystem/AIdeviceTypeCS"
ARTIFICIAL_INTELLIGENCE: Final = "Artificial-Intelligence"

PATHOLOGY_REPORT: Final = {
    "system": LOINC,
    "code": "60567-5",
    "display": "Comprehensive pathology report panel",
}

#: SNOMED CT: a microscope slide as a container, a tissue section as a specimen
SLIDE_CONTAINERS: Final = frozenset({"433466003"})
SLIDE_SPECIMENS: Final = frozenset({"430856003"})

#: R4 value set IssueType: the only words of an OperationOutcome that are repeated
ISSUE_TYPES: Final = frozenset({
    "invalid", "structure", "required", "value", "invariant", "security", "login", "unknown", "expired",
    "forbidden", "suppressed", "processing", "not-supported", "duplicate", "multiple-matches", "not-found",
    "deleted", "too-long", "code-invalid", "extension", "too-costly", "business-rule", "conflict",
    "transient", "lock-error", "no-store", "exception", "timeout", "incomplete", "throttled",
    "informational",
})  # fmt: skip
