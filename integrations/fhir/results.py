"""Results: a reading in the light of its order, as one R4 transaction.

In: a Result, its Reading, the time, our base URL. Out: a Bundle with a Device (the model), an Observation
(the answer), a DiagnosticReport (the draft) and a Provenance (how it came about), each created only where it
is not there already: sent twice, it makes one. Everything is preliminary and labelled as asserted by an AI.

What a laboratory's order names is referred to by its identifiers, since orders keep no ids of servers. A
Device is never a performer: R4 allows people and organisations there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from integrations.fhir import provenance, references
from integrations.fhir.elements import writable
from integrations.fhir.terms import (
    ABSENT,
    ACT_REASON,
    AI_ASSERTED,
    AI_DEVICE,
    ARTIFICIAL_INTELLIGENCE,
    OBSERVATION_CATEGORY,
    OBSERVATION_VALUE,
    PATHOLOGY_REPORT,
    REQUEST_PRIORITY,
    SERVICE_SECTION,
    TEST_HEALTH_DATA,
)
from worker.jobs.order import Order, Question, Result, TriageClass
from worker.jobs.reading import Reading, ReadingOutcome
from worker.jobs.request import OPTION_LETTERS

Json = dict[str, Any]

#: outcome -> R4 data-absent-reason: it was not done, or something went wrong while it was
ABSENT_REASON: Final = {
    ReadingOutcome.UNPARSED: "error",
    ReadingOutcome.TRUNCATED: "error",
    ReadingOutcome.DEADLINE: "error",
    ReadingOutcome.NO_TISSUE_FOUND: "not-performed",
    ReadingOutcome.CANCELLED: "not-performed",
}
TRIAGE_DISPLAY: Final = {
    TriageClass.STAT: "Raise to STAT",
    TriageClass.URGENT: "Raise to urgent",
    TriageClass.FLAG: "Flag for review",
    TriageClass.NOTHING: "No change",
}
DRAFT: Final = "AI draft, not reviewed."


def identifier_system(base: str) -> str:
    """The system of our results' identifiers; `orders_of` knows our own reports by it."""
    return f"{base.rstrip('/')}/fhir/job"


def result_bundle(result: Result, reading: Reading, *, at: datetime, base: str) -> Json:
    """The transaction. `at` is when it is written; `base` is our public URL, the root of our identifiers."""
    root = f"{base.rstrip('/')}/fhir"
    system = identifier_system(base)
    names = {
        part: f"{result.job_id}-{part}" for part in ("observation", "report", "provenance")
    }  # fmt: skip
    urns = {part: f"urn:uuid:{uuid5(NAMESPACE_URL, f'{system}|{name}')}" for part, name in names.items()}
    digest = reading.provenance.weights_digest
    urns["device"] = f"urn:uuid:{uuid5(NAMESPACE_URL, f'{root}/model|{digest}')}"
    observation = _observation(result, reading, root=root, identifier=(system, names["observation"]))
    observation["device"] = {"reference": urns["device"]}
    report = _report(result, reading, identifier=(system, names["report"]))
    report["result"] = [{"reference": urns["observation"]}]
    recorded = provenance.resource(
        result, reading, recorded=instant(at), root=root, system=system, urns=urns, tag=names["provenance"]
    )
    entries = (
        (urns["device"], _device(reading, root), f"identifier={root}/model|{digest}"),
        (urns["observation"], observation, f"identifier={system}|{names['observation']}"),
        (urns["report"], report, f"identifier={system}|{names['report']}"),
        # R4's Provenance has no identifier; every resource has tags, and every server searches for them.
        (urns["provenance"], recorded, f"_tag={system}|{names['provenance']}"),
    )
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [
            {
                "fullUrl": urn,
                "resource": resource,
                "request": {"method": "POST", "url": resource["resourceType"], "ifNoneExist": condition},
            }
            for urn, resource, condition in entries
        ],
    }


def instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _device(reading: Reading, root: str) -> Json:
    """The model: only what its weights decide, since the first to be written stays."""
    known = reading.provenance
    return {
        "resourceType": "Device",
        "identifier": [{"system": f"{root}/model", "value": known.weights_digest}],
        "deviceName": [{"name": writable(known.model) or "model", "type": "model-name"}],
        "type": {
            "coding": [{"system": AI_DEVICE, "code": ARTIFICIAL_INTELLIGENCE}],
            "text": "Artificial intelligence, for research use",
        },
        "version": [{"type": {"text": "Digest of the weights"}, "value": known.weights_digest}],
        "note": [{"text": text} for text in (f"Licence: {known.license}", writable(known.notice)) if text],
    }


def _observation(result: Result, reading: Reading, *, root: str, identifier: tuple[str, str]) -> Json:
    return {
        "resourceType": "Observation",
        **_common(result, identifier),
        "status": "preliminary",
        "category": [{"coding": [{"system": OBSERVATION_CATEGORY, "code": "laboratory"}]}],
        "code": _question(result.question, root),
        **references.observed(result.order),
        **_value(result.question, reading, root),
        "component": [_triage(result, root), _priority(result, root)],
        "note": [{"time": instant(result.observed_at), "text": text} for text in _notes(result, reading)],
    }


def _report(result: Result, reading: Reading, *, identifier: tuple[str, str]) -> Json:
    return {
        "resourceType": "DiagnosticReport",
        **_common(result, identifier),
        "status": "preliminary",
        "category": [{"coding": [{"system": SERVICE_SECTION, "code": "PAT"}]}],
        "code": {"coding": [PATHOLOGY_REPORT]},
        **references.reported(result.order),
        "conclusion": _conclusion(result, reading),
    }


def _common(result: Result, identifier: tuple[str, str]) -> Json:
    return {
        "meta": {"security": security(result.order)},
        "identifier": [{"system": identifier[0], "value": identifier[1]}],
        "issued": instant(result.observed_at),
    }


def security(order: Order) -> list[Json]:
    ai = {"system": OBSERVATION_VALUE, "code": AI_ASSERTED, "display": "Artificial Intelligence asserted"}
    test = {"system": ACT_REASON, "code": TEST_HEALTH_DATA, "display": "test health data"}
    return [ai, test] if order.is_test else [ai]


def _question(question: Question, root: str) -> Json:
    code = "/".join(map(str, (question.protocol, question.version, question.name)))
    return {"coding": [{"system": f"{root}/question", "code": _token(code)}], "text": writable(question.text)}


def _value(question: Question, reading: Reading, root: str) -> Json:
    if reading.outcome is not ReadingOutcome.ANSWERED:
        coding = {"system": ABSENT, "code": ABSENT_REASON[reading.outcome]}
        return {"dataAbsentReason": {"coding": [coding], "text": reading.outcome.value}}
    value: Json = {"text": writable(reading.answer)}
    place = OPTION_LETTERS.find(reading.choice) if reading.choice else -1
    if 0 <= place < len(question.options):
        system = f"{root}/question/{_token(question.protocol)}/{question.version}/{_token(question.name)}"
        option = writable(question.options[place])
        value["coding"] = [{"system": system, "code": reading.choice, "display": option}]
    return {"valueCodeableConcept": value}


def _triage(result: Result, root: str) -> Json:
    coding = {
        "system": f"{root}/triage",
        "code": result.triage.value,
        "display": TRIAGE_DISPLAY[result.triage],
    }
    return {
        "code": {"coding": [{"system": f"{root}/triage", "code": "class"}], "text": "Triage class"},
        "valueCodeableConcept": {"coding": [coding]},
    }


def _priority(result: Result, root: str) -> Json:
    """The case's priority after triage: the laboratory's own, or a higher one."""
    coding = {"system": REQUEST_PRIORITY, "code": result.priority.value}
    return {
        "code": {
            "coding": [{"system": f"{root}/triage", "code": "priority"}],
            "text": "Priority after triage",
        },
        "valueCodeableConcept": {"coding": [coding]},
    }


def _notes(result: Result, reading: Reading) -> Iterator[str]:
    """Reasoning goes out with an answer alone: half of it could be read as a finding."""
    answered = reading.outcome is ReadingOutcome.ANSWERED
    yield DRAFT if answered else f"{DRAFT} The model came to no answer ({reading.outcome.value})."
    if result.supersedes is not None:
        yield "It replaces an earlier AI draft about the same question."
    if answered and (reasoning := writable(reading.reasoning)):
        yield reasoning
    if notice := writable(reading.provenance.notice):
        yield notice


def _conclusion(result: Result, reading: Reading) -> str:
    answered = reading.outcome is ReadingOutcome.ANSWERED
    said = writable(reading.answer) if answered else f"No answer ({reading.outcome.value})."
    again = ["It replaces an earlier AI draft."] if result.supersedes is not None else []
    return " ".join((DRAFT, *again, said))


def _token(text: str) -> str:
    """What R4's `code` and a URL allow."""
    return re.sub(r"[^A-Za-z0-9._~/-]+", "-", text)
