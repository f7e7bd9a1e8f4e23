"""Endpoint URLs: two forms, and refusals that do not repeat them."""

from __future__ import annotations

import pytest

from integrations.dicom.endpoint import DicomWeb, Dimse, parse_dicomweb, parse_dimse
from worker.errors import InvalidRequest


@pytest.mark.parametrize(
    ("url", "peer"),
    [
        (
            "dicom://ARCHIVE@pacs.lab.example:11112",
            Dimse(title="ARCHIVE", host="pacs.lab.example", port=11112),
        ),
        ("dicom://ARCHIVE@pacs.lab.example", Dimse(title="ARCHIVE", host="pacs.lab.example", port=104)),
        ("dicom://MY%20PACS@10.1.2.3:104/", Dimse(title="MY PACS", host="10.1.2.3", port=104)),
        ("dicom://A@[fd12::1]:104", Dimse(title="A", host="fd12::1", port=104)),
        ("dicom+tls://A@pacs", Dimse(title="A", host="pacs", port=2762, tls=True)),
    ],
)
def test_an_application_entity(url, peer):
    assert parse_dimse(url) == peer


@pytest.mark.parametrize(
    "url",
    [
        "", "dicom://", "dicom://host:104", "dicom://A@", "dicom://A@host:0x1", "dicom://A@host:99999", "dicom://A:secret@host",
        "dicom://A@host/path", "dicom://A@host?x=1", "dicom://ABCDEFGHIJKLMNOPQ@host", "https://A@host", "dicom://A%0d@host",
        "dicom://[A@host", "dicom://A@ho st",
    ],
)  # fmt: skip
def test_what_is_no_application_entity_is_refused_and_not_repeated(url):
    with pytest.raises(InvalidRequest) as refused:
        parse_dimse(url)
    assert "secret" not in str(refused.value)


def test_a_web_server():
    assert parse_dicomweb("dicomweb+https://pacs.lab.example:8443/dicom-web/") == DicomWeb(
        root="https://pacs.lab.example:8443/dicom-web"
    )
    assert parse_dicomweb("dicomweb+http://pacs/x").studies == "http://pacs/x/studies"


@pytest.mark.parametrize(
    "url",
    ["", "https://host/x", "dicomweb+ftp://host", "dicomweb+https://", "dicomweb+https://u:secret@host", "dicomweb+https://h?k=1",
     "dicomweb+https://h:port/"],
)  # fmt: skip
def test_what_is_no_web_server_is_refused_and_not_repeated(url):
    with pytest.raises(InvalidRequest) as refused:
        parse_dicomweb(url)
    assert "secret" not in str(refused.value)
