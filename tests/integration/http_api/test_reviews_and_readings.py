"""What people say about a reading, the pictures it was made from, and asking once more."""

import hashlib
import io
from dataclasses import replace

import pytest
from PIL import Image
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from tests.builders import a_reading
from tests.integration.http_api.conftest import BODY
from tests.integration.http_api.test_api import problem, said
from worker import uploads
from worker.errors import ImageMissing
from worker.jobs.reading import PatchRecord
from worker.settings import ImagingSettings
from worker.store.verification import verify


def finished(client, api, reading=None, **fields):
    job_id = client.post("/v1/jobs", json=BODY | fields).json()["id"]
    api.stores.jobs.finish(api.stores.jobs.claim(worker_id="w", lease_seconds=30), reading or a_reading())
    return job_id


def test_a_review_stands_beside_the_reading_and_changes_nothing(client, api, database):
    job_id = finished(client, api)
    before = client.get(f"/v1/jobs/{job_id}").json()
    said_so = [
        {"verdict": "agree"},
        {"verdict": "disagree", "comment": "No chromogen."},
        {"verdict": "correct", "comment": "", "corrected_answer": "A. H&E"},
    ]
    made = [client.post(f"/v1/jobs/{job_id}/reviews", json=one) for one in said_so]
    assert [one.status_code for one in made] == [201] * 3
    listed = client.get(f"/v1/jobs/{job_id}/reviews").json()
    assert listed == {"items": [one.json() for one in made], "next": None}
    assert [one["corrected_answer"] for one in listed["items"]] == [None, None, "A. H&E"]
    after = client.get(f"/v1/jobs/{job_id}").json()
    assert after["reading"] == before["reading"]
    assert (before["reviews"], after["reviews"]) == (0, 3)
    me = f"key:lab:{api.stores.keys.all()[0].id}"
    assert listed["items"][0]["reviewer"] == me
    assert [who for action, who in said(database) if action == "reviewed"] == [me] * 3


def test_reviews_are_turned_page_by_page(client, api):
    job_id = finished(client, api)
    for number in range(5):
        client.post(f"/v1/jobs/{job_id}/reviews", json={"verdict": "agree", "comment": str(number)})
    seen, cursor = [], ""
    while cursor is not None:
        page = client.get(
            f"/v1/jobs/{job_id}/reviews?limit=2" + (f"&cursor={cursor}" if cursor else "")
        ).json()
        seen += [one["comment"] for one in page["items"]]
        cursor = page["next"]
    assert seen == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"verdict": "perhaps"},
        {"verdict": "correct"},
        {"verdict": "correct", "corrected_answer": "  "},
        {"verdict": "agree", "corrected_answer": "A"},
        {"verdict": "agree", "comment": "x" * 4001},
    ],
)
def test_a_review_that_is_none_is_refused(client, body):
    response = client.post("/v1/jobs/job_x/reviews", json=body)
    problem(response, 422, "invalid_request")
    assert "perhaps" not in response.text, "what was sent is never repeated"


def test_a_job_without_a_reading_cannot_be_reviewed(client, api):
    job_id = client.post("/v1/jobs", json=BODY).json()["id"]
    problem(client.post(f"/v1/jobs/{job_id}/reviews", json={"verdict": "agree"}), 409, "no_reading")
    problem(client.post("/v1/jobs/job_x/reviews", json={"verdict": "agree"}), 404, "not_found")
    problem(client.get("/v1/jobs/job_x/reviews"), 404, "not_found")


def test_the_same_review_under_a_key_is_there_once(client, api):
    job_id = finished(client, api)
    post = {"url": f"/v1/jobs/{job_id}/reviews", "headers": {"Idempotency-Key": "r1"}}
    one, two = (client.post(**post, json={"verdict": "agree"}) for _ in range(2))
    assert one.json() == two.json()
    problem(client.post(**post, json={"verdict": "disagree"}), 409, "idempotency_conflict")
    assert len(client.get(post["url"]).json()["items"]) == 1


def test_the_database_itself_refuses_to_change_or_delete_a_review(client, api, database):
    job_id = finished(client, api)
    client.post(f"/v1/jobs/{job_id}/reviews", json={"verdict": "agree"})
    for statement in ("UPDATE reviews SET verdict = 'disagree'", "DELETE FROM reviews"):
        with pytest.raises(DatabaseError, match="reviews are"), database.engine.begin() as connection:
            connection.execute(text(statement))
    assert client.get(f"/v1/jobs/{job_id}/reviews").json()["items"][0]["verdict"] == "agree"


def a_patch(api, **fields):
    pixels = Image.new("RGB", (6, 4), (120, 60, 130))
    pixels.putpixel((1, 2), (1, 2, 3))
    record = PatchRecord(
        image=0, source_digest="sha256:aa", format="PNG", width=6, height=4,
        pixels_digest="sha256:" + hashlib.sha256(pixels.tobytes()).hexdigest(), **fields,
    )  # fmt: skip
    return pixels, record


def reading_of(record):
    provenance = a_reading().provenance
    changed = {name: getattr(provenance, name) for name in provenance.__dataclass_fields__}
    return a_reading(provenance=type(provenance)(**changed | {"patches": (record,)}))


def test_the_exact_pixels_that_the_model_was_shown_come_back(client, api, database):
    from worker.imaging.keeping import keep_patches
    from worker.imaging.source import Patch

    pixels, record = a_patch(api)
    job_id = finished(client, api, reading_of(record))
    assert client.get(f"/v1/jobs/{job_id}/reading").json()["pictures"][0]["url"] is None
    problem(client.get(f"/v1/jobs/{job_id}/patches/0"), 404, "patch_not_kept")
    keep_patches(
        [Patch(pixels=pixels, record=record)],
        settings=ImagingSettings(uploads_dir=api.uploads_dir, uploads_reserve_bytes=0),
    )
    url = client.get(f"/v1/jobs/{job_id}/reading").json()["pictures"][0]["url"]
    response = client.get(url)
    assert response.headers["content-type"] == "image/png"
    assert response.headers["cache-control"].startswith("private")
    assert Image.open(io.BytesIO(response.content)).tobytes() == pixels.tobytes()
    known = client.get(url, headers={"If-None-Match": response.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    reads = [action for action, _ in said(database)].count("read")
    assert reads == 3, "the reading twice, its picture once, and what was known already not at all"
    problem(client.get(f"/v1/jobs/{job_id}/patches/1"), 404, "not_found")


def test_pictures_of_the_same_pixels_in_other_rows_are_two(client, api):
    from worker.imaging.keeping import keep_patches
    from worker.imaging.source import Patch

    _, record = a_patch(api)
    for size in ((6, 4), (4, 6)):
        glass = Image.new("RGB", size, (240, 240, 240))
        digest = "sha256:" + hashlib.sha256(glass.tobytes()).hexdigest()
        of_glass = replace(record, width=size[0], height=size[1], pixels_digest=digest)
        settings = ImagingSettings(uploads_dir=api.uploads_dir, uploads_reserve_bytes=0)
        keep_patches([Patch(pixels=glass, record=of_glass)], settings=settings)
        job_id = finished(client, api, reading_of(of_glass))
        shown = client.get(f"/v1/jobs/{job_id}/patches/0")
        assert Image.open(io.BytesIO(shown.content)).size == size


def test_a_digest_that_is_none_opens_no_file(client, api):
    _, record = a_patch(api)
    evil = {name: getattr(record, name) for name in record.__dataclass_fields__}
    job_id = finished(
        client, api, reading_of(PatchRecord(**evil | {"pixels_digest": "sha256:../../etc/passwd"}))
    )
    problem(client.get(f"/v1/jobs/{job_id}/patches/0"), 404, "patch_not_kept")


def test_a_picture_that_cannot_be_kept_is_done_without(api, capsys):
    from worker.imaging.keeping import keep_patches
    from worker.imaging.source import Patch

    pixels, record = a_patch(api)
    full = ImagingSettings(uploads_dir=api.uploads_dir, uploads_reserve_bytes=2**62)
    keep_patches([Patch(pixels=pixels, record=record)], settings=full)
    assert not uploads.patch_path(api.uploads_dir, record.pixels_digest, record.width).exists()
    (api.uploads_dir / uploads.PATCHES).rmdir()
    (api.uploads_dir / uploads.PATCHES).write_text("a file where the folder should be")
    keep_patches(
        [Patch(pixels=pixels, record=record)],
        settings=ImagingSettings(uploads_dir=api.uploads_dir, uploads_reserve_bytes=0),
    )
    assert capsys.readouterr().out.count("patch.not_kept") == 2


def test_a_reading_that_is_not_there_is_404(client):
    job_id = client.post("/v1/jobs", json=BODY).json()["id"]
    problem(client.get(f"/v1/jobs/{job_id}/reading"), 404, "not_found")
    problem(client.get(f"/v1/jobs/{job_id}/patches/0"), 404, "not_found")


def test_what_has_not_changed_is_304_and_is_not_read_again(client, api, database):
    job_id = client.post("/v1/jobs", json=BODY).json()["id"]
    tags = []
    for change in (
        lambda: None,
        lambda: api.stores.jobs.claim(worker_id="w", lease_seconds=30),
        lambda: api.stores.jobs.finish(api.stores.jobs.get(job_id), a_reading()),
        lambda: client.post(f"/v1/jobs/{job_id}/reviews", json={"verdict": "agree"}),
    ):
        change()
        response = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": ", ".join(tags) or '"x"'})
        assert response.status_code == 200, "it has changed"
        assert response.headers["etag"].startswith('W/"')
        tags.append(response.headers["etag"])
    before = said(database)
    for given in (tags[-1], tags[-1].removeprefix("W/"), f'"x", {tags[-1]}', "*"):
        known = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": given})
        assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tags[-1])
    assert said(database) == before, "nobody was given the reading"


def test_a_job_that_has_ended_can_be_asked_again(client, api, database, rings):
    job_id = client.post("/v1/jobs", json=BODY | {"priority": "stat", "idempotency_key": "a"}).json()["id"]
    problem(client.post(f"/v1/jobs/{job_id}/rerun"), 409, "not_ended")
    api.stores.jobs.fail(api.stores.jobs.claim(worker_id="w", lease_seconds=30), ImageMissing())
    rings.clear()
    again = client.post(f"/v1/jobs/{job_id}/rerun", headers={"Idempotency-Key": "b"})
    assert again.status_code == 202
    document = again.json()
    assert (document["rerun_of"], document["status"], document["priority"]) == (job_id, "queued", "stat")
    assert again.headers["location"] == f"/v1/jobs/{document['id']}"
    assert rings == ["ring"]
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "failed", "the first one stays as it is"
    twice = client.post(f"/v1/jobs/{job_id}/rerun", headers={"Idempotency-Key": "b"})
    assert (twice.status_code, twice.json()["id"]) == (200, document["id"])
    assert [action for action, _ in said(database)].count("rerun") == 1
    api.stores.audit.chain()
    assert verify(database).findings == ()
    problem(client.post("/v1/jobs/job_x/rerun"), 404, "not_found")


def test_of_a_batch_each_is_stored_or_says_why(client, api, rings):
    good, past = BODY | {"idempotency_key": "a"}, BODY | {"due_at": "2001-01-01T00:00:00Z"}
    response = client.post("/v1/jobs/batch", json={"jobs": [
        good, {"question": "Canary"}, past, BODY | {"endpoints": ["nobody"]}, good, BODY | {"idempotency_key": "b"},
        BODY | {"idempotency_key": "a", "question": "another"},
    ]})  # fmt: skip
    assert response.status_code == 207
    items = response.json()["items"]
    assert [item["status"] for item in items] == [202, 422, 422, 422, 200, 202, 409]
    assert [item["problem"] and item["problem"]["code"] for item in items] == [
        None, "invalid_request", "invalid_request", "unknown_endpoint", None, None, "idempotency_conflict",
    ]  # fmt: skip
    assert items[1]["problem"]["errors"][0]["field"] == "images"
    assert "Canary" not in response.text
    assert items[0]["id"] == items[4]["id"]
    assert sum(api.stores.jobs.depth().values()) == 2
    assert rings == ["ring"]
    for body in ({"jobs": []}, {"jobs": [{}] * 101}, {"jobs": ["x"]}, {}):
        problem(client.post("/v1/jobs/batch", json=body), 422, "invalid_request")


def test_a_batch_and_a_full_queue(client, api):
    api.stores.jobs._submissions.backlog._limit = 5
    items = client.post("/v1/jobs/batch", json={"jobs": [BODY] * 6}).json()["items"]
    assert [item["status"] for item in items] == [202] * 4 + [429] * 2
