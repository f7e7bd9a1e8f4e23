"""The ways of a case, each with canaries in everything that a case can say, and each way's failures.

In: a stack, files with canaries, what watches. Out: what every caller was told. It judges nothing.
"""

from __future__ import annotations

import io
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pydicom
from PIL import Image, PngImagePlugin
from pynetdicom.ae import ApplicationEntity as AE

from integrations.demo import cases
from tests.acceptance.conftest import PATHLANE, Up
from tests.canaries import BY_CELERY, Canary
from tests.messages import STAT, lab_104
from tests.slides import Recipe, dicom_series
from worker.settings import embedded_socket

#: where a word stands, and its word
WORDS = {
    place: Canary(place)
    for place in (
        "question", "option", "label", "file", "contents", "name", "id", "birth", "address", "physician",
        "private", "comment", "nested", "barcode", "study", "acc", "slide", "note", "reason", "field", "endpoint",
        "route", "token", "trace", "host", "receiver", "review",
    )
}  # fmt: skip
CELERY = Canary("question", root=BY_CELERY)
OPTIONS = [f"Immunohistochemistry with DAB {WORDS['option']}", f"No tissue {WORDS['option']}"]
ENDED = ("succeeded", "failed", "cancelled")


def png(picture: Image.Image) -> bytes:
    """With a word in a text chunk."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Description", str(WORDS["contents"]))
    file = io.BytesIO()
    picture.save(file, "PNG", pnginfo=notes)
    return file.getvalue()


def seed(dataset: pydicom.Dataset) -> None:
    """Names in every kind of tag: plain, private, nested, on the label."""
    w = WORDS
    dataset.PatientName, dataset.PatientID = f"{w['name']}^{w['name']}", str(w["id"])
    dataset.OtherPatientNames, dataset.PatientAddress = str(w["name"]), str(w["address"])
    dataset.PatientComments = dataset.ImageComments = str(w["comment"])
    dataset.ReferringPhysicianName = str(w["physician"])
    dataset.StudyDescription, dataset.AccessionNumber = str(w["study"]), str(w["acc"])
    dataset.ContainerIdentifier = str(w["slide"])
    dataset.LabelText, dataset.BarcodeValue = str(w["barcode"]), str(w["barcode"])
    specimen = pydicom.Dataset()
    specimen.SpecimenIdentifier = specimen.SpecimenShortDescription = str(w["nested"])
    dataset.SpecimenDescriptionSequence = [specimen]
    block = dataset.private_block(0x0009, f"{w['private']}", create=True)
    block.add_new(0x01, "LO", str(w["private"]))


def seeded_slide(folder: Path) -> Path:
    """A folder with a DICOM slide, its label and its overview; every file's name is a word."""
    for file in dicom_series(folder, Recipe(labels=True)).paths:
        dataset = pydicom.dcmread(file)
        seed(dataset)
        dataset.save_as(file)
        file.rename(file.with_name(f"{WORDS['file']}-{file.name}"))
    return folder


def seeded_picture(folder: Path, picture: Image.Image) -> Path:
    folder.mkdir()
    file = cases._dicom(folder, picture)
    dataset = pydicom.dcmread(file)
    seed(dataset)
    dataset.save_as(file)
    return file


class Http:
    """Asks over HTTP, and keeps every answer that is none of a reading."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self.client = up.http
        self.client.timeout = 60
        #: where it was said -> what
        self.told: list[tuple[str, str]] = []

    def keep(self, where: str, answer: Any) -> Any:
        self.told.append((f"{where} {answer.status_code}", f"{answer.headers}\n{answer.text}"))
        return answer

    def upload(self, data: bytes) -> str:
        answer = self.keep("upload", self.client.post("/v1/uploads", content=data))
        return answer.json()["reference"]

    def ask(self, *references: str, **more: Any) -> str:
        body = {
            "images": [{"reference": reference} for reference in references],
            "question": f"Which stain does {WORDS['question']} have?",
            "options": OPTIONS,
            "labels": {"note": str(WORDS["label"])},
        }
        return self.client.post("/v1/jobs", json=body | more).raise_for_status().json()["id"]

    def ended(self, job_id: str, seconds: float = 150) -> dict[str, Any]:
        self.up.until(lambda: self.job(job_id)["status"] in ENDED, seconds)
        job = self.job(job_id)
        if job["error"]:
            self.told.append(("error", json.dumps(job["error"])))
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        return self.client.get(f"/v1/jobs/{job_id}").json()

    def refusals(self) -> None:
        """Everything that the API refuses, each with a word in it."""
        w, post, get = WORDS, self.client.post, self.client.get
        good = {"images": [{"reference": "upload:sha256-" + "0" * 64}], "question": str(w["question"])}
        for body in (
            good | {str(w["field"]): str(w["field"])}, good | {"style": str(w["field"])},
            good | {"images": [{"reference": f"{w['file']}:x"}]}, good | {"due_at": str(w["field"])},
            good | {"options": [str(w["option"])]}, good | {"endpoints": [str(w["endpoint"])]},
            good | {"labels": {str(w["label"]): 1}}, {"question": str(w["question"])}, [str(w["field"])],
            good | {"images": [{"reference": f"dicomweb:main/{w['file']}"}]},
        ):  # fmt: skip
            assert self.keep("jobs", post("/v1/jobs", json=body)).status_code == 422
            self.keep("batch", post("/v1/jobs/batch", json={"jobs": [body]}))
        broken = f'{{"question": "{w["question"]}", '
        self.keep("not JSON", post("/v1/jobs", content=broken, headers={"content-type": "application/json"}))
        self.keep("not even text", post("/v1/jobs", content=b"\xff" + str(w["question"]).encode()))
        self.keep("too large", post("/v1/jobs", content=str(w["question"]).encode() * 50_000))
        self.keep("empty", post("/v1/uploads", content=b""))
        for path in (f"/v1/jobs/{w['route']}", f"/{w['route']}", f"/v1/jobs/{w['route']}/reading"):
            assert self.keep("no route", get(path)).status_code in (404, 422)
        self.keep("query", get("/v1/jobs", params={"status": str(w["route"]), str(w["route"]): "1"}))
        self.keep("cursor", get("/v1/jobs", params={"after": str(w["route"]), "cursor": str(w["route"])}))
        self.keep("search", post("/v1/jobs/search", json={"accession": [str(w["acc"])]}))
        wrong = {"authorization": f"Bearer {w['token']}"}
        assert self.keep("key", get("/v1/status", headers=wrong)).status_code == 401
        self.keep("session", post("/v1/session", json={"link": str(w["token"]), "key": str(w["token"])}))
        self.keep("FHIR", post("/v1/fhir/notifications", json={"id": str(w["field"])}, headers=wrong))
        first = post("/v1/jobs", json=good | {"endpoints": []}, headers={"Idempotency-Key": "same"})
        other = good | {"question": f"Another {w['question']}?", "endpoints": []}
        conflict = post("/v1/jobs", json=other, headers={"Idempotency-Key": "same"})
        assert (first.status_code, self.keep("conflict", conflict).status_code) == (202, 409)
        self.keep("trace", get("/v1/status", headers={"traceparent": str(w["trace"]), "x-request-id": "1"}))

    def review(self, job_id: str) -> None:
        self.keep(
            "verdict", self.client.post(f"/v1/jobs/{job_id}/reviews", json={"verdict": str(WORDS["review"])})
        )
        body = {"verdict": "agree", "comment": str(WORDS["review"])}
        self.client.post(f"/v1/jobs/{job_id}/reviews", json=body).raise_for_status()


def bad_images(root: Path) -> dict[str, bytes | str]:
    """What stands behind a reference, or the reference: each ends in a refusal of its own."""
    w = WORDS
    contents = str(w["contents"]).encode()
    dataset = pydicom.dcmread(next(root.glob("picture/*.dcm")))
    dataset.Rows = 3000
    broken = io.BytesIO()
    dataset.save_as(broken)
    labels = next(root.glob("slide/*label.dcm"))
    return {
        "text": b"not an image of " + contents,
        "png": b"\x89PNG\r\n\x1a\n" + contents * 20,
        "jpeg": b"\xff\xd8\xff\xe0" + contents * 20,
        "tiff": b"II*\x00\x08\x00\x00\x00" + contents * 20,
        "dicom": broken.getvalue(),
        "cut": broken.getvalue()[:1500],
        "label": labels.as_uri(),
        "missing": (root / f"{w['file']}.png").as_uri(),
        "not missing but forbidden": f"file:///etc/{w['file']}",
        "host": f"https://{w['host']}.example/{w['file']}?{w['file']}=1",
        "archive": f"dicomweb:{w['host']}/studies/1.2.3",
        "bucket": f"s3://{w['host']}/{w['file']}.svs",
    }


def by_command(up: Up, folder: Path) -> list[tuple[str, str]]:
    """What the command line tells of what it refuses."""
    told = []
    for arguments in (
        (str(folder / f"{WORDS['file']}.png"),), (str(folder), "--due-at", str(WORDS["field"])),
        ("upload:sha256-" + "0" * 64, "--endpoint", str(WORDS["endpoint"])),
    ):  # fmt: skip
        ended = subprocess.run(
            [*PATHLANE, "submit", *arguments, "--question", str(WORDS["question"]), "--data", str(up.data)],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ended.returncode == 2, ended.stderr
        told.append(("command", ended.stdout + ended.stderr))
    return told


def by_celery(up: Up, reference: str) -> None:
    """A request that is taken, and one that is refused."""
    from celery import Celery

    app = Celery(broker=f"redis+socket://{embedded_socket(up.data.resolve())}")
    app.conf.broker_transport_options = {"global_keyprefix": "pathlane:"}
    good = {"images": [{"reference": reference}], "question": str(CELERY), "idempotency_key": "by-celery"}
    for request in (good, {"question": str(CELERY), str(CELERY): 1}):
        app.send_task("pathlane.submit", args=[request], queue="pathlane.submit")
    app.close()


def an_order(control_id: str, **more: Any) -> str:
    """LAB-104 with a word wherever a hospital's system says something of a person or a specimen."""
    w = WORDS
    message = lab_104(control_id, accession=str(w["acc"]), slide=str(w["slide"]), priority=STAT, **more)
    person = (
        f"PID|||{w['id']}^^^HIS&1.2.3&ISO||{w['name']}^{w['name']}^{w['birth']}||19000101|F|||{w['address']}"
    )
    segments = [person if one.startswith("PID") else one for one in message.rstrip("\r").split("\r")]
    segments.insert(2, f"PV1||I|{w['address']}||||{w['physician']}^{w['physician']}")
    segments.append(f"OBX|3|TX|22636-5^Clinical history^LN||{w['note']}||||||F")
    segments.append(f"NTE|1||{w['note']}")
    return "\r".join(segments) + "\r"


def orders(up: Up, series: str) -> list[tuple[str, str]]:
    """Taken and refused; what each was answered."""
    good = an_order("C1", series=series)
    return [
        ("order", exchange(up, good.encode())),
        ("again", exchange(up, good.encode())),
        ("kind", exchange(up, an_order("C2", series=series, kind="BAR^P01").encode())),
        ("field", exchange(up, an_order("C3", series=str(WORDS["file"])).encode())),
        ("no slide", exchange(up, good.replace("C1", "C4").replace("SPM|", "ZZZ|").encode())),
        ("characters", exchange(up, good.replace("C1", "C5").encode() + b"NTE|2||\xff\xfe\r")),
        ("charset", exchange(up, good.replace("C1", "C6").replace("UNICODE UTF-8", str(WORDS["note"])).encode())),
        ("unreadable", exchange(up, f"{WORDS['note']}|{WORDS['name']}".encode())),
        ("unframed", exchange(up, str(WORDS["note"]).encode(), framed=False)),
    ]  # fmt: skip


def exchange(up: Up, message: bytes, *, framed: bool = True) -> str:
    host, port = up.hl7
    with socket.create_connection((host, int(port)), 60) as connection:
        connection.sendall(b"\x0b" + message + b"\x1c\r" if framed else message)
        if not framed:
            return ""
        connection.settimeout(60)
        answer = b""
        with suppress(TimeoutError):
            while b"\x1c\r" not in answer:
                piece = connection.recv(1 << 16)
                if not piece:
                    break
                answer += piece
    return answer.decode("utf-8", "replace")


def by_dicom(port: int, files: list[Path], *, caller: str) -> list[tuple[str, str]]:
    """C-STORE of each file; what was answered."""
    datasets = [pydicom.dcmread(file) for file in files]
    sender, told = AE(caller), []
    for dataset in datasets:
        sender.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = sender.associate("127.0.0.1", port, ae_title="PATHLANE")
    if association.is_established:
        told += [("C-STORE", str(association.send_c_store(dataset))) for dataset in datasets]
        association.release()
    return told


def while_decoders_die(up: Up, http: Http, job_id: str) -> int:
    """Kills every decoder until the job has ended; how many."""
    killed, end = 0, time.monotonic() + 90
    while http.job(job_id)["status"] not in ENDED and time.monotonic() < end:
        for child in decoders(up):
            with suppress(psutil.NoSuchProcess):
                if child.cpu_percent(0.2) > 30:
                    child.kill()
                    killed += 1
    return killed


def decoders(up: Up) -> list[psutil.Process]:
    found = []
    for child in up.children():
        with suppress(psutil.NoSuchProcess):
            if "worker.imaging.child" in child.cmdline():
                found.append(child)
    return found


def slow_picture() -> bytes:
    """Takes a decoder a while, and says a word."""
    file = io.BytesIO()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), np.uint8))
    noise.resize((8000, 8000)).save(file, "JPEG", progressive=True, comment=str(WORDS["contents"]).encode())
    return file.getvalue()


@contextmanager
def standing_still(up: Up, *, seconds: float) -> Iterator[None]:
    """The worker, while the block lasts and `seconds` more: whatever it does in a time is due when it goes on."""
    (pid,) = up.pids()
    worker = psutil.Process(pid)
    worker.suspend()
    try:
        yield
        time.sleep(seconds)
    finally:
        worker.resume()


def in_slow_motion(up: Up, http: Http, job_id: str) -> None:
    """The worker stands still most of the time, until the job has ended."""
    (pid,) = up.pids()
    worker, end = psutil.Process(pid), time.monotonic() + 150
    while http.job(job_id)["status"] not in ENDED and time.monotonic() < end:
        worker.suspend()
        time.sleep(1.3)
        worker.resume()
        time.sleep(0.06)
