"""The demonstration itself: submit every case over HTTP, wait for every webhook, say what came.

In: a running stack, cases and a receiver. Out: rows for a table, and whether all arrived and verified.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from integrations.demo.cases import QUESTION, Case
from integrations.demo.receiver import Receiver
from integrations.stack import Stack

SECONDS = 300.0
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    case: Case
    job: dict[str, Any]
    #: the webhook-id, once it has arrived and verified
    webhook: str | None

    @property
    def answer(self) -> str:
        return str((self.job["reading"] or {}).get("answer", ""))

    @property
    def is_right(self) -> bool:
        return self.answer.endswith(self.case.truth)

    @property
    def is_told(self) -> bool:
        return self.job["status"] == "succeeded" and self.webhook is not None


def submit(client: httpx.Client, case: Case) -> str:
    """Upload the picture and ask; gives the job's id."""
    sent = client.post("/v1/uploads", content=case.file.read_bytes()).raise_for_status()
    body = {
        "images": [{"reference": sent.json()["reference"]}], "question": QUESTION, "options": case.options,
        "priority": case.priority, "style": case.style, "correlation_id": case.file.stem,
    }  # fmt: skip
    return str(client.post("/v1/jobs", json=body).raise_for_status().json()["id"])


def run(stack: Stack, cases: Sequence[Case], receiver: Receiver, tick: Callable[[int], None]) -> list[Row]:
    """Submit all, wait for all. `tick` is told how many have arrived."""
    headers = {"authorization": f"Bearer {stack.api_key}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=30, trust_env=False) as client:
        ids = [submit(client, case) for case in cases]
        end = time.monotonic() + SECONDS

        def settled() -> bool:
            told = sum(receiver.of_job(job_id) is not None for job_id in ids)
            tick(told)
            return told == len(ids) or time.monotonic() > end

        stack.supervisor.watch(until=settled)
        found = [client.get(f"/v1/jobs/{job_id}").raise_for_status().json() for job_id in ids]
    return [
        Row(case=case, job=job, webhook=receiver.of_job(job["id"]))
        for case, job in zip(cases, found, strict=True)
    ]


def make_folder(data: Path) -> Path:
    folder = data / "pictures"
    folder.mkdir(parents=True)
    return folder
