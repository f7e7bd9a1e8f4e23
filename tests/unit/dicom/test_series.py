"""When a series is announced, and what is read of it."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta

import pytest

from integrations.dicom.header import read_instance
from integrations.dicom.series import ENOUGH_PIXELS, MOST, Arrival, chosen, quiet_series
from tests.unit.dicom.objects import AT, a_file, a_photograph, a_slide
from worker.jobs.order import Channel, Sender, Verb

QUIET = timedelta(seconds=30)


def instance(dataset, *, reference="upload:sha256-aa", **more):
    return replace(read_instance(io.BytesIO(a_file(dataset)), caller="SCANNER"), reference=reference, **more)


def level(number, side, **more):
    return instance(a_slide(f"1.2.3.{number}"), matrix_rows=side, matrix_columns=side, **more)


def arrivals(*instances, seconds=0):
    return [Arrival(instance=one, at=AT + timedelta(seconds=seconds)) for one in instances]


def orders(come, *, after, announced=()):
    return quiet_series(come, announced=announced, now=AT + timedelta(seconds=after), quiet=QUIET)


def test_a_series_is_announced_when_it_has_been_quiet():
    come = arrivals(instance(a_photograph()))
    assert orders(come, after=29.9) == ()
    (order,) = orders(come, after=30)
    assert order.verb is Verb.AVAILABLE
    assert order.sender == Sender(channel=Channel.DICOM, application="SCANNER")
    assert (order.accession, order.slide) == ("S26-0001", "S26-0001-A1-01")
    assert (order.study_uid, order.series_uid, order.images) == ("1.2.3.1", "1.2.3.2", ("upload:sha256-aa",))
    assert order.patient is None


def test_one_more_object_starts_the_wait_again():
    come = arrivals(instance(a_photograph())) + arrivals(instance(a_photograph("1.2.3.6")), seconds=20)
    assert orders(come, after=45) == ()
    assert len(orders(come, after=50)) == 1


def test_what_was_announced_is_not_announced_again():
    assert orders(arrivals(instance(a_photograph())), after=99, announced={"1.2.3.2"}) == ()


def test_a_series_of_labels_only_waits_for_its_pixels():
    label = instance(a_slide("1.2.3.9", flavor="LABEL"))
    assert orders(arrivals(label), after=999) == ()
    (order,) = orders(arrivals(label) + arrivals(level(4, 2000), seconds=40), after=999)
    assert len(order.images) == 1


def test_series_are_apart_and_the_oldest_comes_first():
    late = arrivals(instance(a_photograph("1.2.3.7"), series_uid="1.2.9"), seconds=5)
    early = arrivals(instance(a_photograph()))
    assert [order.series_uid for order in orders(late + early, after=99)] == ["1.2.3.2", "1.2.9"]


def test_the_slide_is_named_by_its_container_else_by_its_specimen():
    assert orders(arrivals(instance(a_photograph(), container="")), after=99)[0].slide == "S26-0001-A1"


@pytest.mark.parametrize(
    ("sides", "read"),
    [([8192, 4096, 2048, 1024, 512], 1024), ([8192, 512], 8192), ([512, 256], 512), ([1001], 1001)],
)
def test_of_a_pyramid_the_smallest_level_is_read_that_is_large_enough(sides, read):
    assert 1024 * 1024 >= ENOUGH_PIXELS > 1000 * 1000
    levels = [level(number, side) for number, side in enumerate(sides, start=10)]
    assert [one.matrix_rows for one in chosen(levels)] == [read]


def test_photographs_are_all_read_the_largest_first_and_eight_at_most():
    photographs = [instance(a_photograph(f"1.2.3.{n}"), rows=n, columns=n) for n in range(10, 20)]
    assert [one.rows for one in chosen(photographs)] == list(range(19, 11, -1))
    assert len(chosen(photographs)) == MOST


def test_an_object_that_came_twice_is_read_once():
    assert len(chosen([instance(a_photograph()), instance(a_photograph())])) == 1


def test_an_order_does_not_show_its_case():
    (order,) = orders(arrivals(instance(a_photograph())), after=99)
    assert "S26" not in repr(order)
