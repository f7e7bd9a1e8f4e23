"""The link does what it says: else a storm over it would prove nothing."""

import socket
import threading
import time

import pytest

from tests.faults.proxy import Link


@pytest.fixture
def echo():
    """A server that says everything again; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection):
            with connection:
                while data := connection.recv(1000):
                    connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def link(echo):
    with Link(to=echo).open() as link:
        yield link


def call(link):
    return socket.create_connection(("127.0.0.1", link.port), 2)


def said(connection, word=b"hello"):
    connection.sendall(word)
    return connection.recv(1000)


def test_a_link_without_a_fault_carries_everything(link):
    with call(link) as connection:
        assert said(connection) == b"hello"


def test_a_delay_counts_each_way(link):
    with call(link) as connection:
        link.delay(0.1)
        begun = time.monotonic()
        assert said(connection) == b"hello"
        assert time.monotonic() - begun >= 0.2


def test_a_trickle_is_one_byte_at_a_time(link):
    with call(link) as connection:
        link.trickle(0.05)
        assert said(connection) == b"h"


def test_a_reset_is_seen_as_one_and_the_next_connection_works(link):
    with call(link) as connection:
        said(connection)
        link.reset()
        with pytest.raises(ConnectionResetError):
            connection.recv(1000)
    with call(link) as connection:
        assert said(connection) == b"hello"


def test_what_is_swallowed_is_lost_for_ever_and_only_new_connections_heal(link):
    with call(link) as old:
        said(old)
        link.swallow()
        with call(link) as young:
            for connection in (old, young):
                connection.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    said(connection)
            link.heal()
            for connection in (old, young):
                with pytest.raises(TimeoutError):
                    said(connection)
    with call(link) as new:
        assert said(new) == b"hello"


def test_a_link_that_refuses_listens_again_on_the_same_port(link):
    with call(link) as connection:
        said(connection)
        link.refuse()
        with pytest.raises(ConnectionResetError):
            connection.recv(1000)
    with pytest.raises(ConnectionRefusedError):
        call(link)
    link.heal()
    with call(link) as connection:
        assert said(connection) == b"hello"
