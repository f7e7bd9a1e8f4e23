"""Storms over a laboratory in their short form; the long one is `python -m tests.faults laboratory`."""

import pytest

from tests.faults import frail_courier, frail_listener
from tests.faults.laboratory_storms import LABORATORY_STORMS

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
