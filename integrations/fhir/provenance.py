"""Provenance: how a result came about, after the AI Transparency on FHIR guide (1.0.0-ballot, a draft).

In: a Result, its Reading, the names of the other resources. Out: one Provenance. The model is its agent; no
human is, until one has reviewed the draft, which is the laboratory's to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from integrations.fhir import references
from integrations.fhir.terms import (
    AI_ASSERTED,
    AI_DEVICE,
    ARTIFICIAL_INTELLIGENCE,
    OBSERVATION_VALUE,
    PARTICIPANT,
)
from worker.jobs.order import Result
from worker.jobs.reading import Reading

Json = dict[str, Any]


def resource(
    result: Result,
    reading: Reading,
    *,
    recorded: str,
    root: str,
    system: str,
    urns: Mapping[str, str],
    tag: str,
) -> Json:
    """`urns` are the fullUrls of the other entries; `tag` is what the server finds it again by."""
    return {
        "resourceType": "Provenance",
        "meta": {"tag": [{"system": system, "code": tag}]},
        "target": [{"reference": urns["observation"]}, {"reference": urns["report"]}],
        "recorded": recorded,
        "reason": [{"coding": [{"system": OBSERVATION_VALUE, "code": AI_ASSERTED}]}],
        "agent": [
            {
                "type": {"coding": [{"system": PARTICIPANT, "code": "assembler"}]},
                "role": [{"coding": [{"system": AI_DEVICE, "code": ARTIFICIAL_INTELLIGENCE}]}],
                "who": {"reference": urns["device"]},
            }
        ],
        "entity": list(_entities(result, reading, root, system)),
    }


def _entities(result: Result, reading: Reading, root: str, system: str) -> Iterator[Json]:
    for what in references.image(result.order):
        yield {"role": "source", "what": what}
    # The bytes that were read, whatever the archive does to them later.
    for digest in dict.fromkeys(patch.source_digest for patch in reading.provenance.patches):
        yield {"role": "source", "what": {"identifier": {"system": f"{root}/image", "value": digest}}}
    prompt = {"system": f"{root}/prompt", "value": reading.provenance.prompt_version}
    yield {"role": "derivation", "what": {"type": "DocumentReference", "identifier": prompt}}
    if result.supersedes is not None:
        earlier = {"system": system, "value": f"{result.supersedes}-observation"}
        yield {"role": "revision", "what": {"type": "Observation", "identifier": earlier}}
