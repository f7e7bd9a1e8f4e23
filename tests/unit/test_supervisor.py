"""What dies is started again; what cannot run stops everything; nothing is left behind."""

import os
import signal
import sys
import threading
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


@pytest.mark.parametrize(("status", "expected"), [(1, [0.5, 1.0]), (70, [0.5, 1.0]), (69, [60.0, 120.0])])
def test_a_device_that_keeps_failing_is_tried_again_late(status, expected):
    now = [0.0]
    supervisor = Supervisor(clock=lambda: now[0])
    supervisor.start(program(f"raise SystemExit({status})"))
    child = supervisor._children[0]
    pauses = []
    for _ in range(2):
        child.process.wait()
        supervisor._look_at(child)
        pauses.append(child.again_at - now[0])
        now[0] = child.again_at
        supervisor._look_at(child)
    supervisor.stop()
    assert pauses == expected


def test_an_engine_that_hangs_every_few_minutes_is_restarted_ever_later():
    now = [0.0]
    supervisor = Supervisor(clock=lambda: now[0])
    supervisor.start(program("raise SystemExit(70)"))
    child = supervisor._children[0]
    for _ in range(3):
        now[0] += 300
        child.process.wait()
        supervisor._look_at(child)
        pause = child.again_at - now[0]
        now[0] = child.again_at
        supervisor._look_at(child)
    supervisor.stop()
    assert pause == 2.0


LASTING = """
import pathlib, signal, sys, time
file = pathlib.Path({file!r})
asked = []
def end(*_):
    asked.append(1)
    if len(asked) > {after}:
        file.write_text(str(time.monotonic()))
        sys.exit(0)
signal.signal(signal.SIGTERM, end)
pathlib.Path({file!r} + ".ready").touch()
while True:
    time.sleep(0.05)
"""


def lasting(supervisor, tmp_path, name, *, after=0, stage=0, grace=10.0):
    file = tmp_path / name
    command = [sys.executable, "-c", LASTING.format(file=str(file), after=after)]
    supervisor.start(Program(name=name, command=command, environment=os.environ, grace=grace, stage=stage))
    supervisor.watch(until=(tmp_path / f"{name}.ready").exists)
    return file


def test_programs_of_one_stage_end_together_and_stages_one_after_the_other(supervisor, tmp_path):
    broker = lasting(supervisor, tmp_path, "broker", stage=0)
    workers = [lasting(supervisor, tmp_path, f"worker{n}", stage=1, after=1, grace=0.5) for n in range(3)]
    began = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - began < 1.4, "three graces, waited for at once"
    assert not any(file.exists() for file in workers), "each was killed after its grace"
    assert float(broker.read_text()) >= began + 0.5


@pytest.fixture
def interruptible():
    """Ctrl-C is Python's own here, whatever a library in this process has made of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before or signal.default_int_handler)


@pytest.mark.usefixtures("interruptible")
def test_an_impatient_operator_asks_a_second_time(supervisor, tmp_path):
    file = lasting(supervisor, tmp_path, "worker", after=1, grace=60.0)
    # Later than the first is heard: two of them at once are one.
    ask = threading.Timer(3, signal.raise_signal, [signal.SIGINT])
    ask.start()
    began = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - began < 15
    assert file.exists(), "it ended by itself, at the second SIGTERM"
