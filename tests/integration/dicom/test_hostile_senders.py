"""Senders that are broken, too large, too many, or want to get out of the folder."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from integrations.dicom.listener import AHEAD, NOT_WHAT_WAS_ANNOUNCED, TOO_LARGE
from integrations.dicom.transport import LONGEST_PDU
from tests.integration.dicom.conftest import eventually
from tests.integration.dicom.test_listener import associated, sent
from tests.unit.dicom.objects import a_file, a_photograph, a_slide

CLIENT = Path(__file__).with_name("hostile_client.py")


def shove(scp, path, *uid) -> str:
    command = [sys.executable, "-W", "ignore", str(CLIENT), scp.host, str(scp.port), str(path), *uid]
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip()


def everything_under(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("uid", ["../../../evil", "/etc/passwd", "1.2.3/4", "1.2.3\\4", "1..2", "1.2.3.4%00"])
def test_a_uid_never_becomes_a_path(scp, archive, folder, tmp_path, uid):
    (path,) = folder(a_file(a_slide()))
    before = everything_under(tmp_path)
    assert "0x0000" not in shove(scp, path, uid)
    assert archive.instances == []
    assert eventually(lambda: everything_under(tmp_path) == before)


def test_a_data_set_that_is_another_object_is_refused(scp, archive, folder):
    (path,) = folder(a_file(a_slide()))
    assert f"0x{NOT_WHAT_WAS_ANNOUNCED:04X}" in shove(scp, path, "1.2.3.9")
    assert archive.instances == []


def test_a_data_set_of_another_sop_class_is_refused(scp, archive, folder):
    photograph = a_photograph()
    data = a_file(photograph).replace(b".77.1.4", b".77.1.6", 1)
    (path,) = folder(data)
    assert f"0x{NOT_WHAT_WAS_ANNOUNCED:04X}" in shove(scp, path)


@pytest.mark.parametrize(
    "data_set",
    [
        b"",
        b"no data set at all" * 9,
        b"\x08\x00\x16\x00UI\xf0\xff1.2",
        b"\x08\x00\x05\x00SQ\0\0\xff\xff\xff\xff" * 3000,
    ],
    ids=["nothing", "words", "a length that lies", "3000 sequences in each other"],
)
def test_what_is_no_data_set_is_refused_and_leaves_nothing(scp, archive, folder, data_set):
    whole = a_file(a_slide())
    head = whole[: whole.index(b"\x08\x00\x08\x00CS")]
    (path,) = folder(head + data_set)
    assert shove(scp, path).startswith(("0xC100", "no answer"))
    assert archive.instances == []
    assert everything_under(scp.uploads) == set()
    assert sent(scp, a_slide()).Status == 0


def test_a_data_set_without_a_study_is_refused(scp, archive):
    assert sent(scp, a_slide(StudyInstanceUID=None)).Status == 0xC100
    assert everything_under(scp.uploads) == set()


def test_an_object_that_is_too_large_is_refused_with_a_status_of_its_own(start, archive):
    scp = start(max_bytes=100_000)
    answer = sent(scp, a_photograph(side=220))
    assert answer.Status == TOO_LARGE
    assert answer.ErrorComment == "larger than this server accepts"
    assert everything_under(scp.uploads) | everything_under(scp.spool) == set()
    assert sent(scp, a_photograph()).Status == 0


def test_an_object_without_end_is_cut_off(start, archive):
    scp = start(max_bytes=100_000)
    answer = sent(scp, a_photograph(side=2000))
    assert "Status" not in answer
    assert sum(path.stat().st_size for path in everything_under(scp.spool)) < 2 * 100_000 + 3 * LONGEST_PDU
    assert sent(scp, a_photograph()).Status == 0


def test_a_file_that_breaks_off_leaves_nothing_behind(scp, archive, folder):
    (path,) = folder(a_file(a_slide(tiles=64)))
    relay = Relay(scp.port, stop_after=500_000)
    shove(SimpleNamespace(host="127.0.0.1", port=relay.port), path)
    assert relay.passed >= 500_000
    assert eventually(lambda: everything_under(scp.spool) == set())
    assert sent(scp, a_slide("1.2.3.11")).Status == 0
    assert len(archive.instances) == 1


def test_what_a_killed_listener_left_is_swept(start, tmp_path):
    (tmp_path / "spool").mkdir()
    old, young = (tmp_path / "spool" / name for name in ("old.dcm", "young.dcm"))
    for path in (old, young):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 3600,) * 2)
    start()
    assert (old.exists(), young.exists()) == (False, True)


class Relay:
    """Passes one connection on, and breaks it off after so many bytes."""

    def __init__(self, to: int, *, stop_after: int):
        self.passed = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._run, args=(to, stop_after), daemon=True).start()

    def _run(self, to, stop_after):
        near, _ = self._listening.accept()
        with self._listening, near, socket.create_connection(("127.0.0.1", to)) as far:
            threading.Thread(target=self._back, args=(far, near), daemon=True).start()
            while self.passed < stop_after and (data := near.recv(65536)):
                far.sendall(data)
                self.passed += len(data)
            for end in (near, far):
                end.shutdown(socket.SHUT_RDWR)

    def _back(self, far, near):
        with suppress(OSError):
            while data := far.recv(65536):
                near.sendall(data)


def test_one_association_too_many_is_rejected_and_served_later(start, archive):
    scp = start(associations=2)
    open_ones = [associated(scp, a_slide()) for _ in range(2)]
    refused = associated(scp, a_slide())
    assert refused.is_rejected
    for association in open_ones:
        association.release()
    assert eventually(lambda: associated(scp, a_slide()).is_established)


def test_a_pdu_of_four_gigabytes_is_not_read(scp):
    with socket.create_connection((scp.host, scp.port), timeout=20) as peer:
        peer.sendall(b"\x01\x00\xff\xff\xff\xff" + bytes(1000))
        assert peer.recv(100) in (b"", peer_abort)
    assert sent(scp, a_slide()).Status == 0


peer_abort = b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00"


def test_who_connects_and_says_nothing_keeps_nobody_waiting(scp):
    silent = [socket.create_connection((scp.host, scp.port), timeout=20) for _ in range(20)]
    try:
        assert eventually(lambda: sent_or_none(scp) == 0)
    finally:
        for peer in silent:
            peer.close()


def sent_or_none(scp):
    association = associated(scp, a_slide())
    if not association.is_established:
        return None
    dataset = a_slide()
    a_file(dataset)
    status = association.send_c_store(dataset).get("Status")
    association.release()
    return status


def test_a_header_that_breaks_off_is_refused(scp, archive, folder):
    whole = a_file(a_slide())
    (path,) = folder(whole[: whole.index(b"\x20\x00\x0d\x00UI")])
    assert shove(scp, path).startswith("0xC100")
    assert archive.instances == []


def test_pixels_that_break_off_are_stored_as_they_came(scp, archive, folder):
    """Nothing here looks at pixels; the reading fails with `image_unreadable`."""
    (path,) = folder(a_file(a_slide())[:-1000])
    assert shove(scp, path).startswith("0x0000")
    assert len(archive.instances) == 1


def test_a_sender_that_does_not_wait_for_answers_is_cut_off(scp, archive):
    go_on = threading.Event()
    archive.on_add = lambda _instance: go_on.wait(20)
    association = associated(scp, a_slide())
    (context,) = association.accepted_contexts
    body = encode(a_slide(), is_implicit_vr=False, is_little_endian=True)
    for number in range(3 * AHEAD):
        request = C_STORE()
        request.MessageID, request.Priority = number + 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = a_slide().SOPClassUID, "1.2.3.4"
        request.DataSet = io.BytesIO(body)
        association.dimse.send_msg(request, context.context_id)
    assert eventually(lambda: association.is_aborted)
    go_on.set()
    archive.on_add = lambda _instance: None
    assert eventually(lambda: everything_under(scp.spool) == set())
    assert sent(scp, a_slide("1.2.3.12")).Status == 0
