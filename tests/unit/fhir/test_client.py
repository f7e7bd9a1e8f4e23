"""One request against a server made of a function: what is sent, and what comes of every answer."""

from __future__ import annotations

import inspect
import json
import socket
import ssl

import httpx
import pytest

from integrations.fhir.client import FhirServer
from integrations.fhir.subscription import Content
from worker.errors import AddressRefused, FhirRejected, FhirUnavailable, PathlaneError

BASE = "https://lis.lab.example/fhir"
PATIENT = {"resourceType": "Patient", "id": "CANARY"}
TRANSACTION = {"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": PATIENT}, {}]}


def server(handler, **fields):
    return FhirServer(base=BASE, client=httpx.Client(transport=httpx.MockTransport(handler)), **fields)


def answering(status, body=b"", **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server(lambda _: httpx.Response(status, content=content, headers=named))


def transaction_response(*statuses):
    return {
        "resourceType": "Bundle",
        "type": "transaction-response",
        "entry": [{"response": {"status": status}} for status in statuses],
    }


@pytest.mark.parametrize(
    "reference", ["Patient/CANARY", f"{BASE}/Patient/CANARY", "Patient/CANARY/_history/2"]
)
def test_a_reference_to_this_server_is_read_at_its_newest_version(reference):
    asked = []
    known = server(lambda request: asked.append(request) or httpx.Response(200, json=PATIENT))
    assert known.read(reference) == PATIENT
    assert str(asked[0].url) == f"{BASE}/Patient/CANARY"
    assert asked[0].headers["accept"] == "application/fhir+json"
    assert asked[0].headers["user-agent"].startswith("pathlane/")


@pytest.mark.parametrize(
    "reference",
    [
        "https://evil.example/fhir/Patient/CANARY",
        "https://lis.lab.example.evil.example/fhir/Patient/CANARY",
        "https://lis.lab.example/other/Patient/CANARY",
        "x/../Patient/CANARY",
        "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a",
        "Patient/../../admin",
        "Patient/a?b",
        "#inside",
        "",
    ],
)
def test_a_reference_that_leads_elsewhere_is_never_opened(reference):
    with pytest.raises(FhirRejected) as rejected:
        server(raising(AssertionError())).read(reference)
    assert rejected.value.http_status == 404


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (429, FhirUnavailable, "busy"),
        (500, FhirUnavailable, "busy"),
        (503, FhirUnavailable, "busy"),
        (504, FhirUnavailable, "busy"),
        (408, FhirUnavailable, "busy"),
        (409, FhirUnavailable, "busy"),  # two transactions met
        (301, FhirRejected, None),
        (400, FhirRejected, None),
        (401, FhirRejected, None),
        (403, FhirRejected, None),
        (404, FhirRejected, None),
        (410, FhirRejected, None),
        (412, FhirRejected, None),
        (422, FhirRejected, None),
    ],
)
def test_the_status_says_whether_to_try_again(status, error, reason):
    with pytest.raises(error) as raised:
        answering(status, PATIENT, retry_after="120", location="https://evil.example/").read("Patient/1")
    assert raised.value.http_status == status
    assert raised.value.retryable == (error is FhirUnavailable)
    if reason:
        assert (raised.value.reason, raised.value.retry_after) == (reason, "120")


def test_of_an_operation_outcome_only_the_codes_of_the_standard_are_kept():
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [
            {
                "severity": "error",
                "code": "invariant",
                "diagnostics": "MÜLLER CANARY",
                "expression": ["CANARY"],
            },
            {"severity": "error", "code": "CANARY"},
            {"severity": "error", "code": "invariant"},
            {"severity": "error", "code": "value", "details": {"text": "CANARY"}},
        ],
    }
    with pytest.raises(FhirRejected) as rejected:
        answering(422, outcome).transact(TRANSACTION)
    assert rejected.value.issues == ("invariant", "value")
    assert "CANARY" not in f"{rejected.value!r} {rejected.value} {rejected.value.__cause__!r}"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>CANARY</html>", b"[]", b'"x"', b"{}", b'{"resourceType": 7}', b"\xff", b"[" * 100_000],
)
def test_a_2xx_without_a_resource_is_no_answer(body):
    with pytest.raises(FhirUnavailable) as raised:
        answering(200, body).read("Patient/1")
    assert (raised.value.reason, raised.value.http_status) == ("unreadable", 200)
    assert "CANARY" not in repr(raised.value)
    assert raised.value.__cause__ is None


def test_an_answer_that_never_ends_is_not_read_to_its_end():
    def endless():
        while True:
            yield b"x" * 1024

    endless_server = server(lambda _: httpx.Response(200, content=endless()), answer_bytes=10_000)
    with pytest.raises(FhirUnavailable, match="too_large"):
        endless_server.read("Patient/1")


def pages(*links):
    """A server whose page N has link N as its next."""
    asked = []

    def handler(request):
        page = {"resourceType": "Bundle", "type": "searchset"}
        if len(asked) < len(links):
            page["link"] = [{"relation": "self", "url": "x"}, {"relation": "next", "url": links[len(asked)]}]
        asked.append(str(request.url))
        return httpx.Response(200, json=page)

    return server(handler), asked


@pytest.mark.parametrize(
    "link", [f"{BASE}?page=2", "?page=2", "/fhir?page=2", "//lis.lab.example/fhir?page=2"]
)
def test_the_next_page_is_followed_on_the_same_server(link):
    known, asked = pages(link)
    assert len(list(known.search("Task", [("owner", "Device/1"), ("status", "a,b")]))) == 2
    assert asked[0] == f"{BASE}/Task?owner=Device%2F1&status=a%2Cb"
    assert httpx.URL(asked[1]).host == "lis.lab.example"


@pytest.mark.parametrize(
    "link",
    ["https://evil.example/fhir?page=2", "http://lis.lab.example/fhir", "https://lis.lab.example:8443/fhir",
     "https://u@lis.lab.example/fhir", "//evil.example/", "http://["],
)  # fmt: skip
def test_the_next_page_is_not_followed_to_another_origin(link):
    known, asked = pages(link)
    with pytest.raises(FhirUnavailable, match="link"):
        list(known.search("Task", []))
    assert len(asked) == 1


def test_pages_without_end_are_left_at_some_point():
    known, asked = pages(*["?page=again"] * 100)
    assert len(list(known.search("Task", [], pages=7))) == 7 == len(asked)


def test_a_transaction_is_one_post_to_the_base_and_asks_for_no_copy_of_the_case():
    asked = []
    answer = transaction_response("201 Created", "200 OK")
    server(lambda request: asked.append(request) or httpx.Response(200, json=answer)).transact(TRANSACTION)
    (request,) = asked
    assert (request.method, str(request.url)) == ("POST", BASE)
    assert request.headers["content-type"] == "application/fhir+json"
    assert request.headers["prefer"] == "return=minimal"
    assert json.loads(request.content) == TRANSACTION


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (transaction_response("201", "412 Precondition Failed"), FhirRejected),
        (transaction_response("201", ""), FhirRejected),
        (transaction_response("201"), FhirUnavailable),
        ({"resourceType": "OperationOutcome"}, FhirUnavailable),
        (transaction_response("201", "201") | {"type": "batch-response"}, FhirUnavailable),
    ],
)
def test_a_transaction_is_done_when_every_entry_says_so(answer, error):
    with pytest.raises(error):
        answering(200, answer).transact(TRANSACTION)


def test_a_conditional_create_sends_its_condition_as_a_header():
    asked = []
    known = server(lambda request: asked.append(request) or httpx.Response(201, json=PATIENT))
    assert known.create(PATIENT, if_none_exist="identifier=urn:x|1") == PATIENT
    assert (str(asked[0].url), asked[0].headers["if-none-exist"]) == (f"{BASE}/Patient", "identifier=urn:x|1")


def test_the_events_of_a_gap_are_asked_for_with_both_ends_included():
    asked = []
    known = server(lambda request: asked.append(str(request.url)) or httpx.Response(200, json=PATIENT))
    known.events("sub/1", range(3, 6), Content.ID_ONLY)
    query = "eventsSinceNumber=3&eventsUntilNumber=5&content=id-only"
    assert asked == [f"{BASE}/Subscription/sub%2F1/$events?{query}"]


WORDS = {
    httpx.TransportError: "transport", httpx.TimeoutException: "timeout", httpx.ConnectTimeout: "timeout",
    httpx.ReadTimeout: "timeout", httpx.WriteTimeout: "timeout", httpx.PoolTimeout: "timeout",
    httpx.NetworkError: "dropped", httpx.ConnectError: "unreachable", httpx.ReadError: "dropped",
    httpx.WriteError: "dropped", httpx.CloseError: "dropped", httpx.ProtocolError: "transport",
    httpx.LocalProtocolError: "transport", httpx.RemoteProtocolError: "dropped", httpx.ProxyError: "transport",
    httpx.UnsupportedProtocol: "url",
}  # fmt: skip


def test_the_words_are_for_all_transport_exceptions_of_httpx():
    classes = (cls for _, cls in inspect.getmembers(httpx, inspect.isclass))
    assert {cls for cls in classes if issubclass(cls, httpx.TransportError)} == set(WORDS)


@pytest.mark.parametrize("kind", [*WORDS, httpx.DecodingError, httpx.TooManyRedirects, UnicodeError])
def test_every_failure_to_reach_the_server_is_worth_another_try_and_quotes_nothing(kind):
    with pytest.raises(FhirUnavailable) as raised:
        server(raising(kind("CANARY"))).read("Patient/1")
    assert raised.value.reason == WORDS.get(kind, "url" if kind is UnicodeError else "transport")
    assert "CANARY" not in repr(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("behind", "word"),
    [(ConnectionRefusedError(), "refused"), (socket.gaierror(), "dns"), (ssl.SSLCertVerificationError(), "tls"),
     (OSError(), "unreachable")],
)  # fmt: skip
def test_a_connection_that_fails_is_told_by_what_is_behind_it(behind, word):
    error = httpx.ConnectError("")
    error.__cause__ = behind
    with pytest.raises(FhirUnavailable, match=word):
        server(raising(error)).read("Patient/1")


def test_an_address_that_is_refused_is_the_operator_s_to_change():
    with pytest.raises(AddressRefused):
        server(raising(AddressRefused())).read("Patient/1")


def test_the_server_s_repr_shows_nothing():
    assert "lis.lab.example" not in repr(answering(200))


def test_only_errors_of_the_tree_come_out():
    for status in range(200, 600):
        try:
            answering(status, b"CANARY").transact(TRANSACTION)
        except PathlaneError as error:
            assert "CANARY" not in repr(error)


def raising(error):
    def handler(_):
        raise error

    return handler
