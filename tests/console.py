"""The console's parts for tests: a gateway over a store of its own, rows written by the store's own functions, and
Debian's Chromium."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
from PIL import Image, ImageDraw

from tests.builders import a_question, a_reading, a_request, an_order
from tests.conftest import ROOT
from worker import uploads
from worker.jobs.event import DeliveryStatus, Outcome
from worker.jobs.order import Channel
from worker.jobs.reading import PatchRecord
from worker.store import schema
from worker.store.deliveries import Deliveries
from worker.store.endpoints import Endpoints
from worker.store.intake import Arrival, Intake
from worker.store.jobs import Jobs
from worker.store.keys import Keys
from worker.store.outbox import Outbox
from worker.store.passes import Passes
from worker.store.sealing import Seal
from worker.store.session import Database

KEY = "pl_console"


class Gateway:
    """`python -m integrations.http_api` over an SQLite of its own. Nobody works: the test writes the readings."""

    def __init__(self, folder: Path, port: int, **settings: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.uploads = folder / "uploads"
        key = Seal.new_key()
        (folder / "seal-keys").write_text(key)
        seal = Seal([key])
        self.database = Database(f"sqlite:///{folder / 'pathlane.db'}")
        schema.migrate(self.database)
        self.jobs, self.outbox = Jobs(self.database), Outbox(self.database, seal)
        self.endpoints, self.deliveries = Endpoints(self.database), Deliveries(self.database, seal)
        self.keys, self.passes = Keys(self.database), Passes(self.database)
        self.intake = Intake(self.database, seal, plan=lambda _: [self.question], public_url=self.url)
        self.question = a_question()
        self.key = self.keys.add("pathologist", KEY)
        self._environment = os.environ | {
            "PATHLANE_DATABASE_URL": f"sqlite:///{folder / 'pathlane.db'}",
            "PATHLANE_BROKER_URL": f"redis+socket://{folder / 'no-broker'}",
            "PATHLANE_UPLOADS_DIR": str(self.uploads), "PATHLANE_SEAL_KEYS_FILE": str(folder / "seal-keys"),
            "PATHLANE_API_PORT": str(port), "PATHLANE_PUBLIC_URL": self.url, "PATHLANE_LOG_LEVEL": "error",
        } | settings  # fmt: skip
        self._log = folder / "gateway.log"

    def start(self) -> Gateway:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "integrations.http_api"],
                env=self._environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + 120
        while not self._answers():
            assert time.monotonic() < end, self._log.read_text()
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.2)
        return self

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)
        self.database.close()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {KEY}"}, trust_env=False)

    def link(self) -> str:
        from integrations.console.links import new_link

        return new_link(self.passes, self.key.id, self.url, actor="test")

    def submit(self, **fields):
        return self.jobs.submit(a_request(**fields), submitter="lab").job

    def read(self, job, **fields):
        """The job gets its reading, as a worker would give it."""
        claimed = self.jobs.claim(worker_id="w", lease_seconds=600)
        while claimed is not None and claimed.id != job.id:
            claimed = self.jobs.claim(worker_id="w", lease_seconds=600)
        assert claimed is not None
        self.jobs.finish(claimed, a_reading(**fields))
        return claimed

    def order(self, control_id: str, **fields):
        """An order over HL7."""
        digest = hashlib.sha256(control_id.encode()).hexdigest()
        own = {"series_uid": f"1.2.{int(digest[:8], 16)}", "images": (f"upload:sha256-{digest}",)}
        order = an_order(**own | {"accession": f"S26-{control_id}", "slide": f"S26-{control_id}-A1"} | fields)
        arrival = Arrival(
            channel=Channel.HL7, application=order.sender.application, facility=order.sender.facility,
            control_id=control_id, raw=control_id.encode(), orders=(order,),
        )  # fmt: skip
        (receipt,) = self.intake.take([arrival])
        return self.jobs.get(receipt.jobs[0])

    def keep(self, picture: Image.Image, **fields) -> PatchRecord:
        """A patch the model was shown, with its picture."""
        rgb = picture.convert("RGB")
        digest = "sha256:" + hashlib.sha256(rgb.tobytes()).hexdigest()
        png = io.BytesIO()
        rgb.save(png, "PNG")
        uploads.keep_patch(self.uploads, digest, rgb.width, png.getvalue())
        record = a_reading().provenance.patches[0]
        usual = {
            "pixels_digest": digest,
            "width": rgb.width,
            "height": rgb.height,
            "region": None,
            "steps": (),
        }
        return replace(record, **usual | fields)

    def slide(self) -> dict:
        """A reading's provenance with an overview and three windows of a drawn slide."""
        overview, boxes = _overview(), ((9000, 5000), (15000, 9000), (21000, 6000))
        common = {"slide_size": (32000, 16000), "tissue_covered": 0.62}
        patches = [self.keep(overview, part="overview", region=(0, 0, 32000, 16000), spacing=8.0, **common)]
        for x, y in boxes:
            window = overview.crop((x // 40, y // 40, x // 40 + 51, y // 40 + 51)).resize((448, 448))
            patches.append(self.keep(window, part="window", region=(x, y, 2048, 2048), spacing=0.5, **common))
        return {"provenance": replace(a_reading().provenance, patches=tuple(patches))}

    def failing_endpoint(self, name="lis", answer=b"", status=500):
        """An endpoint, and what it answers to everything that is due."""
        self.endpoints.add(name, f"https://{name}.example/pathlane", secret="whsec_" + "c2VjcmV0" * 6)

        def fail():
            for delivery_id in self.outbox.due():
                delivery = self.outbox.claim(delivery_id, lease_seconds=60)
                self.outbox.record(
                    delivery,
                    Outcome(
                        status=DeliveryStatus.EXHAUSTED, http_status=status, reason="http_500", answer=answer
                    ),
                )

        return fail


def _overview() -> Image.Image:
    slide = Image.new("RGB", (800, 400), "#f4f2f3")
    draw = ImageDraw.Draw(slide)
    for x, y, r in ((270, 170, 110), (420, 250, 120), (560, 180, 90)):
        draw.ellipse((x - r, y - r * 0.7, x + r, y + r * 0.7), fill="#d9a3c0")
        for n in range(60):
            a, b = (n * 37) % (2 * r) - r, (n * 53) % int(1.2 * r) - int(0.6 * r)
            draw.ellipse((x + a - 3, y + b - 3, x + a + 3, y + b + 3), fill="#5a3b86")
    return slide


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A root user's Chromium has no sandbox of its own; what it opens here is ours.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=chromium(), args=arguments, timeout=120_000)
        yield opened
        opened.close()
