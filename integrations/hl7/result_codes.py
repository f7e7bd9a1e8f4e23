"""Codes of results: what stands in OBX-3, OBR-4, TQ1-9 and in coded answers.

They are part of the interface, under the local coding system 99PATHLANE: a code is never given a new meaning.
"""

from __future__ import annotations

from typing import Final

from worker.jobs.order import Code, TriageClass
from worker.jobs.reading import ReadingOutcome
from worker.jobs.request import Priority

SYSTEM: Final = "99PATHLANE"

#: OBX-3: code -> text
OBSERVATIONS: Final = {
    "ANSWER": "Answer",
    "TRIAGE": "Triage class",
    "REASONING": "Reasoning",
    "OUTCOME": "Outcome of the reading",
    "PROTOCOL": "Question protocol",
    "PROTOCOL-VERSION": "Version of the question protocol",
    "QUESTION-NAME": "Name of the question",
    "QUESTION": "Question",
    "MODEL": "Model",
    "WEIGHTS": "Digest of the model's weights",
    "LICENSE": "Licence of the model",
    "NOTICE": "Notice of the model",
    "JOB": "Job",
    "SUPERSEDES": "Job whose reading this one replaces",
    "STUDY": "DICOM Study Instance UID",
    "SERIES": "DICOM Series Instance UID",
}
METHOD: Final = ("VLM", "Reading by a vision-language model")
#: OBR-4, where the order names no procedure
PROCEDURE: Final = Code(code="SLIDE-READING", text="Slide reading", system=SYSTEM)
#: SPM-4 is required: tissue, where the order does not say (HL70487)
SPECIMEN: Final = Code(code="TISS", text="Tissue", system="HL70487")
#: TQ1-9 (HL70485)
PRIORITIES: Final = {
    Priority.STAT: Code(code="S", text="Stat", system="HL70485"),
    Priority.URGENT: Code(code="A", text="ASAP", system="HL70485"),
    Priority.ROUTINE: Code(code="R", text="Routine", system="HL70485"),
}
TRIAGE: Final = {
    TriageClass.STAT: Code(code="STAT", text="Raise to STAT", system=SYSTEM),
    TriageClass.URGENT: Code(code="URGENT", text="Raise to urgent", system=SYSTEM),
    TriageClass.FLAG: Code(code="FLAG", text="Flag for review", system=SYSTEM),
    TriageClass.NOTHING: Code(code="NOTHING", text="Nothing to change", system=SYSTEM),
}
OUTCOMES: Final = {
    ReadingOutcome.ANSWERED: Code(code="ANSWERED", text="Answered", system=SYSTEM),
    ReadingOutcome.UNPARSED: Code(code="UNPARSED", text="Not in the form that was asked for", system=SYSTEM),
    ReadingOutcome.TRUNCATED: Code(code="TRUNCATED", text="Ran into the token limit", system=SYSTEM),
    ReadingOutcome.DEADLINE: Code(code="DEADLINE", text="Ran into the time limit", system=SYSTEM),
    ReadingOutcome.NO_TISSUE_FOUND: Code(
        code="NO_TISSUE_FOUND", text="No tissue on the slide", system=SYSTEM
    ),
    ReadingOutcome.CANCELLED: Code(code="CANCELLED", text="Cancelled", system=SYSTEM),
}
#: coding systems of FHIR by their HL7 names (table 0396)
SYSTEMS: Final = {"http://snomed.info/sct": "SCT", "http://loinc.org": "LN"}
