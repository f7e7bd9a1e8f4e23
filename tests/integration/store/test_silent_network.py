"""PostgreSQL behind a network that falls silent: an outage, never a hang, and no lock outlives its holder."""

import time

import pytest
from sqlalchemy import make_url, text

from tests.faults.proxy import Link, server_of
from worker.errors import StoreUnavailable
from worker.store import postgresql
from worker.store.session import Database


@pytest.fixture
def link(postgresql_server):
    with Link(to=server_of(postgresql_server, 5432)).open() as link:
        yield link


@pytest.fixture
def url(postgresql_server, link):
    there = make_url(postgresql_server).set(host="127.0.0.1", port=link.port, query={})
    return there.render_as_string(hide_password=False)


@pytest.fixture
def distant(url, monkeypatch):
    monkeypatch.setitem(postgresql.CONNECT, "connect_timeout", 2)
    database = Database(url, answer_seconds=1)
    yield database
    database.close()


@pytest.fixture
def near(postgresql_server):
    database = Database(postgresql_server, answer_seconds=10)
    with database.write() as connection:
        connection.execute(text("DROP TABLE IF EXISTS thing"))
        connection.execute(text("CREATE TABLE thing AS SELECT 1 AS number"))
    yield database
    with database.write() as connection:
        connection.execute(text("DROP TABLE thing"))
    database.close()


def ask(database):
    with database.read() as connection:
        return connection.execute(text("SELECT 1")).scalar_one()


def test_an_answer_that_never_comes_is_an_outage_within_its_time(distant, link):
    assert ask(distant) == 1
    link.swallow()
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable):
        ask(distant)
    with pytest.raises(StoreUnavailable):
        ask(distant)
    assert time.monotonic() - begun < 8
    link.heal()
    assert ask(distant) == 1


def test_a_statement_whose_answer_is_lost_is_given_up_in_the_middle_of_its_transaction(distant, link, near):
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable), distant.write() as connection:  # noqa: PT012  # one transaction
        connection.execute(text("UPDATE thing SET number = 2"))
        link.swallow()
        connection.execute(text("UPDATE thing SET number = 3"))
    assert time.monotonic() - begun < 5
    link.heal()
    with distant.read() as connection:
        assert connection.execute(text("SELECT number FROM thing")).scalar_one() == 1


def test_what_a_vanished_client_held_locked_is_free_again(distant, link, near):
    with pytest.raises(StoreUnavailable), distant.write() as connection:  # noqa: PT012  # one transaction
        connection.execute(text("UPDATE thing SET number = 2"))
        link.swallow()
        begun = time.monotonic()
        with near.write() as other:
            other.execute(text("UPDATE thing SET number = 5"))
        assert time.monotonic() - begun < 5
    with near.read() as connection:
        assert connection.execute(text("SELECT number FROM thing")).scalar_one() == 5


def test_a_transaction_that_pauses_too_long_is_an_outage_and_the_next_one_works(distant):
    with pytest.raises(StoreUnavailable), distant.write() as connection:  # noqa: PT012  # one transaction
        connection.execute(text("SELECT 1"))
        time.sleep(1.5)
        connection.execute(text("SELECT 1"))
    assert ask(distant) == 1


def test_a_statement_that_takes_too_long_is_an_outage_except_where_time_is_given(distant):
    with pytest.raises(StoreUnavailable), distant.write() as connection:
        connection.execute(text("SELECT pg_sleep(3)"))
    with distant.patiently() as connection:
        connection.execute(text("SELECT pg_sleep(1.5)"))
    with pytest.raises(StoreUnavailable), distant.write() as connection:
        connection.execute(text("SELECT pg_sleep(3)"))


def test_an_answer_that_comes_byte_by_byte_is_waited_for_no_longer(distant, link):
    assert ask(distant) == 1
    link.trickle(0.3)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable):
        ask(distant)
    assert time.monotonic() - begun < 8
    link.heal()
    assert ask(distant) == 1


def test_a_free_connection_is_waited_for_no_longer_than_an_answer(url):
    database = Database(url, pool_size=1, answer_seconds=1)  # and one more when it is busy
    with database.read(), database.read():
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            ask(database)
        assert time.monotonic() - begun < 3
    database.close()
