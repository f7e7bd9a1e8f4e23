"""Values for tests: complete, and different from each other only where a test says so."""

from __future__ import annotations

from typing import Any

from worker.jobs.order import Channel, Mode, Order, Patient, Question, Sender, Verb
from worker.jobs.reading import DEMONSTRATION, PatchRecord, Provenance, Reading, ReadingOutcome
from worker.jobs.request import JobRequest, parse_request

STAINS = ("Hematoxylin and eosin", "Immunohistochemistry with DAB", "No tissue")


def a_request(**fields: Any) -> JobRequest:
    body = {"images": [{"reference": "upload:sha256-" + "0" * 64}], "question": "Which stain is shown?"}
    return parse_request(body | fields)


def a_reading(**fields: Any) -> Reading:
    patch = PatchRecord(
        image=0, source_digest="sha256:aa", pixels_digest="sha256:bb", format="PNG", width=512, height=512,
        region=(0, 0, 10, 20), steps=("icc to sRGB",),
    )  # fmt: skip
    provenance = Provenance(
        model="demo", weights_digest="sha256:cc", license="Apache-2.0", notice=DEMONSTRATION, prompt_version="1",
        decoding={"do_sample": False}, engine="fake", rows=1, dtype="float32", device="cpu", seed=0,
        software={"pathlane": "0"}, patches=(patch,),
    )  # fmt: skip
    reading = {
        "outcome": ReadingOutcome.ANSWERED, "reasoning": "Brown chromogen.", "answer": "B. DAB", "choice": "B",
        "raw_text": "<think>Brown chromogen.</think><answer>B. DAB</answer>", "prompt_tokens": 40,
        "completion_tokens": 12, "timings": {"engine": 0.5}, "provenance": provenance,
    }  # fmt: skip
    return Reading(**reading | fields)


def an_order(verb: Verb = Verb.AVAILABLE, **fields: Any) -> Order:
    order = {
        "sender": Sender(channel=Channel.HL7, application="IMA", facility="PATH"), "accession": "S26-0001",
        "slide": "S26-0001-A1", "series_uid": "1.2.3", "images": ("upload:sha256-" + "0" * 64,),
        "patient": Patient(id="123", authority="HIS", family="MÜLLER", given="ZOË"),
    }  # fmt: skip
    return Order(verb=verb, **order | fields)


def a_question(**fields: Any) -> Question:
    question = {
        "protocol": "stain-check", "version": 1, "name": "stain", "text": "Which stain is shown?",
        "options": STAINS, "triage": {"immunohistochemistry with dab": "urgent", "no tissue": "flag"},
        "mode": Mode.LIVE, "rule": "everything",
    }  # fmt: skip
    return Question(**question | fields)
