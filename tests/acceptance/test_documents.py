"""What README, tutorial and how-to pages tell a reader to type is typed, in their order, and works."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from sqlalchemy import make_url

from tests.acceptance.conftest import free_port
from tests.conftest import ROOT
from tests.documents import DOCS, Reader, blocks, commands
from tests.messages import lab_104
from worker.engine.models.demo import CHECKPOINT

README, TUTORIAL, HOW_TO = ROOT / "README.md", DOCS / "tutorial" / "first-reading.md", DOCS / "how-to"
DAB = "B. Immunohistochemistry with DAB"

#: how many blocks of a page cannot be run here; each says why
NOT_RUN = {README: 1} | {HOW_TO / f"{name}.md": 1 for name in ("submit", "two-gpus", "upgrade")}

#: pages whose commands need nothing but what the tutorial has made
ON_THE_TUTORIALS_STORE = [
    HOW_TO / f"{name}.md"
    for name in (
        "add-a-model", "rotate-a-secret", "replay", "upgrade", "from-shadow-to-live",
    )
]  # fmt: skip


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Somebody at a clone of the repository, with `pathlane up` in the other terminal."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("Makefile", "pyproject.toml", "requirements-dev.lock"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "docs").symlink_to(DOCS)
    for name in ("my-model", "Patho-R1-3B"):
        (folder / "models" / name).parent.mkdir(exist_ok=True)
        (folder / "models" / name).symlink_to(CHECKPOINT)
    (folder / "installed").touch()
    reader = Reader(
        folder,
        # What must be another one here: ports that may be taken, and where a model lies.
        instead={r"pathlane up\b": "pathlane up --port 0", r"/models/": f"{folder}/models/"},
        # `make setup` has made what these tests run in.
        settings={"MAKEFLAGS": f"STAMP={folder}/installed", "PATHLANE_SLOTS_DIR": str(folder / "slots")},
    )
    try:
        picture = next(one for one in commands(TUTORIAL) if "skimage" in one.text)
        reader.type(picture.text, picture.where)
        start = next(one for one in commands(TUTORIAL) if "pathlane up" in one.text)
        reader.type(start.text, start.where)
        url = re.search(r"Pathlane is up at (\S+)", reader.log("up"))[1]
        reader.instead[r"http://127\.0\.0\.1:8000"] = url
        yield reader
    finally:
        reader.stop()


def documents(printed):
    """The JSON among what blocks printed."""
    for text in printed:
        if text.startswith("{"):
            yield json.loads(text)


def test_the_tutorial_leads_to_a_reading(reader):
    printed = reader.read(TUTORIAL)
    (document,) = documents(printed)
    assert document["reading"]["answer"] == DAB
    assert document["reading"]["provenance"]["model"] == "demo"
    assert "outcome    answered" in "".join(printed)
    assert "claimed" in "".join(printed)


def test_readme_asks_and_is_told_what_it_says(reader):
    (document,) = documents(reader.read(README, "Use it"))
    example = next(block for block in blocks(README) if block.language == "json")
    shown = json.loads(example.text.replace('"...": "..."', '"dtype": ""'))
    assert shown.keys() <= document.keys()
    assert shown["reading"].keys() <= document["reading"].keys()
    assert shown["reading"]["provenance"].keys() <= document["reading"]["provenance"].keys()
    assert (document["status"], document["reading"]["choice"]) == (
        shown["status"],
        shown["reading"]["choice"],
    )


def test_make_demo_shows_every_case_told(reader):
    (printed,) = reader.read(README, "See it")
    assert "Immunohistochemistry with DAB" in printed


@pytest.mark.parametrize("page", ON_THE_TUTORIALS_STORE, ids=lambda page: page.stem)
def test_a_how_to_page_can_be_typed_as_it_stands(reader, page):
    assert reader.read(page)


def test_a_question_by_curl_becomes_a_job(reader):
    (document,) = documents(reader.read(HOW_TO / "submit.md"))
    assert (document["status"], document["priority"]) == ("queued", "stat")
    assert document["options"][1] == "Immunohistochemistry with DAB"


def test_the_clients_answer_as_their_page_says(reader):
    assert reader.read(HOW_TO / "use-the-client.md") == [f"{DAB}\n"] * 3


def test_shadow_rules_are_explained_as_the_page_says(reader):
    page = HOW_TO / "from-shadow-to-live.md"
    reader.read(page, "3. Turn one rule")
    message = lab_104("MSG1", series="1.2.3")
    (reader.folder / "message.hl7").write_bytes(message.encode())
    told = reader.type("pathlane rules test message.hl7 --rules rules.yaml", "this test")
    assert "biopsies" in told
    assert "MÜLLER" not in told


@pytest.fixture
def hosts(reader, broker_url, postgresql_server, tmp_path):
    """The same reader, with a database and a broker as those pages have them on other hosts."""
    from sqlalchemy import create_engine, text

    admin = create_engine(postgresql_server, isolation_level="AUTOCOMMIT")
    name = f"pages_{free_port()}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
    before = dict(reader.instead), dict(reader.settings)
    reader.instead |= {
        r"postgresql\+psycopg://\S+": shlex.quote(url),
        r"redis://\S+": broker_url,
        "/srv/pathlane/": f"{tmp_path}/",
    }
    reader.settings |= {"PATHLANE_API_PORT": str(free_port()), "PATHLANE_SLOTS": "1"}
    yield reader
    reader.stop("gateway", "worker")
    reader.instead, reader.settings = before
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.mark.parametrize(
    ("page", "heading"),
    [(README, "Run it for real"), (HOW_TO / "two-hosts.md", "")],
    ids=["README", "two-hosts"],
)
def test_a_deployment_is_started_as_the_page_says(hosts, page, heading):
    hosts.read(page, heading)
    hosts.until(lambda: "model.loaded" in hosts.log("worker"))
    assert "critical" not in hosts.log("gateway") + hosts.log("worker")


def test_the_devices_and_workers_of_a_host_are_shown_as_the_page_says(hosts):
    hosts.new_shell()
    hosts.type("pathlane migrate", "this test")
    devices, status = hosts.read(HOW_TO / "two-gpus.md")
    assert json.loads(devices)
    assert "none is running" in status


def test_what_is_not_run_is_counted_and_no_page_is_forgotten():
    pages = [README, *sorted(DOCS.rglob("*.md"))]
    assert {page: n for page in pages if (n := sum(bool(one.not_run) for one in commands(page)))} == NOT_RUN
    run = {page for page in pages if any(not one.not_run for one in commands(page))}
    elsewhere = {HOW_TO / "back-up-and-restore.md"}  # tests/acceptance/test_back_up.py
    others = {HOW_TO / f"{name}.md" for name in ("submit", "two-gpus", "two-hosts", "use-the-client")}
    assert run == {README, TUTORIAL, *ON_THE_TUTORIALS_STORE} | others | elsewhere
