"""Bytes under their own digest, and nothing else."""

import hashlib
import os
import shutil
import threading
import time

import pytest

from worker import uploads
from worker.errors import DiskFull, ImageMissing, ImageTooLarge, ReferenceForbidden


def test_what_was_kept_is_found_under_its_digest(tmp_path):
    reference = uploads.keep(tmp_path, [b"ab", b"c"], max_bytes=10)
    assert reference == "upload:sha256-" + hashlib.sha256(b"abc").hexdigest()
    assert uploads.path_of(tmp_path, reference).read_bytes() == b"abc"


def test_the_same_bytes_are_kept_once(tmp_path):
    assert uploads.keep(tmp_path, [b"abc"], max_bytes=10) == uploads.keep(
        tmp_path, [b"a", b"bc"], max_bytes=10
    )
    assert len([p for p in tmp_path.rglob("*") if p.is_file() and p.name != "lock"]) == 1


def test_too_many_bytes_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(ImageTooLarge):
        uploads.keep(tmp_path, [b"abc"] * 4, max_bytes=10)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_room_is_left_for_others_and_nothing_is_left_behind(tmp_path):
    with pytest.raises(DiskFull):
        uploads.keep(tmp_path / "uploads", [b"abc"], max_bytes=10, reserve_bytes=2**60)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_piece_that_would_go_into_the_reserve_is_not_written(tmp_path):
    half = shutil.disk_usage(tmp_path).free // 2
    draft = uploads.Draft(tmp_path, max_bytes=2**60, reserve_bytes=half)
    draft.write(b"abc")

    class Long(bytes):
        def __len__(self):
            return 2 * half

    with pytest.raises(DiskFull):
        draft.write(Long())
    draft.discard()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_room_is_looked_for_where_the_folder_will_be(tmp_path):
    uploads.check_room(tmp_path / "not" / "yet", 0)
    with pytest.raises(DiskFull):
        uploads.check_room(tmp_path / "not" / "yet", 2**60)


@pytest.mark.parametrize(
    "reference", ["upload:../../etc/passwd", "upload:sha256-xyz", "upload:sha256-" + "0" * 63]
)
def test_a_reference_that_is_not_a_digest_is_forbidden(tmp_path, reference):
    with pytest.raises(ReferenceForbidden):
        uploads.path_of(tmp_path, reference)


def test_an_upload_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(ImageMissing):
        uploads.path_of(tmp_path, "upload:sha256-" + "0" * 64)


OLD, THEN = 1_000_000.0, 2_000_000.0


def an_old_upload(folder, data=b"abc"):
    reference = uploads.keep(folder, [data], max_bytes=100)
    os.utime(uploads.path_of(folder, reference), (OLD, OLD))
    return reference


def remove(folder, in_use=frozenset):
    return uploads.remove_old(folder, before=THEN, drafts_before=THEN, in_use=in_use)


def test_old_uploads_and_drafts_are_removed_and_young_ones_and_other_files_stay(tmp_path):
    old, young = an_old_upload(tmp_path), uploads.keep(tmp_path, [b"young"], max_bytes=100)
    for name in ("draft-1", "draft-2", "notes", "ab"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("draft-1", "notes"):
        os.utime(tmp_path / name, (OLD, OLD))
    assert remove(tmp_path) == uploads.Removed(uploads=(old,), drafts=1)
    with pytest.raises(ImageMissing):
        uploads.path_of(tmp_path, old)
    assert uploads.path_of(tmp_path, young).read_bytes() == b"young"
    assert not (tmp_path / "draft-1").exists()
    assert (tmp_path / "draft-2").exists()
    assert (tmp_path / "notes").exists()
    assert remove(tmp_path / "no such folder") == uploads.Removed()


def test_what_is_in_use_stays_however_old(tmp_path):
    used, other = an_old_upload(tmp_path), an_old_upload(tmp_path, b"other")
    assert remove(tmp_path, lambda: uploads.digests_of(used)).uploads == (other,)
    assert uploads.path_of(tmp_path, used)


def test_nobody_is_asked_what_is_in_use_while_nothing_is_old(tmp_path):
    uploads.keep(tmp_path, [b"young"], max_bytes=100)

    def asked():
        raise AssertionError

    assert remove(tmp_path, asked) == uploads.Removed()


@pytest.mark.parametrize("again", ["sent", "asked about"])
def test_what_is_sent_or_asked_about_once_more_while_old_ones_are_removed_stays(tmp_path, again):
    """The one moment that matters: who refers to what was asked, and nothing has been removed yet."""
    reference = an_old_upload(tmp_path)

    def in_use():
        if again == "sent":
            assert uploads.keep(tmp_path, [b"abc"], max_bytes=100) == reference
        else:
            uploads.use(tmp_path, [uploads.joined([reference, "upload:sha256-" + "0" * 64])])
        return frozenset()

    assert remove(tmp_path, in_use).uploads == ()
    assert uploads.path_of(tmp_path, reference).read_bytes() == b"abc"


def test_keeping_and_removing_at_once_loses_nothing_that_was_kept(tmp_path):
    """Many times over: whoever was given a reference finds its file, until it is old again."""
    stop = threading.Event()

    def remove_for_ever():
        while not stop.is_set():
            remove(tmp_path)

    remover = threading.Thread(target=remove_for_ever)
    remover.start()
    try:
        for _ in range(300):
            reference = uploads.keep(tmp_path, [b"abc"], max_bytes=100)
            path = uploads.path_of(tmp_path, reference)
            os.utime(path, (OLD, OLD))
            uploads.use(tmp_path, [reference])
            if path.exists():  # it was not removed before it was asked about, and is not removed after
                time.sleep(0.0005)
                assert path.read_bytes() == b"abc"
    finally:
        stop.set()
        remover.join()


def test_using_what_is_no_upload_does_nothing(tmp_path):
    uploads.use(tmp_path / "nowhere", ["upload:sha256-" + "0" * 64, "https://a.example/x", "upload:../x"])
    assert not (tmp_path / "nowhere").exists()
