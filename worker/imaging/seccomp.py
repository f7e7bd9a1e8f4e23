"""Seccomp: from here on the kernel refuses this process network, programs, other processes, more privileges.

In: nothing. Out: whether the kernel took the filter. Who calls what is refused gets EPERM, and nothing ends.
Constants: `include/uapi/linux/{seccomp,filter,audit}.h` and the tables of system calls.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterable

#: of x86_64 and of aarch64; None where there is no such call
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "process_madvise": (440, 440), "kcmp": (312, 272),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280), "perf_event_open": (298, 241),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54),
    "setxattr": (188, 5), "utimensat": (280, 88), "personality": (135, 92), "shmget": (29, 194),
    "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
}  # fmt: skip
#: (clone, clone3, prlimit64)
_CONDITIONAL = {"x86_64": (56, 435, 302), "aarch64": (220, 435, 261)}
_MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
_CLONE_THREAD = 0x10000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_EPERM, _ENOSYS = 0x00050001, 0x00050026
_PR_SET_SECCOMP, _FILTER = 22, 2

_Instruction = tuple[int, int, int, int]


class _Line(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.POINTER(_Line)))


def refuse_all_but_decoding() -> bool:
    """False where the kernel, or this machine's table, does not have it. Needs `no_new_privs` (prctl)."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _MACHINES:
        return False
    lines = [_Line(*line) for line in _program(machine)]
    program = _Program(len(lines), (_Line * len(lines))(*lines))
    kernel = ctypes.CDLL(None, use_errno=True)
    return bool(kernel.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)


def _program(machine: str) -> Iterable[_Instruction]:
    """Jumps count the instructions they pass over: where the test holds, where it does not."""
    yield _LOAD, 0, 0, _MACHINE
    yield _EQUAL, 1, 0, _MACHINES[machine]
    yield _RETURN, 0, 0, _KILL
    yield _LOAD, 0, 0, _NUMBER
    yield _AT_LEAST, 0, 1, _X32
    yield _RETURN, 0, 0, _EPERM
    column = list(_MACHINES).index(machine)
    for number in (numbers[column] for numbers in _REFUSED.values()):
        if number is not None:
            yield _EQUAL, 0, 1, number
            yield _RETURN, 0, 0, _EPERM
    clone, clone3, prlimit = _CONDITIONAL[machine]
    yield (
        _EQUAL,
        0,
        1,
        clone3,
    )  # its flags lie in memory, where no filter looks; the C library takes clone then
    yield _RETURN, 0, 0, _ENOSYS
    yield _EQUAL, 0, 4, clone  # threads, no processes
    yield _LOAD, 0, 0, _FIRST_ARGUMENT
    yield _ANY_BIT, 1, 0, _CLONE_THREAD
    yield _RETURN, 0, 0, _EPERM
    yield _RETURN, 0, 0, _ALLOW
    yield _EQUAL, 0, 3, prlimit  # of this process only
    yield _LOAD, 0, 0, _FIRST_ARGUMENT
    yield _EQUAL, 1, 0, 0
    yield _RETURN, 0, 0, _EPERM
    yield _RETURN, 0, 0, _ALLOW
