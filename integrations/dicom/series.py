"""A series becomes an order when nothing more of it has come for a while.

In: instances with their arrival times, which series were announced, the time. Out: one Order for each series
that has been quiet. It keeps nothing and reads no clock.

Not done yet: of a whole slide one level is read, the smallest that is as large as what the model sees. It
must be TILED_FULL and in one piece, or its job fails with `unsupported_image`. Regions of a pyramid at a
chosen magnification, sparse tiles and concatenations come with the slide room. What arrives after a series
was announced does not announce it again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from integrations.dicom.instance import Instance
from worker.jobs.order import Channel, Order, Sender, Verb

#: images of one job (worker.jobs.request)
MOST: Final = 8
#: the model's own limit is about a megapixel: a smaller level of a slide would be shown enlarged
ENOUGH_PIXELS: Final = 1_003_520


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    instance: Instance
    at: datetime


def quiet_series(
    arrivals: Iterable[Arrival], *, announced: Collection[str], now: datetime, quiet: timedelta
) -> tuple[Order, ...]:
    """An order for each series whose last object came at least `quiet` before `now`, the oldest first.

    `announced`: Series Instance UIDs of orders that were made before. A series without an eligible image
    waits: its label may have come before its pixels.
    """
    series: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        if arrival.instance.series_uid not in announced:
            series[arrival.instance.series_uid].append(arrival)
    ended = sorted((max(one.at for one in come), uid) for uid, come in series.items())
    orders = (_order(series[uid]) for last, uid in ended if now - last >= quiet)
    return tuple(order for order in orders if order is not None)


def chosen(instances: Iterable[Instance]) -> tuple[Instance, ...]:
    """What is read of a series: one level of its slide and every plain picture, the largest first, at most
    eight. An object that came twice counts once."""
    eligible = {one.sop_instance_uid: one for one in instances if one.eligible}.values()
    plain = [one for one in eligible if not one.is_slide]
    levels = [one for one in eligible if one.is_slide]
    pictures = [*plain, *_level(levels)]
    return tuple(sorted(pictures, key=lambda one: (-one.pixels, one.sop_instance_uid))[:MOST])


def _level(levels: list[Instance]) -> list[Instance]:
    """The smallest that is large enough, else the largest."""
    enough = [one for one in levels if one.pixels >= ENOUGH_PIXELS]
    key = (lambda one: (one.pixels, one.sop_instance_uid)) if enough else (lambda one: (-one.pixels, ""))
    return sorted(enough or levels, key=key)[:1]


def _order(arrivals: list[Arrival]) -> Order | None:
    in_order = [one.instance for one in sorted(arrivals, key=lambda one: one.at)]
    images = chosen(in_order)
    if not images:
        return None
    first = images[0]
    return Order(
        verb=Verb.AVAILABLE,
        sender=Sender(channel=Channel.DICOM, application=in_order[0].caller),
        accession=first.accession,
        slide=first.container or next(iter(first.specimens), ""),
        study_uid=first.study_uid,
        series_uid=first.series_uid,
        images=tuple(one.reference for one in images),
    )
