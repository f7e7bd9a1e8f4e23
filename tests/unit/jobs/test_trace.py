"""A job's trace: the same ids from wherever they are asked, and a submitter's trace continued."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.jobs.trace import kept, trace_of

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # the standard's own example


@given(st.text(min_size=1))
def test_every_program_makes_the_same_ids_from_a_jobs_id(job_id):
    trace = trace_of(job_id)
    assert trace == trace_of(job_id)
    assert 0 < trace.trace_id < 2**128
    assert 0 < trace.root_id < 2**64
    assert (trace.caller_id, trace.is_sampled) == (None, True)


def test_a_job_joins_the_trace_of_whoever_submitted_it():
    trace = trace_of("job_1", PARENT)
    assert trace.name == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert trace.caller_id == 0x00F067AA0BA902B7
    assert trace.root_id == trace_of("job_1").root_id


def test_who_keeps_no_spans_of_a_trace_gets_none_from_us():
    assert trace_of("job_1", PARENT[:-2] + "00").is_sampled is False


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Canary",
        PARENT.upper(),  # the standard wants small letters
        PARENT.replace("00-", "ff-", 1),  # no such version
        PARENT + "-more",  # version 00 has four parts
        PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", "0" * 32),
        PARENT.replace("00f067aa0ba902b7", "0" * 16),
        PARENT + "\n",
        " " + PARENT,
    ],
)
def test_a_header_that_is_not_valid_is_left_out(header):
    assert kept(header) is None
    assert trace_of("job_1", header) == trace_of("job_1")


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_a_valid_header_is_kept_as_it_is(trace_id, span_id, flags):
    header = f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"
    assert kept(header) == header
    assert trace_of("job_1", header).trace_id == trace_id
