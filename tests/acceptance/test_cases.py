"""A case goes in, an answer comes out: real photographs in several formats, asserted by meaning."""

import io

import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

from integrations.demo import cases

DAB = "Immunohistochemistry with DAB"


def dicom(tmp_path, picture):
    return cases._dicom(tmp_path, picture)


def compressed(syntax):
    def write(tmp_path, picture):
        import pydicom

        file = dicom(tmp_path, picture)
        dataset = pydicom.dcmread(file)
        dataset.compress(syntax)
        dataset.save_as(file)
        return file

    return write


def dicom_jpeg_2000(tmp_path, picture):
    """Lossless, with the reversible colour transform inside the stream, as encoders write it."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG2000", no_jp2=True, irreversible=False, mct=1)
    dataset = cases._data_set(picture, "YBR_RCT", JPEG2000Lossless)
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    return cases._saved(tmp_path, dataset)


def saved_as(suffix, **options):
    def write(tmp_path, picture):
        file = tmp_path / f"picture.{suffix}"
        picture.save(file, **options)
        return file

    return write


@pytest.mark.parametrize(
    "write",
    [
        saved_as("png"), saved_as("jpg", quality=60), saved_as("tif"), saved_as("webp"), dicom,
        cases._dicom_jpeg, compressed(RLELossless), dicom_jpeg_2000,
    ],
    ids=["png", "jpeg-60", "tiff", "webp", "dicom", "dicom-jpeg", "dicom-rle", "dicom-jpeg-2000"],
)  # fmt: skip
def test_the_stain_of_a_photograph_is_named_whatever_its_format(up, ihc, tmp_path, write):
    job = up.submit(write(tmp_path, ihc), "--wait")
    reading = job["reading"]
    assert (job["status"], reading["outcome"]) == ("succeeded", "answered")
    assert (reading["answer"], reading["choice"]) == (f"B. {DAB}", "B")
    assert reading["reasoning"]
    assert reading["provenance"]["license"] == "Apache-2.0"
    assert reading["provenance"]["patches"][0]["width"] == 512
    assert "not a medical statement" in reading["provenance"]["notice"]


def test_swapped_colours_are_noticed(up, ihc, tmp_path):
    swapped = Image.merge("RGB", ihc.split()[::-1])
    options = ["--option", DAB, "--option", "Other stain"]
    job = up.submit(saved_as("png")(tmp_path, swapped), "--wait", options=options)
    assert job["reading"]["answer"] == "B. Other stain"


def test_an_he_photograph_and_an_open_question(up, tmp_path):
    job = up.submit(saved_as("png")(tmp_path, cases._he()), "--style", "cod", "--wait", options=[])
    assert job["reading"]["answer"] == "Hematoxylin and eosin"
    assert job["reading"]["choice"] is None


def test_a_draft_is_shorter_than_a_chain(up, ihc, tmp_path):
    file = saved_as("png")(tmp_path, ihc)
    cot, cod = (up.submit(file, "--style", style, "--wait")["reading"] for style in ("cot", "cod"))
    assert cod["completion_tokens"] < cot["completion_tokens"]


def test_a_region_is_what_the_model_sees(up, ihc, tmp_path):
    page = Image.new("RGB", (1200, 512), (242, 240, 243))
    page.paste(ihc, (688, 0))
    file = saved_as("png")(tmp_path, page)
    stained, glass = (
        up.submit(file, "--region", region, "--wait")["reading"]
        for region in ("688,0,512,512", "0,0,512,512")
    )
    assert (stained["choice"], glass["choice"]) == ("B", "C")
    assert stained["provenance"]["patches"][0]["region"] == [688, 0, 512, 512]


def test_the_same_key_gives_the_same_job(up, ihc, tmp_path):
    file = saved_as("png")(tmp_path, ihc)
    first, second = (up.submit(file, "--key", "case-1", "--wait") for _ in range(2))
    assert first["id"] == second["id"]
    assert up.json("show", first["id"]) == up.show(first["id"])
    up.run("submit", str(file), "--question", "Another?", "--key", "case-1", status=2)


def test_http_takes_a_case_in_and_gives_its_reading(up, ihc, tmp_path):
    file = saved_as("png")(tmp_path, ihc)
    with up.http as client:
        reference = client.post("/v1/uploads", content=file.read_bytes()).json()["reference"]
        body = {
            "images": [{"reference": reference}],
            "question": "Which stain is shown?",
            "options": [DAB, "No tissue"],
        }
        job_id = client.post("/v1/jobs", json=body).raise_for_status().json()["id"]
        up.until(lambda: client.get(f"/v1/jobs/{job_id}").json()["status"] == "succeeded")
        assert client.get(f"/v1/jobs/{job_id}").json()["reading"]["choice"] == "A"


def test_another_program_asks_with_celery_alone_and_twice_is_once(up, ihc, tmp_path):
    from celery import Celery

    reference = reference_of(up, ihc, tmp_path)
    app = Celery(broker=f"redis+socket://{socket_of(up)}")
    app.conf.broker_transport_options = {"global_keyprefix": "pathlane:"}
    request = {
        "images": [{"reference": reference}],
        "question": "Which stain is shown?",
        "idempotency_key": "celery-1",
    }
    for _ in range(2):
        app.send_task("pathlane.submit", args=[request], queue="pathlane.submit")
    app.send_task("pathlane.submit", args=[{"question": "Canary"}], queue="pathlane.submit")
    app.close()
    up.until(lambda: len(of_celery(up)) == 1 and of_celery(up)[0].status == "succeeded")
    assert len(of_celery(up)) == 1
    up.until(lambda: "submission.refused" in up.log())
    assert "Canary" not in up.log()


def socket_of(up):
    from worker.settings import embedded_socket

    return embedded_socket(up.data.resolve())


def reference_of(up, ihc, tmp_path):
    file = saved_as("png")(tmp_path, ihc)
    with up.http as client:
        return client.post("/v1/uploads", content=file.read_bytes()).json()["reference"]


def of_celery(up):
    from sqlalchemy import select

    from worker.store.jobs import Jobs
    from worker.store.jobs import jobs as table
    from worker.store.session import Database

    database = Database(f"sqlite:///{up.data.resolve()}/pathlane.db")
    with database.read() as connection:
        ids = connection.execute(select(table.c.id).where(table.c.submitter == "celery")).scalars().all()
    found = [Jobs(database).get(i) for i in ids]
    database.close()
    return found
