"""Telling: one delivery goes out on the channel that its endpoint's address names.

In: a claimed delivery, the time, a chance. Out: an Outcome. What is no longer true is not told: a reading
that a newer one replaced, whose image was withdrawn, or whose case was signed out. It does not know how
any channel speaks; each is a function it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from integrations.triage import judge, priority_after
from worker.jobs.event import Delivery, DeliveryStatus, Outcome
from worker.jobs.order import Result
from worker.jobs.reading import Reading
from worker.store.cases import Cases, Standing, Validity
from worker.store.jobs import Jobs

#: sends what a webhook is told
TellEvent = Callable[[Delivery, datetime, float], Outcome]
#: sends a reading in the light of its order
TellResult = Callable[[Delivery, Result, Reading, datetime, float], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    jobs: Jobs
    #: None where no orders are taken: there are no keys to read them with
    cases: Cases | None
    webhook: TellEvent
    #: by the scheme of an endpoint's URL: `mllp`, `fhir+https`, `dicomweb+https` ...
    channels: Mapping[str, TellResult]

    def attempt(self, delivery: Delivery, *, now: datetime, chance: float) -> Outcome:
        """Send `delivery` once, if it is still true."""
        job_id = delivery.job_id
        standing = self.cases.standing(job_id) if self.cases and job_id else None
        if standing is not None and standing.validity is not Validity.CURRENT:
            return Outcome(status=DeliveryStatus.DROPPED, reason=standing.validity.value)
        scheme = urlsplit(delivery.endpoint.url).scheme
        if scheme in {"http", "https"}:
            return self.webhook(delivery, now, chance)
        tell = self.channels.get(scheme)
        if tell is None:
            return _set_aside("no_channel")
        reading = self.jobs.reading(job_id) if job_id else None
        if job_id is None or standing is None or reading is None:
            return _set_aside("no_order" if standing is None else "no_reading")
        return tell(delivery, _result(job_id, standing, reading), reading, now, chance)


def _result(job_id: str, standing: Standing, reading: Reading) -> Result:
    return Result(
        job_id=job_id,
        order=standing.order,
        question=standing.question,
        triage=judge(standing.question, reading),
        priority=priority_after(standing.order, standing.question, reading),
        supersedes=standing.supersedes,
        observed_at=standing.observed_at,
    )


def _set_aside(reason: str) -> Outcome:
    return Outcome(status=DeliveryStatus.EXHAUSTED, reason=reason)
