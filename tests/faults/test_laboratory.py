"""Storms over a laboratory in their short form; the long one is `python -m tests.faults laboratory`."""

import signal
from collections import Counter

import pytest

from tests.faults import frail_courier, frail_listener
from tests.faults.laboratory import Laboratory
from tests.faults.laboratory_storms import LABORATORY_STORMS
from tests.faults.order_sender import Line
from tests.messages import lab_104

pytestmark = pytest.mark.storm

#: no process lives long here
POINTS = {"TAKEN": "20", "TOLD": "20"}


@pytest.mark.parametrize("name", LABORATORY_STORMS)
def test_no_order_is_lost_and_no_result_doubled_whatever_is_killed(tmp_path, name):
    storm = LABORATORY_STORMS[name]
    url = f"sqlite:///{tmp_path / 'pathlane.db'}"
    ward = storm.kind(url=url, folder=tmp_path, **storm.ward | {"faults": POINTS})
    with ward.open():
        storm.blow(ward, storm.short)
        ward.settle(60)
        verdict = ward.verdict()
        assert verdict.holds, verdict.problems[:5]
        assert ward.said(frail_listener.MARK), "no AA was lost behind its commit"
        assert ward.said(frail_courier.MARK), "no AA of the laboratory went unwritten"
        assert len(ward.server.received) > ward.answered(), "no result had to be told again"


def test_a_broker_that_hangs_holds_up_no_acknowledgement(tmp_path):
    """Of a cancellation neither, which rings for those who are told of it."""
    ward = Laboratory(url=f"sqlite:///{tmp_path / 'pathlane.db'}", folder=tmp_path, workers=0)
    with ward.open():
        line = Line(ward.hl7_port, Counter())
        ward.broker.send_signal(signal.SIGSTOP)
        series = ward.senders.orders.series[0]
        said = [
            line._ask(lab_104(f"M{available}", series=series, available=available).encode(), f"M{available}")
            for available in ("Y", "N")
        ]
        assert said == ["AA", "AA"]
        assert ward.query("SELECT status FROM jobs") == [("cancelled",)]
        line.close()
