from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from worker.address import AllowList
from worker.errors import FetchFailed, ImageMissing, ImageTooLarge, PathlaneError, ReferenceForbidden
from worker.imaging.supply import InMemory, Remote
from worker.imaging.web import FetchLimits, fetch_https, web_supply
from worker.pinned import pinned_client

LIMITS = FetchLimits(whole=1000, most_whole=3000, most=10_000_000, pieces=5_000_000)
FILE = bytes(range(256)) * 10_000
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


class Server:
    """Gives FILE, in ranges, as RFC 9110 has it; `answers` come first."""

    def __init__(self, file: bytes = FILE, **headers: str) -> None:
        self.file, self.headers = file, {"etag": '"1"'} | headers
        self.asked: list[httpx.Headers] = []
        self.answers: list[httpx.Response] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.headers)
        if self.answers:
            return self.answers.pop(0)
        if request.headers.get("if-match", self.headers["etag"]) != self.headers["etag"]:
            return httpx.Response(412)
        if "range" not in request.headers:
            return httpx.Response(200, stream=httpx.ByteStream(self.file), headers=self.headers)
        first, last = map(int, request.headers["range"].removeprefix("bytes=").split("-"))
        if first >= len(self.file):
            return httpx.Response(416, headers={"content-range": f"bytes */{len(self.file)}"})
        last = min(last, len(self.file) - 1)
        return httpx.Response(
            206,
            stream=httpx.ByteStream(self.file[first : last + 1]),
            headers=self.headers | {"content-range": f"bytes {first}-{last}/{len(self.file)}"},
        )


def opened(server: Callable[[httpx.Request], httpx.Response], limits: FetchLimits = LIMITS):
    client = httpx.Client(transport=httpx.MockTransport(server))
    return web_supply(client, URL, limits=limits, sleep=lambda _: None)


def test_a_small_file_comes_whole_with_one_request() -> None:
    server = Server(b"pixels")
    assert opened(server) == InMemory(data=b"pixels")
    assert len(server.asked) == 1


def test_an_empty_file_is_empty() -> None:
    assert opened(Server(b"")) == InMemory(data=b"")


def test_a_large_file_is_read_in_pieces_and_never_whole() -> None:
    server = Server()
    supply = opened(server)
    assert isinstance(supply, Remote)
    assert supply.file.size == len(FILE)
    assert supply.file.read(1_000_000, 300_000) == FILE[1_000_000:1_300_000]
    assert supply.file.read(1_000_100, 10) == FILE[1_000_100:1_000_110]
    assert [asked["range"] for asked in server.asked] == ["bytes=0-999", "bytes=0-2097151"]
    assert server.asked[1]["if-match"] == '"1"'


def test_a_server_without_ranges_gives_its_file_whole_up_to_the_limit() -> None:
    def whole(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=httpx.ByteStream(FILE[:2000]))

    assert opened(whole) == InMemory(data=FILE[:2000])
    with pytest.raises(ImageTooLarge):
        opened(lambda _: httpx.Response(200, content=FILE[:3001]))


@pytest.mark.parametrize("etag", ['W/"1"', ""])
def test_a_large_file_of_which_nobody_could_say_that_it_changed_is_read_whole_or_not_at_all(
    etag: str,
) -> None:
    assert opened(Server(FILE[:2000], etag=etag)) == InMemory(data=FILE[:2000])
    with pytest.raises(ImageTooLarge):
        opened(Server(etag=etag))
    dated = opened(Server(etag=etag, **{"last-modified": "Mon, 23 Nov 2026 10:00:00 GMT"}))
    assert isinstance(dated, Remote)


def test_a_file_that_is_another_one_by_now_is_noticed() -> None:
    for changed in ({"etag": '"2"'}, {}):
        server = Server()
        supply = opened(server)
        server.headers |= changed
        if not changed:  # a server that looks at no condition
            server.file = FILE[1:]
        with pytest.raises(FetchFailed, match="changed"):
            supply.file.read(0, 10)


def test_a_busy_server_is_asked_again_a_few_times_and_then_later() -> None:
    server = Server()
    supply = opened(server)
    server.answers = [httpx.Response(503), httpx.Response(429, headers={"retry-after": "1"})]
    assert supply.file.read(0, 4) == FILE[:4]
    server.answers = [httpx.Response(503) for _ in range(4)]
    with pytest.raises(FetchFailed):
        supply.file.read(2_200_000, 4)
    assert server.answers == []
    server.answers = [httpx.Response(503, headers={"retry-after": "3600"})]
    with pytest.raises(FetchFailed):
        supply.file.read(2_200_000, 4)


@pytest.mark.parametrize(
    ("status", "error"), [(404, ImageMissing), (403, ReferenceForbidden), (302, ReferenceForbidden)]
)
def test_a_file_that_is_closed_while_it_is_read_is_not_asked_for_again(
    status: int, error: type[PathlaneError]
) -> None:
    server = Server()
    supply = opened(server)
    server.answers = [httpx.Response(status)]
    with pytest.raises(error):
        supply.file.read(0, 4)
    assert len(server.asked) == 2


def test_a_file_that_is_too_large_for_pieces_is_not_begun() -> None:
    with pytest.raises(ImageTooLarge):
        opened(Server(), FetchLimits(whole=1000, most_whole=3000, most=2_000_000, pieces=5_000_000))
