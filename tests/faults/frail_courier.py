"""The real courier with a place to die at: the laboratory has said AA, and it is not yet written down.

In: PATHLANE_* as ever, and FAULT_TOLD: the number of the AA, in the life of this process, behind which it dies
(0: never). Out: what `python -m integrations.courier` does, with waits of a second where there are hours.
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from itertools import count

from integrations import channels, courier, schedule
from integrations.hl7 import sender
from worker.jobs.event import DeliveryStatus

TOLD = int(os.environ.get("FAULT_TOLD", "0"))
#: says in the log that it was here
MARK = "fault.told"
LONGEST = timedelta(seconds=1)

_told = count(1)


def attempt(*arguments, **named):
    outcome = sender.attempt(*arguments, **named)
    if outcome.status is DeliveryStatus.DELIVERED and next(_told) == TOLD:
        print(MARK, file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return outcome


if __name__ == "__main__":
    channels.attempt_hl7 = attempt
    schedule.SCHEDULE = tuple(min(wait, LONGEST) for wait in schedule.SCHEDULE)
    sys.exit(courier.main())
