"""The real HL7 listener with a place to die at: behind a commit, before its AA.

In: PATHLANE_* as ever, and FAULT_TAKEN: the number of the commit, in the life of this process, behind which it
dies (0: never). Out: what `python -m integrations.listen hl7` does.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import count

from integrations import listen, taking
from worker.store.intake import Intake

TAKEN = int(os.environ.get("FAULT_TAKEN", "0"))
#: says in the log that it was here
MARK = "fault.taken"


class Mortal(Intake):
    """The store's intake, which does not survive its nth success."""

    _commits = count(1)

    def take(self, batch):
        receipts = super().take(batch)
        if next(self._commits) == TAKEN:
            print(MARK, file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return receipts


if __name__ == "__main__":
    taking.Intake = Mortal
    sys.exit(listen.main(["hl7"]))
