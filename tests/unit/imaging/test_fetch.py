from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest

from worker import uploads
from worker.address import AllowList
from worker.errors import (
    FetchFailed,
    ImageMissing,
    ImageTooLarge,
    ImageUnreadable,
    PathlaneError,
    ReferenceForbidden,
    UnknownScheme,
)
from worker.imaging.fetch import fetch, fetch_https, path_in
from worker.pinned import pinned_client
from worker.settings import ImagingSettings


def no_https(url: str, max_bytes: int) -> bytes:
    raise AssertionError(f"asked for {len(url)} characters, {max_bytes} bytes")


def read(reference: str, settings: ImagingSettings) -> bytes:
    return fetch(reference, settings=settings, fetch_https=no_https)


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("file:/a/b.png", "/a/b.png"),
        ("file:///a/b.png", "/a/b.png"),
        ("file://localhost/a/b.png", "/a/b.png"),
        ("file:///a/with%20blank.png", "/a/with blank.png"),
        ("file:///a/100%25.png", "/a/100%.png"),
        ("file:///a/M%C3%BCller.png", "/a/Müller.png"),
        ("file:///a/q?.png", "/a/q?.png"),
    ],
)
def test_file_references_name_an_absolute_path(reference: str, path: str) -> None:
    assert path_in(reference) == Path(path)


@pytest.mark.parametrize(
    "reference", ["file:a.png", "file://host/a.png", "file:///a%00.png", "file:", "file://"]
)
def test_other_file_references_are_forbidden(reference: str) -> None:
    with pytest.raises(ReferenceForbidden):
        path_in(reference)


def test_a_file_under_a_root_is_read(settings: ImagingSettings) -> None:
    (settings.image_roots[0] / "case 1").mkdir()
    file = settings.image_roots[0] / "case 1" / "tile ü.png"
    file.write_bytes(b"pixels")
    assert read(file.as_uri(), settings) == b"pixels"
    assert read(f"file:{file}", settings) == b"pixels"


def test_a_link_inside_a_root_may_be_followed_and_one_that_leads_out_may_not(
    settings: ImagingSettings,
) -> None:
    root = settings.image_roots[0]
    (root / "tile.png").write_bytes(b"pixels")
    (root.parent / "secret").write_bytes(b"secret")
    (root / "inside").symlink_to(root / "tile.png")
    (root / "outside").symlink_to(root.parent / "secret")
    (root / "folder").symlink_to(root.parent)
    (root / "circle").symlink_to(root / "circle")
    assert read((root / "inside").as_uri(), settings) == b"pixels"
    for name in ("outside", "folder/secret", "circle", "../secret", "%2e%2e/secret"):
        with pytest.raises(ReferenceForbidden):
            read(f"{root.as_uri()}/{name}", settings)


def test_a_root_may_itself_be_a_link(settings: ImagingSettings) -> None:
    root = settings.image_roots[0]
    (root / "tile.png").write_bytes(b"pixels")
    (root.parent / "link").symlink_to(root)
    linked = settings.model_copy(update={"image_roots": (root.parent / "link",)})
    assert read((root / "tile.png").as_uri(), linked) == b"pixels"


def test_outside_the_roots_nobody_learns_what_exists(settings: ImagingSettings) -> None:
    for path in ("/etc/passwd", "/etc/no-such-file", str(settings.image_roots[0]) + "-other/tile.png"):
        with pytest.raises(ReferenceForbidden):
            read(f"file://{path}", settings)


def test_without_roots_no_file_opens(settings: ImagingSettings) -> None:
    file = settings.image_roots[0] / "tile.png"
    file.write_bytes(b"pixels")
    with pytest.raises(ReferenceForbidden):
        read(file.as_uri(), settings.model_copy(update={"image_roots": ()}))


def test_a_link_put_in_place_after_the_check_is_not_followed(
    settings: ImagingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = settings.image_roots[0]
    (root.parent / "secret").write_bytes(b"secret")
    (root / "tile.png").symlink_to(root.parent / "secret")
    monkeypatch.setattr(Path, "resolve", lambda path: path)
    with pytest.raises(PathlaneError) as refusal:
        read((root / "tile.png").as_uri(), settings)
    assert str(root) not in refusal.value.public


@pytest.mark.timeout(10)
def test_only_regular_files_are_read(settings: ImagingSettings) -> None:
    root = settings.image_roots[0]
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    for name in ("pipe", "folder", ""):
        with pytest.raises(ReferenceForbidden):
            read(f"{root.as_uri()}/{name}", settings)


def test_a_missing_file_is_missing_and_a_large_one_too_large(settings: ImagingSettings) -> None:
    root = settings.image_roots[0]
    (root / "large").write_bytes(b"x" * 1025)
    with pytest.raises(ImageMissing) as refusal:
        read((root / "no-such-file").as_uri(), settings)
    assert "no-such-file" not in refusal.value.public
    with pytest.raises(ImageTooLarge):
        read((root / "large").as_uri(), settings.model_copy(update={"max_image_bytes": 1024}))


def test_an_upload_is_read_and_checked_against_its_digest(settings: ImagingSettings) -> None:
    reference = uploads.keep(settings.uploads_dir, [b"pixels"], max_bytes=100)
    assert read(reference, settings) == b"pixels"
    uploads.path_of(settings.uploads_dir, reference).write_bytes(b"others")
    with pytest.raises(ImageUnreadable):
        read(reference, settings)
    with pytest.raises(ImageMissing):
        read("upload:sha256-" + "0" * 64, settings)
    with pytest.raises(ReferenceForbidden):
        read("upload:sha256-../../etc/passwd", settings)


@pytest.mark.parametrize(
    "reference", ["http://a.example/x.png", "ftp://a/x", "data:image/png;base64,AAAA", "x"]
)
def test_unknown_schemes_are_refused(reference: str, settings: ImagingSettings) -> None:
    with pytest.raises(UnknownScheme):
        read(reference, settings)


URL = "https://images.example.org/tile.png"


def answering(*answers: httpx.Response | Exception) -> httpx.Client:
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "identity"
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return httpx.Client(transport=httpx.MockTransport(answer))


def test_https_gives_the_bytes_as_they_were_sent() -> None:
    with answering(httpx.Response(200, stream=httpx.ByteStream(b"pixels"))) as client:
        assert fetch_https(client, URL, 6) == b"pixels"


@pytest.mark.parametrize("status", [404, 410, 400, 204])
def test_what_is_not_there_is_missing(status: int) -> None:
    with answering(httpx.Response(status)) as client, pytest.raises(ImageMissing):
        fetch_https(client, URL, 100)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again_later(status: int) -> None:
    with answering(httpx.Response(status)) as client, pytest.raises(FetchFailed) as failure:
        fetch_https(client, URL, 100)
    assert failure.value.retryable


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")]
)
def test_a_broken_connection_is_tried_again_later(error: Exception) -> None:
    with answering(error) as client, pytest.raises(FetchFailed) as failure:
        fetch_https(client, URL, 100)
    assert failure.value.detail == ""


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403])
def test_redirects_and_closed_doors_are_not_tried_again(status: int) -> None:
    answer = httpx.Response(status, headers={"location": "https://elsewhere.example/"})
    with answering(answer) as client, pytest.raises(ReferenceForbidden):
        fetch_https(client, URL, 100)


def test_a_large_answer_is_refused_whether_it_says_so_or_not() -> None:
    honest = httpx.Response(200, content=b"x" * 101)
    silent = httpx.Response(200, content=iter([b"x" * 60, b"x" * 60]))
    with answering(honest, silent) as client:
        for _ in range(2):
            with pytest.raises(ImageTooLarge):
                fetch_https(client, URL, 100)


def test_a_url_with_a_password_or_no_host_is_forbidden() -> None:
    with answering() as client:
        for url in ("https://user:secret@images.example.org/x", "https://[::1/x", "https://xn--a/x"):
            with pytest.raises(ReferenceForbidden):
                fetch_https(client, url, 100)


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/x", "https://169.254.169.254/latest", "https://not-listed.example/x"]
)
def test_addresses_that_are_not_listed_are_forbidden(url: str) -> None:
    with (
        pinned_client(AllowList.of(["images.example.org"]), seconds=1) as client,
        pytest.raises(ReferenceForbidden),
    ):
        fetch_https(client, url, 100)
