"""Who may ask, and which workers are there."""

from sqlalchemy import select

from worker.store.keys import Keys, api_keys
from worker.store.presence import Presence, Workers


def test_a_key_opens_until_it_is_revoked_and_is_stored_nowhere(database):
    keys = Keys(database)
    key = keys.add("lis", "pl_secret")
    assert keys.shown("pl_secret") == key
    assert keys.shown("pl_other") is None
    with database.read() as connection:
        assert "pl_secret" not in str(connection.execute(select(api_keys)).all())
    keys.revoke(key.id)
    assert keys.shown("pl_secret") is None


def test_adding_a_key_twice_keeps_one(database):
    keys = Keys(database)
    assert keys.add("lis", "pl_secret") == keys.add("lis", "pl_secret")
    assert len(keys.all()) == 1


def test_a_worker_is_alive_while_it_reports(database):
    workers = Workers(database)
    one = Presence(id="w1", host="h", pid=1, device="cpu", model="demo", slots=4, running=1)
    workers.report(one)
    workers.report(one)
    (seen,) = workers.alive(within_seconds=60)
    assert (seen.pid, seen.slots, seen.running) == (1, 4, 1)
    assert workers.alive(within_seconds=-1) == []
    workers.leave("w1")
    assert workers.alive(within_seconds=60) == []
