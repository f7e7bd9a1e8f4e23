"""One line, one message in flight; an acknowledgement counts for the message that it names, and for no other."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from dataclasses import replace

import pytest

from integrations.hl7.line import FrameBroken, Line, LineBusy, Place
from integrations.hl7.sender import Lines, attempt, reason_of
from integrations.schedule import SCHEDULE
from tests.unit.hl7.receiver import (
    END,
    START,
    Receiver,
    acknowledgement,
    after,
    both,
    hangs_up,
    is_silent,
    says,
    sends,
)
from worker.address import AllowList
from worker.errors import AddressRefused
from worker.jobs.event import Delivery, DeliveryStatus, Endpoint, EndpointStatus, EventType, Outcome, Payload

LOOPBACK = AllowList.of(["127.0.0.0/8"])
#: for answers that never come
SHORT = 0.5


def a_message(control_id: str) -> bytes:
    return f"MSH|^~\\&|PATHLANE|PATH|LIS|LAB|20261123100100||ORU^R01^ORU_R01|{control_id}|P|2.5.1\r".encode()


def an_endpoint(url: str, endpoint_id: str = "ep_1") -> Endpoint:
    return Endpoint(
        id=endpoint_id, name="lis", url=url, status=EndpointStatus.ACTIVE, event_types=tuple(EventType),
        payload=Payload.FULL, secrets=(),
    )  # fmt: skip


def a_delivery(number: int = 1, last: str = "1") -> Delivery:
    return Delivery(
        id="msg_01JDXW3K6ZQ8V5R2M7N4T9B1C" + last, job_id="job_1", endpoint=an_endpoint("mllp://lis.example"),
        event_type=EventType.JOB_SUCCEEDED, body=b"{}", attempt=number,
    )  # fmt: skip


@pytest.fixture
def line_to():
    lines = []

    def line(url: str, seconds: float = 5, **options) -> Line:
        lines.append(Line(url, **{"allow": LOOPBACK, "seconds": seconds} | options))
        return lines[-1]

    yield line
    for one in lines:
        one.close()


def tell(line: Line, delivery: Delivery | None = None) -> Outcome:
    delivery = delivery or a_delivery()
    return attempt(delivery, a_message(delivery.id[-20:]), line, chance=0.5)


def later(reason: str, attempt: int = 1) -> Outcome:
    return Outcome(status=DeliveryStatus.PENDING, wait=SCHEDULE[attempt], reason=reason)


DELIVERED = Outcome(status=DeliveryStatus.DELIVERED)


def test_the_message_goes_out_framed_as_it_is_and_is_delivered_when_accepted(line_to):
    with Receiver([says("AA")]) as receiver:
        assert tell(line_to(receiver.url)) == DELIVERED
    assert receiver.messages == [a_message(a_delivery().id[-20:])]


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("AA", DELIVERED),
        ("CA", DELIVERED),
        ("aa", DELIVERED),
        ("AE", later("not_accepted")),
        ("CE", later("not_accepted")),
        ("AR", Outcome(status=DeliveryStatus.EXHAUSTED, reason="rejected")),
        ("CR", Outcome(status=DeliveryStatus.EXHAUSTED, reason="rejected")),
        ("OK", later("not_understood")),
        ("", later("not_understood")),
    ],
)
def test_what_comes_of_every_acknowledgement_code(line_to, code, outcome):
    with Receiver([says(code)]) as receiver:
        assert tell(line_to(receiver.url)) == outcome


def test_a_message_that_is_rejected_does_not_hold_up_the_next(line_to):
    with Receiver([says("AR"), says("AA")]) as receiver:
        line = line_to(receiver.url)
        assert tell(line).status is DeliveryStatus.EXHAUSTED
        assert tell(line, a_delivery(last="2")) == DELIVERED


def test_an_error_is_told_again_on_the_same_connection_under_the_same_control_id(line_to):
    with Receiver([says("AE"), says("AA")]) as receiver:
        line = line_to(receiver.url)
        assert tell(line) == later("not_accepted")
        assert tell(line, a_delivery(number=2)) == DELIVERED
    assert receiver.received == [(1, a_delivery().id[-20:])] * 2


def test_resends_come_to_an_end(line_to):
    with Receiver([says("AE")]) as receiver:
        outcome = tell(line_to(receiver.url), a_delivery(number=len(SCHEDULE)))
    assert outcome == Outcome(status=DeliveryStatus.EXHAUSTED, wait=None, reason="not_accepted")


def test_many_messages_go_over_one_connection(line_to):
    with Receiver([says("AA")] * 50) as receiver:
        line = line_to(receiver.url)
        assert all(line.send(a_message(f"N{n}"), f"N{n}").is_accepted for n in range(50))
    assert {connection for connection, _ in receiver.received} == {1}


@pytest.mark.parametrize(
    "answer",
    [
        says("AA", head="ACK", version="2.3"),  # simple-hl7
        lambda connection, number: connection.sendall(
            START + f"MSH|^~\\&|L||P||2026||ACK|1|P|2.3\nMSA|AA|{number}\n".encode() + END
        ),
        lambda connection, number: connection.sendall(
            b"\r\n" + START + f"MSH$%~\\&$L$\r\nMSA$AA$ {number} $fine\r\n".encode() + END + b"\r\n"
        ),
        lambda connection, number: connection.sendall(acknowledgement(number).replace(b"LAB", b"M\xdcLLER")),
        lambda connection, number: [connection.send(bytes([one])) for one in acknowledgement(number)],
    ],
    ids=[
        "bare ACK of version 2.3",
        "LF",
        "delimiters, CRLF, and lines between frames",
        "Latin-1",
        "byte by byte",
    ],
)
def test_acknowledgements_of_all_sorts_are_read(line_to, answer):
    with Receiver([answer, says("AA")]) as receiver:
        line = line_to(receiver.url)
        assert tell(line) == DELIVERED
        assert tell(line, a_delivery(last="2")) == DELIVERED


@pytest.mark.parametrize(
    "stranger",
    [
        acknowledgement("OTHER"),
        acknowledgement(""),
        acknowledgement(a_delivery().id[-19:]),
        START + b"MSH|^~\\&|LIS\rMSA|AA\r" + END,
        START + b"MSH|^~\\&|LIS\r" + END,
        START + b"MSH\r" + END,
        START + b"HELLO\r" + END,
        START + END,
    ],
    ids=["another id", "no id", "a shorter id", "no MSA-2", "no MSA", "no delimiters", "no HL7", "nothing"],
)
def test_an_answer_that_does_not_name_the_message_is_not_credited_and_waiting_goes_on(line_to, stranger):
    with Receiver([sends(stranger), both(sends(stranger), says("AA"))]) as receiver:
        assert tell(line_to(receiver.url, seconds=SHORT)) == later("timeout")
        assert tell(line_to(receiver.url)) == DELIVERED


def test_a_late_acknowledgement_never_meets_the_next_message(line_to):
    """The receiver answers the first message when the second one is on its way, and never the second."""
    late = threading.Event()
    with Receiver([after(late, says("AA")), both(lambda *_: late.set(), is_silent)]) as receiver:
        line = line_to(receiver.url, seconds=SHORT)
        assert tell(line) == later("timeout")
        assert tell(line, a_delivery(last="2")) == later("timeout")
    assert [connection for connection, _ in receiver.received] == [1, 2]


def test_a_late_acknowledgement_is_not_credited_to_a_resend_either(line_to):
    late = threading.Event()
    with Receiver([after(late, says("AA")), both(lambda *_: late.set(), is_silent)]) as receiver:
        line = line_to(receiver.url, seconds=SHORT)
        assert tell(line) == later("timeout")
        assert tell(line, a_delivery(number=2)) == later("timeout", attempt=2)


@pytest.mark.parametrize("apart", [False, True], ids=["in one packet", "one after the other"])
def test_of_two_acknowledgements_the_first_counts_and_the_second_meets_nobody(line_to, apart):
    second = threading.Event()
    twice = both(says("AE"), after(second, says("AA"))) if apart else says("AE", "AA")
    with Receiver([twice, is_silent]) as receiver:
        line = line_to(receiver.url, seconds=2 * SHORT)
        assert tell(line) == later("not_accepted")
        second.set()
        time.sleep(SHORT / 4)
        assert tell(line, a_delivery(number=2)) == later("timeout", attempt=2)
    assert [connection for connection, _ in receiver.received] == [1, 2]


def test_an_application_acknowledgement_after_an_accept_acknowledgement_is_let_go(line_to):
    with Receiver([says("CA", "AE"), says("CA", "AA")]) as receiver:
        line = line_to(receiver.url)
        assert tell(line) == DELIVERED
        assert tell(line, a_delivery(last="2")) == DELIVERED


def test_no_answer_is_a_timeout_within_the_time_limit(line_to):
    with Receiver([is_silent]) as receiver:
        began = time.monotonic()
        assert tell(line_to(receiver.url, seconds=SHORT)) == later("timeout")
        assert time.monotonic() - began < SHORT + 1


def test_a_receiver_that_keeps_talking_is_not_listened_to_for_ever(line_to):
    def talk(connection: socket.socket, _: str) -> None:
        for _ in range(200):
            connection.sendall(acknowledgement("OTHER"))
            time.sleep(0.02)

    with Receiver([talk]) as receiver:
        assert tell(line_to(receiver.url, seconds=SHORT)) == later("timeout")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (acknowledgement("X")[:20], "timeout"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" + acknowledgement("X"), "frame"),
        (START + b"MSH|" + acknowledgement("X"), "frame"),
        (START + b"x" * 200_000, "frame"),
        (acknowledgement("OTHER") * 2000, "frame"),
    ],
    ids=["half a frame", "another protocol", "a frame in a frame", "an endless frame", "endless frames"],
)
def test_after_a_broken_frame_the_next_message_has_a_connection_of_its_own(line_to, data, reason):
    with Receiver([sends(data), says("AA")]) as receiver:
        line = line_to(receiver.url, seconds=2 * SHORT)
        assert tell(line) == later(reason)
        assert tell(line, a_delivery(last="2")) == DELIVERED
    assert [connection for connection, _ in receiver.received] == [1, 2]


@pytest.mark.parametrize(
    "act", [hangs_up, both(sends(acknowledgement("X")[:20]), hangs_up)], ids=["at once", "in a frame"]
)
def test_a_connection_dropped_after_sending_is_tried_again_on_another(line_to, act):
    with Receiver([act, says("AA")]) as receiver:
        line = line_to(receiver.url)
        assert tell(line) == later("dropped")
        assert tell(line, a_delivery(number=2)) == DELIVERED


def test_a_connection_that_the_receiver_closed_meanwhile_costs_no_attempt(line_to):
    with Receiver([both(says("AA"), hangs_up), says("AA")]) as receiver:
        line = line_to(receiver.url)
        assert tell(line) == DELIVERED
        time.sleep(SHORT / 4)
        assert tell(line, a_delivery(last="2")) == DELIVERED


def test_one_message_is_in_flight_at_a_time(line_to):
    flying, most = [], []

    def answer(connection: socket.socket, control_id: str) -> None:
        flying.append(control_id)
        most.append(len(flying))
        time.sleep(0.02)
        flying.remove(control_id)
        connection.sendall(acknowledgement(control_id))

    with Receiver([answer] * 8) as receiver:
        line = line_to(receiver.url)
        outcomes = []
        threads = [
            threading.Thread(target=lambda n=n: outcomes.append(tell(line, a_delivery(last=str(n)))))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes == [DELIVERED] * 8
    assert set(most) == {1}
    assert {connection for connection, _ in receiver.received} == {1}


def test_waiting_for_the_line_has_a_limit_too(line_to):
    with Receiver([is_silent]) as receiver:
        line = line_to(receiver.url, seconds=SHORT)
        with line._taken(1):
            assert tell(line) == later("busy")


def test_nobody_listens(line_to):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert tell(line_to(f"mllp://127.0.0.1:{port}")) == later("refused")


def test_an_address_that_is_not_listed_is_refused_before_any_connection(line_to):
    with Receiver([]) as receiver:
        assert tell(line_to(receiver.url, allow=AllowList())) == later("address_refused")
    assert receiver.received == []


def test_a_listed_name_does_not_open_this_machine(line_to):
    line = line_to(
        "mllp://lis.example:2575", allow=AllowList.of(["lis.example"]), resolve=lambda *_: ["127.0.0.1"]
    )
    assert tell(line) == later("address_refused")


def test_the_name_is_looked_up_once_and_the_checked_address_is_connected_to(line_to):
    asked = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.9.9.9"]

    with Receiver([says("AA")]) as receiver:
        line = line_to(f"mllp://lis.example:{receiver.port}", resolve=resolve)
        assert tell(line) == DELIVERED
    assert asked == ["lis.example"]


def test_a_name_nobody_knows_and_a_look_up_that_takes_too_long(line_to):
    def unknown(*_) -> list[str]:
        raise socket.gaierror

    never = threading.Event()
    assert tell(line_to("mllp://lis.example:2575", resolve=unknown)) == later("dns")
    assert tell(line_to("mllp://lis.example:2575", resolve=lambda *_: never.wait(5), seconds=0.1)) == later(
        "timeout"
    )
    never.set()


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1", "mllp://", "127.0.0.1:2575", "mllp://h:x", "mllp://[::1", "mllp://h:1/p", "mllp://u@h:1",
     "mllp://h?x", "mllp://hé:1"],
)  # fmt: skip
def test_a_url_that_leads_nowhere_is_an_outcome_too(line_to, url):
    assert tell(line_to(url)) == later("url")
    with pytest.raises(ValueError, match=r"^not an MLLP address$"):
        Place.of(url)


def test_a_place_has_the_registered_port_unless_the_url_says_another():
    assert Place.of("mllp://lis.example") == Place(host="lis.example", port=2575, tls=False)
    assert Place.of("mllps://[fd12::1]:6661/") == Place(host="fd12::1", port=6661, tls=True)


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (TimeoutError(), "timeout"),
        (LineBusy(), "busy"),
        (FrameBroken(), "frame"),
        (ConnectionRefusedError(), "refused"),
        (ConnectionResetError(), "dropped"),
        (BrokenPipeError(), "dropped"),
        (socket.gaierror(), "dns"),
        (ssl.SSLCertVerificationError(), "tls"),
        (OSError(), "unreachable"),
        (UnicodeError(), "url"),
        (AddressRefused(), "address_refused"),
    ],
)
def test_every_failure_has_one_word(error, word):
    assert reason_of(error) == word


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines(clock):
    lines = Lines(allow=LOOPBACK, seconds=5, idle_seconds=60, clock=clock)
    yield lines
    lines.close()


def test_every_endpoint_has_one_line(lines):
    first, second = an_endpoint("mllp://127.0.0.1:1"), an_endpoint("mllp://127.0.0.1:1", "ep_2")
    assert lines.line(first) is lines.line(replace(first, name="renamed"))
    assert lines.line(first) is not lines.line(second)


def test_an_endpoint_that_moves_has_a_new_line_and_the_old_one_is_closed(lines):
    with Receiver([says("AA")]) as old, Receiver([says("AA")]) as new:
        before = lines.line(an_endpoint(old.url))
        assert tell(before) == DELIVERED
        after_it = lines.line(an_endpoint(new.url))
        assert before._connection is None
        assert tell(after_it) == DELIVERED


def test_an_idle_line_is_closed_and_opens_again(lines, clock):
    with Receiver([says("AA")] * 3) as receiver:
        line = lines.line(an_endpoint(receiver.url))
        assert tell(line) == DELIVERED
        lines.close_idle()
        assert tell(line) == DELIVERED
        clock.now += 61
        lines.close_idle()
        assert line._connection is None
        assert tell(lines.line(an_endpoint(receiver.url))) == DELIVERED
    assert [connection for connection, _ in receiver.received] == [1, 1, 2]


def test_a_line_in_use_is_not_idle(lines, clock):
    answer = threading.Event()
    with Receiver([after(answer, says("AA"))]) as receiver:
        line = lines.line(an_endpoint(receiver.url))
        outcomes = []
        thread = threading.Thread(target=lambda: outcomes.append(tell(line)))
        thread.start()
        while not receiver.received:
            time.sleep(0.01)
        clock.now += 61
        lines.close_idle()
        answer.set()
        thread.join()
    assert outcomes == [DELIVERED]
