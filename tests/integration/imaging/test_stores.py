"""`s3:` references against moto's server: a store that is not ours, on loopback."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from worker.errors import (
    FetchFailed,
    ImageMissing,
    ImageTooLarge,
    PathlaneError,
    ReferenceForbidden,
    UnknownScheme,
)
from worker.imaging.stores import Stores, check_prefixes, stores_of
from worker.imaging.supply import InMemory, Remote
from worker.imaging.web import FetchLimits
from worker.settings import SettingsError

LIMITS = FetchLimits(whole=1000, most_whole=3000, most=10_000_000, pieces=5_000_000)
SLIDE = os.urandom(3_000_000)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    pytest.importorskip("s3fs", reason="the extra `stores` is not installed")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def put(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, bytes], None]]:
    """Credentials come from where boto looks for them."""
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # a proxy of the environment would know what is asked for
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    client = boto3.client("s3", endpoint_url=endpoint, config=_without_proxy())
    client.create_bucket(Bucket="slides")

    def put(key: str, data: bytes) -> None:
        client.put_object(Bucket="slides", Key=key, Body=data)

    yield put
    for each in client.list_objects_v2(Bucket="slides").get("Contents", ()):
        client.delete_object(Bucket="slides", Key=each["Key"])
    client.delete_bucket(Bucket="slides")


def _without_proxy() -> Any:
    from botocore.config import Config

    return Config(proxies={})


def stores(endpoint: str, *prefixes: str, hosts: tuple[str, ...] = ("127.0.0.1",)) -> Stores:
    return stores_of(prefixes or ("s3://slides/lab",), endpoint=endpoint, hosts=hosts, plain_http=True)


def test_a_small_object_comes_whole_and_a_large_one_in_pieces(endpoint, put) -> None:
    put("lab/tile 1+ü.png", b"pixels")
    put("lab/slide.svs", SLIDE)
    opened = stores(endpoint)
    assert opened.supply("s3://slides/lab/tile 1+ü.png", limits=LIMITS) == InMemory(data=b"pixels")
    supply = opened.supply("s3://slides/lab/slide.svs", limits=LIMITS)
    assert isinstance(supply, Remote)
    assert supply.file.size == len(SLIDE)
    assert supply.file.read(1_000_000, 100_000) == SLIDE[1_000_000:1_100_000]
    assert supply.file.read(2_999_990, 100) == SLIDE[-10:]


def test_an_object_that_is_another_one_by_now_is_noticed(endpoint, put) -> None:
    put("lab/slide.svs", SLIDE)
    supply = stores(endpoint).supply("s3://slides/lab/slide.svs", limits=LIMITS)
    put("lab/slide.svs", bytes(len(SLIDE)))
    assert isinstance(supply, Remote)
    with pytest.raises(FetchFailed, match="changed"):
        supply.file.read(0, 10)


@pytest.mark.parametrize(
    "reference",
    [
        "s3://slides/labother/x",
        "s3://slides/lab",
        "s3://slides/lab/",
        "s3://slides/other/x",
        "s3://slides/lab/../other/x",
        "s3://slides/lab//x",
        "s3://slides/lab/x\n",
        "s3://other/lab/x",
        "s3:slides/lab/x",
        "gs://slides/lab/x",
    ],
)
def test_only_what_is_below_a_listed_prefix_may_be_named(endpoint, put, reference) -> None:
    put("other/x", b"secret")
    with pytest.raises(ReferenceForbidden):
        stores(endpoint).supply(reference, limits=LIMITS)


def test_what_is_not_there_is_missing_and_a_folder_is_no_image(endpoint, put) -> None:
    put("lab/deep/x", b"x")
    for name in ("none", "deep"):
        with pytest.raises(ImageMissing) as refusal:
            stores(endpoint).supply(f"s3://slides/lab/{name}", limits=LIMITS)
        assert name not in refusal.value.public


def test_an_object_larger_than_any_slide_is_refused(endpoint, put) -> None:
    put("lab/slide.svs", SLIDE)
    with pytest.raises(ImageTooLarge):
        stores(endpoint).supply(
            "s3://slides/lab/slide.svs",
            limits=FetchLimits(whole=1000, most_whole=3000, most=2_000_000, pieces=5_000_000),
        )


@pytest.mark.parametrize("hosts", [(), ("localhost",), ("127.0.0.2",), ("0.0.0.0/0",)])
def test_a_store_on_an_address_that_is_not_allowed_is_not_contacted(endpoint, put, hosts) -> None:
    put("lab/x", b"x")
    with pytest.raises(ReferenceForbidden):
        stores(endpoint, hosts=hosts).supply("s3://slides/lab/x", limits=LIMITS)


def test_a_name_of_a_store_is_looked_up_and_every_answer_is_checked(endpoint, put) -> None:
    put("lab/x", b"x")
    named = endpoint.replace("127.0.0.1", "localhost")
    with pytest.raises(ReferenceForbidden):  # it stands for this machine, which a name does not open
        stores(named, hosts=("localhost",)).supply("s3://slides/lab/x", limits=LIMITS)
    found = stores(named, hosts=("127.0.0.1", "::1")).supply("s3://slides/lab/x", limits=LIMITS)
    assert found == InMemory(data=b"x")


def test_plain_http_is_for_whoever_allowed_it(endpoint, put) -> None:
    secret = stores_of(["s3://slides/lab"], endpoint=endpoint, hosts=["127.0.0.1"], plain_http=False)
    with pytest.raises(ReferenceForbidden):
        secret.supply("s3://slides/lab/x", limits=LIMITS)


def test_without_credentials_a_store_is_closed(endpoint, put, monkeypatch, tmp_path) -> None:
    put("lab/x", b"x")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(PathlaneError) as refusal:
        stores(endpoint).supply("s3://slides/lab/x", limits=LIMITS)
    assert isinstance(refusal.value, ReferenceForbidden)


def test_a_store_that_is_not_there_is_for_later(put) -> None:
    with pytest.raises(FetchFailed):
        stores("http://127.0.0.1:9").supply("s3://slides/lab/x", limits=LIMITS)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.partition(".")[0] in ("fsspec", "s3fs"):
            raise ImportError
        return there(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnknownScheme, match="extra `stores`"):
        stores("").supply("s3://slides/lab/x", limits=LIMITS)


def test_other_stores_name_the_package_they_need() -> None:
    for scheme, package in (("gs", "gcsfs"), ("abfs", "adlfs")):
        with pytest.raises(UnknownScheme, match=package):
            stores("", f"{scheme}://slides/lab").supply(f"{scheme}://slides/lab/x", limits=LIMITS)


@pytest.mark.parametrize(
    "prefix", ["slides", "file:///etc", "https://a.example/x", "s3://", "s3:///x", "s3://a b"]
)
def test_a_prefix_that_is_no_place_in_a_store_is_told_by_its_number(prefix) -> None:
    with pytest.raises(SettingsError, match="entry 2") as problem:
        check_prefixes(["s3://slides/", prefix])
    assert prefix not in str(problem.value).replace("s3://bucket/prefix", "")
