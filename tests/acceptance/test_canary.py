"""No word of a case goes where it should not: every way is gone, its failures too, and then everything is searched.

The words stand in DICOM tags (private and nested ones too), in files and their names, on the file of a label, in
questions, options, labels, HL7 messages, uploads, and in what callers get wrong. Looked through are the logs of all
programs, the broker (its keys, its append-only file and every command that it was given), webhooks, metrics,
traces, what callers were told, command lines and environments of all processes, and every column of the database.
"""

from __future__ import annotations

import io
import socket
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest
import redis
from PIL import Image
from sqlalchemy import select

from tests.acceptance import ways
from tests.acceptance.conftest import free_port, started_in
from tests.acceptance.ways import CELERY, WORDS, Http
from tests.canaries import BY_CELERY, ROOT, around, found_in, found_in_value
from tests.collector import Collector
from worker.metrics import Program
from worker.settings import embedded_socket
from worker.store.session import Database
from worker.store.tables import Base

pytest.importorskip("skimage.data")

#: table.column -> the words that may stand there, and why
ALLOWED = {
    "jobs.request": (
        {"question", "option", "label", "file", "host"},
        "the request as it was asked: text of a case, in the one place for it",
    ),
    "readings.reasoning": ({"option"}, "the model's own words, which may be an option's"),
    "readings.answer": ({"option"}, "the model names an option"),
    "readings.raw_text": ({"option"}, "everything that the model wrote"),
    "cases.accession": ({"acc"}, "what a case is looked for by"),
    "cases.slide": ({"slide", "acc"}, "what a slide is looked for by"),
    "reviews.comment": ({"review"}, "a pathologist's own words"),
}
#: that nothing is found there is what the seal is for
SEALED = {
    "messages.sealed", "cases.sealed", "instances.sealed", "audit.sealed", "delivery_attempts.sealed_answer",
}  # fmt: skip


class Hook:
    """A receiver that keeps every byte it is sent. `teapot`: it refuses, and says a word."""

    def __init__(self, *, teapot: bool = False) -> None:
        self.came = b""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                hook.came += f"{self.requestline}\n{self.headers}".encode() + body
                words = str(WORDS["receiver"]).encode() if teapot else b""
                self.send_response(418 if teapot else 200)
                self.send_header("content-length", str(len(words)))
                self.end_headers()
                self.wfile.write(words)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Monitor:
    """Every command that a broker is given, as it says them itself."""

    def __init__(self, place: str) -> None:
        self.said = b""
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(place)
        self._connection.sendall(b"MONITOR\r\n")
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with suppress(OSError):
            while data := self._connection.recv(1 << 16):
                self.said += data

    def stop(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._connection.close()


class Processes:
    """Command lines and environments of all our processes, looked at again and again."""

    def __init__(self, up) -> None:
        self.seen: set[str] = set()
        self._up, self._over = up, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.3):
            for process in self._up.children():
                with suppress(psutil.Error):
                    self.seen.add(" ".join(process.cmdline()))
                    self.seen.add(str(process.environ()))

    def stop(self) -> None:
        self._over.set()
        self._thread.join(30)


@contextmanager
def stopped(*watchers):
    try:
        yield watchers
    finally:
        for watcher in watchers:
            watcher.stop()


class Evidence:
    """What came out of the programs, by where it did."""

    def __init__(self) -> None:
        self.places: dict[str, bytes | str] = {}
        self.told: list[tuple[str, str]] = []
        self.commands = b""
        self.keys = b""
        self.columns: dict[str, set[str]] = {}
        #: how the failures ended, by way
        self.ends: dict[str, str] = {}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    skimage_data = pytest.importorskip("skimage.data")
    picture = Image.fromarray(skimage_data.immunohistochemistry())
    folder, found = tmp_path_factory.mktemp("canary"), Evidence()
    ways.seeded_slide(folder / "images" / "slide")
    ways.seeded_picture(folder / "images" / "picture", picture)
    metrics_port, dicom_port = free_port(), free_port()
    with stopped(Hook(), Hook(teapot=True), Collector()) as (hook, teapot, collector):
        settings = {
            "METRICS_PORT": str(metrics_port), "TRACES_URL": collector.url, "SWEEP_SECONDS": "1",
            "LOG_LEVEL": "debug", "IMAGE_ROOTS": str(folder / "images"), "DICOM_CALLERS": "SCANNER",
            "DICOM_PORT": str(dicom_port), "DICOM_QUIET_SECONDS": "1", "FETCH_HOSTS": "127.0.0.1",
        }  # fmt: skip
        with started_in(folder) as start:
            up = start("--lis", "--hl7-port", "0", **settings)
            for name, url in (
                ("hook", hook.url), ("teapot", teapot.url), ("down", f"http://127.0.0.1:{free_port()}/hook"),
                ("lis", f"mllp://127.0.0.1:{free_port()}"),
            ):  # fmt: skip
                up.run("endpoint", "add", name, url)
            place = str(embedded_socket(up.data.resolve()))
            with stopped(Monitor(place), Processes(up)) as (monitor, processes):
                http = Http(up)
                images_go(http, found, folder / "images", http.upload(ways.png(picture)))
                interruptions_go(http, found, picture)
                senders_go(http, found, folder / "images", dicom_port)
                found.told += http.told
                http.client.close()
                scrape(found, metrics_port)
                time.sleep(3)  # spans and deliveries that are on their way
            found.commands, found.keys = monitor.said, keys_of(place)
            found.places |= {
                "logs": up.log(), "webhooks": hook.came, "webhooks that fail": teapot.came,
                "traces": collector.raw, "processes": "\n".join(processes.seen),
            }  # fmt: skip
            found.places["file names"] = "\n".join(str(file) for file in up.data.rglob("*"))
            found.columns = columns_of(f"sqlite:///{up.data.resolve()}/pathlane.db")
            up.stop()
            found.places["logs to the end"] = up.log()
            for file in (up.data / "valkey").rglob("*"):
                if file.is_file():
                    found.places[f"broker's file {file.name}"] = file.read_bytes()
    return found


def images_go(http, found, images, photograph) -> None:
    """Good ones and bad ones, what is refused at the door, and what a reviewer says."""
    jobs = {
        "picture": http.ask(photograph),
        "slide": http.ask((images / "slide").as_uri()),
        "tags": http.ask(next(images.glob("picture/*.dcm")).as_uri()),
    }
    for name, image in ways.bad_images(images).items():
        jobs[name] = http.ask(image if isinstance(image, str) else http.upload(image))
    found.told += ways.by_command(http.up, images.parent)
    for name, job_id in jobs.items():
        found.ends[name] = end_of(http.ended(job_id))
    http.review(jobs["picture"])
    http.refusals()


def interruptions_go(http, found, picture) -> None:
    """A time that is over, a job that is taken back, decoders that die, a host that is not there."""
    unreachable = http.ask(f"https://127.0.0.1:{free_port()}/{WORDS['file']}?{WORDS['file']}")
    large = io.BytesIO()
    picture.resize((1600, 1600)).save(large, "PNG")
    eight = [http.upload(large.getvalue())] * 8
    late = http.ask(*eight, timeout=1)
    ways.in_slow_motion(http.up, http, late)
    found.ends["late"] = end_of(http.ended(late))
    taken_back = http.ask(*eight)
    http.up.until(lambda: http.job(taken_back)["status"] == "running")
    with ways.standing_still(http.up, seconds=1.3):
        http.client.post(f"/v1/jobs/{taken_back}/cancel").raise_for_status()
    found.ends["taken back"] = http.ended(taken_back)["status"]
    crashed = http.ask(http.upload(ways.slow_picture()))
    found.ends["decoders killed"] = str(ways.while_decoders_die(http.up, http, crashed))
    for name, job_id in (("crashed", crashed), ("unreachable", unreachable)):
        http.client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()
        found.ends[name] = end_of(http.ended(job_id))


def senders_go(http, found, images, dicom_port) -> None:
    """Celery, HL7 and DICOM."""
    up = http.up
    ways.by_celery(up, http.upload(ways.png(Image.new("RGB", (64, 64), "white"))))
    up.until(lambda: "submission.refused" in up.log())
    series = up.run("archive", "add", str(next(images.glob("picture/*.dcm")))).split()[-1]
    answers = ways.orders(up, series)
    found.told += answers
    found.ends |= {f"HL7 {way}": answer.split("MSA|")[-1][:2] for way, answer in answers}
    slide = sorted((images / "slide").glob("*.dcm"))
    found.told += ways.by_dicom(dicom_port, slide, caller="SCANNER")
    found.told += ways.by_dicom(dicom_port, slide[:1], caller="STRANGER")
    time.sleep(3)  # the series comes to rest, and is an order
    up.until(lambda: not waits(up))


def end_of(job) -> str:
    return job["error"]["code"] if job["error"] else (job["reading"] or {}).get("outcome", job["status"])


def waits(up) -> bool:
    with up.http as client:
        items = client.get("/v1/jobs").json()["items"]
    return any(job["status"] in ("queued", "running") for job in items)


def scrape(found, port) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for program in (Program.GATEWAY, Program.COURIER, Program.HL7, Program.DICOM, Program.WORKER):
        with opener.open(f"http://127.0.0.1:{port + program.place}/metrics", timeout=30) as answer:
            found.places[f"metrics of the {program}"] = answer.read()


def keys_of(place: str) -> bytes:
    """Every key with all that is in it."""
    said = []
    with redis.Redis(unix_socket_path=place) as client:
        readers = {
            b"string": client.get, b"hash": client.hgetall, b"set": client.smembers,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"zset": lambda key: client.zrange(key, 0, -1, withscores=True), b"stream": client.xrange,
        }  # fmt: skip
        for key in client.scan_iter():
            said += [key, repr(readers[client.type(key)](key)).encode()]
    return b"\n".join(said)


def columns_of(url: str) -> dict[str, set[str]]:
    """table.column -> the words in it; of those that hold anything."""
    found: dict[str, set[str]] = {}
    database = Database(url)
    with database.read() as connection:
        for table in Base.metadata.sorted_tables:
            for row in connection.execute(select(table)).mappings():
                for column, value in row.items():
                    words = found_in_value(value, [*WORDS.values(), CELERY])
                    found.setdefault(f"{table.name}.{column}", set()).update(words)
    database.close()
    return found


def test_every_way_was_gone_and_every_failure_happened(evidence):
    ends = evidence.ends
    assert {ends[way] for way in ("picture", "slide", "tags")} == {"answered"}
    assert ends["text"] == "unsupported_image"
    assert {ends[way] for way in ("png", "jpeg", "tiff", "dicom", "cut")} <= {
        "image_unreadable", "unsupported_image",
    }  # fmt: skip
    assert ends["label"] == "image_refused"
    assert ends["missing"] == "image_missing"
    assert {ends[way] for way in ("not missing but forbidden", "archive", "bucket")} == {
        "reference_forbidden"
    }
    assert ends["host"] == ends["unreachable"] == "fetch_failed"
    assert ends["late"] == "deadline"
    assert ends["taken back"] == "cancelled"
    assert int(ends["decoders killed"]) >= 2
    assert ends["crashed"] == "decoding_crashed"
    assert ends["HL7 order"] == ends["HL7 again"] == "AA"
    for way in ("kind", "characters", "charset"):
        assert ends[f"HL7 {way}"] in ("AE", "AR")


def test_the_programs_say_no_word_of_a_case(evidence):
    said = {name: found_in(text) for name, text in evidence.places.items() if not name.startswith("broker")}
    assert {"logs", "webhooks", "traces", "processes", "metrics of the worker"} <= set(said)
    assert all(evidence.places[name] for name in said)
    for name, words in said.items():
        assert not words, f"{name}: {[around(evidence.places[name], word) for word in words]}"


def test_the_broker_is_told_no_word_but_of_a_request_that_comes_by_celery(evidence):
    commands = evidence.commands
    assert found_in(commands, [ROOT]) == set(), around(commands, ROOT)
    assert found_in(commands, [BY_CELERY]) == {BY_CELERY}, "what the search would find, it finds"
    assert evidence.keys
    assert found_in(evidence.keys) == set()
    # The append-only file keeps what came by Celery until it is rewritten.
    files = {name: text for name, text in evidence.places.items() if name.startswith("broker")}
    assert files
    assert {word for text in files.values() for word in found_in(text, [ROOT])} == set()


def test_no_caller_is_told_a_word_of_what_was_refused(evidence):
    assert len(evidence.told) > 50
    said = {(where, around(text, ROOT)) for where, text in evidence.told if found_in(text)}
    assert not said


def test_the_database_has_each_word_in_its_column_and_nowhere_else(evidence):
    found = {column: words for column, words in evidence.columns.items() if words}
    by_celery = {str(CELERY)}
    allowed = {column: {str(WORDS[word]) for word in words} for column, (words, _) in ALLOWED.items()}
    allowed["jobs.request"] |= by_celery
    astray = {column: words - allowed.get(column, set()) for column, words in found.items()}
    assert not {column: words for column, words in astray.items() if words}
    assert {str(WORDS["question"]), str(WORDS["label"]), *by_celery} <= found["jobs.request"]
    assert found["cases.accession"] == {str(WORDS["acc"])}
    assert set(evidence.columns) >= SEALED, "something was sealed"
