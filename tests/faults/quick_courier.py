"""The real courier program, for which a schedule of days passes in minutes.

In: PATHLANE_* as ever, and FAULT_HURRY: how many times faster (100). Out: what `python -m integrations.courier`
does.
"""

from __future__ import annotations

import os
import sys

from integrations import courier, schedule

HURRY = float(os.environ.get("FAULT_HURRY", "100"))


def main():
    schedule.SCHEDULE = tuple(step / HURRY for step in schedule.SCHEDULE)
    return courier.main()


if __name__ == "__main__":
    sys.exit(main())
