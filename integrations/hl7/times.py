"""Times: HL7's DTM and TS become datetimes.

In: text such as `20261123095500.25+0100`, and the zone of a sender that gives none. Out: an aware datetime,
or None for what is no time or has no day in it.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final

_TIME: Final = re.compile(
    r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6})\d*)?)?)?)?(?:([+-])(\d\d)(\d\d))?",
    re.ASCII,
)


def read_time(text: str, zone: tzinfo) -> datetime | None:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        return None
    *numbers, fraction, sign, hours, minutes = found.groups()
    year, month, day, hour, minute, second = (int(number or 0) for number in numbers)
    try:
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            zone = timezone(offset if sign == "+" else -offset)
        microsecond = int((fraction or "").ljust(6, "0"))
        return datetime(year, month, day, hour, minute, second, microsecond, tzinfo=zone)
    except ValueError:
        return None
