"""Landlock: from here on this process reads below a few folders, and writes nowhere.

In: folders. Out: whether the kernel keeps to them (Linux 5.13 and later). Nothing is undone, and what is open
stays open. Constants: `include/uapi/linux/landlock.h`; docs.kernel.org/userspace-api/landlock.html.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_PLEASE = 1
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
#: by version of the interface: execute, write, read, remove and make; then move; then truncate
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}


class _Ruleset(ctypes.Structure):
    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def read_only(folders: Iterable[Path]) -> bool:
    """False where the kernel does not have it. Needs `no_new_privs` (prctl)."""
    if sys.platform != "linux":
        return False
    kernel = ctypes.CDLL(None, use_errno=True)
    version = kernel.syscall(_CREATE_RULESET, None, 0, _VERSION_PLEASE)
    if version < 1:
        return False
    wanted = _Ruleset(handled_access_fs=_RIGHTS[min(version, max(_RIGHTS))])
    rules = kernel.syscall(_CREATE_RULESET, ctypes.byref(wanted), ctypes.sizeof(wanted), 0)
    if rules < 0:
        return False
    try:
        for folder in folders:
            _allow(kernel, rules, folder)
        return bool(kernel.syscall(_RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow(kernel: ctypes.CDLL, rules: int, place: Path) -> None:
    try:
        here = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    rights = _READ_FILE | _READ_DIR if place.is_dir() else _READ_FILE
    rule = _Beneath(allowed_access=rights, parent_fd=here)
    kernel.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(rule), 0)
    os.close(here)
