"""A C-STORE client without manners, for a process of its own: pynetdicom's checks are off here, not in the listener.

hostile_client.py HOST PORT FILE [UID]     sends the file's data set as it is, under the file's UID or another
"""

from __future__ import annotations

import sys
from pathlib import Path

from pynetdicom import AE, _config

_config.STORE_SEND_CHUNKED_DATASET = True
_config.VALIDATORS["UI"] = lambda _value: (True, "")

host, port, file, *uid = sys.argv[1:]
entity = AE("SCANNER")
entity.add_requested_context("1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.1.2.1")
association = entity.associate(host, int(port), ae_title="PATHLANE")
if not association.is_established:
    sys.exit("not established")
if uid:
    from pynetdicom import dimse_primitives

    dimse_primitives.C_STORE.AffectedSOPInstanceUID = property(lambda _: uid[0], lambda _, __: None)
answer = association.send_c_store(Path(file))
print(f"0x{answer.Status:04X} {answer.get('ErrorComment', '')}" if "Status" in answer else "no answer")
association.release()
