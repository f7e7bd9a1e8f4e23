"""What dies is started again; what cannot run stops everything; nothing is left behind."""

import os
import sys
import time

import pytest

from integrations.supervisor import EX_CONFIG, Program, Supervisor


@pytest.fixture
def supervisor():
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop()


def program(code, grace=5.0):
    return Program(name="child", command=[sys.executable, "-c", code], environment=os.environ, grace=grace)


def lines(file):
    return file.read_text().split() if file.exists() else []


def test_a_child_that_dies_is_started_again(supervisor, tmp_path):
    file = tmp_path / "pids"
    supervisor.start(program(f"import os; open({str(file)!r}, 'a').write(f'{{os.getpid()}} ')"))
    end = time.monotonic() + 20
    supervisor.watch(until=lambda: len(lines(file)) >= 2 or time.monotonic() > end)
    assert len(set(lines(file))) >= 2
    assert supervisor.given_up is None


def test_a_child_whose_settings_are_wrong_stops_everything(supervisor):
    supervisor.start(program("import time; time.sleep(60)"))
    supervisor.start(program(f"raise SystemExit({EX_CONFIG})"))
    supervisor.watch()
    assert supervisor.given_up == EX_CONFIG


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(supervisor, tmp_path):
    ready = tmp_path / "ready"
    code = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({str(ready)!r}, 'w'); time.sleep(60)"
    supervisor.start(program(code, grace=0.3))
    end = time.monotonic() + 20
    supervisor.watch(until=lambda: ready.exists() or time.monotonic() > end)
    process = supervisor._children[0].process
    supervisor.stop()
    assert process.poll() == -9


def test_the_pause_before_a_restart_grows(tmp_path):
    now = [0.0]
    supervisor = Supervisor(clock=lambda: now[0])
    supervisor.start(program("pass"))
    child = supervisor._children[0]
    pauses = []
    for _ in range(4):
        child.process.wait()
        supervisor._look_at(child)
        pauses.append(child.again_at - now[0])
        now[0] = child.again_at
        supervisor._look_at(child)
    supervisor.stop()
    assert pauses == [0.5, 1.0, 2.0, 4.0]
