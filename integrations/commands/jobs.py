"""For whoever asks: submit, show, cancel."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from integrations import account
from integrations.commands.place import (
    Place,
    data_option,
    json_option,
    leave,
    open_place,
    print_json,
    tells_errors,
)
from integrations.commands.references import Part, reference_of
from integrations.view import job_document
from worker import traces
from worker.jobs.job import Job
from worker.jobs.request import JobRequest, Priority, Style, parse_request

SUBMITTER = "command-line"
POLL_SECONDS = 0.1
#: a worker that has not reported for so long is not counted on
WORKER_SILENT_SECONDS = 60.0


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--question", required=True, help="What is asked about the image.")
@click.option("--option", "options", multiple=True, help="A possible answer; give it two to 26 times.")
@click.option("--style", type=click.Choice([s.value for s in Style]), default="cot", show_default=True)
@click.option(
    "--priority", type=click.Choice([p.value for p in Priority]), default="routine", show_default=True
)
@click.option(
    "--region", help="X,Y,WIDTH,HEIGHT of every image, in pixels; of slides also X,Y,WIDTH,HEIGHTmm."
)
@click.option(
    "--magnification", type=float, help="Of a slide's region or windows; 20 is 0.5 microns per pixel."
)
@click.option("--windows", type=int, help="Windows that are chosen on a slide without a region, 1 to 16.")
@click.option("--frame", type=int, help="DICOM frame number or TIFF page, from 1.")
@click.option("--due-at", help="When the answer is wanted: 2026-11-23T18:00:00Z.")
@click.option("--timeout", type=float, help="Seconds one attempt may spend in the model.")
@click.option("--key", "idempotency_key", help="Idempotency key: the same key never makes a second job.")
@click.option("--correlation-id", help="An id of your own, given back in every event.")
@click.option("--endpoint", "endpoints", multiple=True, help="Tell this endpoint only; may be repeated.")
@click.option("--wait", is_flag=True, help="Wait until the job has ended.")
@click.option("--wait-seconds", type=float, default=3600, show_default=True, help="How long to wait at most.")
@json_option
@data_option
@tells_errors
def submit(
    images: tuple[str, ...],
    *,
    wait: bool,
    wait_seconds: float,
    as_json: bool,
    data: Path | None,
    **asked: Any,
) -> None:
    """Ask a question about one to eight images (files, or file:, upload:, https:, s3:, dicomweb: references).

    A folder is one image: the whole slide whose DICOM series lies in it.

    \b
    pathlane submit tile.png --question "Which stain is shown?" --wait
    pathlane submit a.dcm --data .pathlane --question "Which stain is shown?" \\
        --option "Hematoxylin and eosin" --option "No tissue" --priority stat --wait --json
    pathlane submit slide/ --magnification 20 --windows 6 --question "Which stain is shown?"
    pathlane submit slide.svs --region 2.5,1,0.8,0.8mm --question "Which stain is shown?"
    """
    place = open_place(data)
    part = Part(**{name: asked[name] for name in ("region", "frame", "magnification", "windows")}).fields()
    references = [{"reference": reference_of(image, place.settings.imaging)} | part for image in images]
    body = {name: asked[name] for name in ("question", "style", "priority", "due_at", "timeout",
            "idempotency_key", "correlation_id") if asked[name] is not None}  # fmt: skip
    body |= {"images": references, "options": list(asked["options"])}
    body |= {"endpoints": list(asked["endpoints"])} if asked["endpoints"] else {}
    job = _submitted(place, parse_request(body))
    if not place.ring():
        click.echo(
            "pathlane: stored, but the broker does not answer; a worker's sweep will find it", err=True
        )
    if wait:
        job = _wait_for(place, job, wait_seconds)
    _print(place, job, as_json=as_json)
    if wait and job.status.value != "succeeded":
        sys.exit(1)


@click.command()
@click.argument("job_id", metavar="ID")
@json_option
@data_option
@tells_errors
def show(job_id: str, *, as_json: bool, data: Path | None) -> None:
    """One job, with its reading and deliveries. The audit keeps who was shown a reading.

    \b
    pathlane show job_01ARZ3NDEKTSV4RRFFQ69G5FAV --data .pathlane --json
    """
    place = open_place(data)
    _print(place, place.jobs.get(job_id), as_json=as_json)


@click.command()
@click.argument("job_id", metavar="ID")
@data_option
@tells_errors
def cancel(job_id: str, *, data: Path | None) -> None:
    """Take a job back: a queued one at once, a running one within a step."""
    place = open_place(data)
    job, _ = place.jobs.cancel(job_id, actor=place.actor)
    click.echo(job.status.value if job.status.is_terminal else "cancelling")


def _submitted(place: Place, request: JobRequest) -> Job:
    traces.configure("command-line", place.settings.telemetry.traces_url)
    began = account.now()
    submission = place.jobs.submit(request, submitter=SUBMITTER, actor=place.actor)
    if submission.is_new:
        account.tell_submitted(submission.job.id, channel="command-line", began=began, ended=account.now())
    return submission.job


def _wait_for(place: Place, job: Job, seconds: float) -> Job:
    end = time.monotonic() + seconds
    if not place.workers.alive(within_seconds=WORKER_SILENT_SECONDS):
        click.echo("pathlane: no worker is running; `pathlane up` or `pathlane worker` starts one", err=True)
    from rich.console import Console  # noqa: PLC0415  only waiting needs it

    with Console(stderr=True).status("queued") as status:
        while not job.status.is_terminal:
            if time.monotonic() > end:
                leave(f"{job.id} has not ended after {timedelta(seconds=seconds)}; it goes on", 3)
            time.sleep(POLL_SECONDS)
            job = place.jobs.get(job.id)
            status.update(job.status.value)
    return job


def _print(place: Place, job: Job, *, as_json: bool) -> None:
    reading = place.jobs.hand_out(job.id, actor=place.actor)
    if as_json:
        document = job_document(
            job,
            reading,
            place.outbox.of_job(job.id),
            reviews=place.reviews.count(job.id),
            origin=place.listing.origin(job.id),
        )
        print_json(document)
        return
    click.echo(f"{job.id}  {job.status.value}  {job.priority.value}")
    if job.error_text:
        click.echo(f"  {job.error_code}: {job.error_text}")
    if reading is not None:
        click.echo(f"  outcome    {reading.outcome.value}\n  reasoning  {reading.reasoning}")
        click.echo(f"  answer     {reading.answer}\n  notice     {reading.provenance.notice}")
