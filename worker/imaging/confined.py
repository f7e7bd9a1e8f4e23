"""Confined: what a process gives up for good before it decodes what nobody vouches for.

In: how much memory it may take beyond what it has, and where it may read. Out: nothing. Limits (setrlimit)
hold everywhere; the rest as far as the kernel has it, and a kernel without is no reason to stop.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from worker.imaging.landlock import read_only
from worker.imaging.seccomp import refuse_all_but_decoding

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
#: the files of one series, and a few of our own
_FILES = 256
#: libraries that are loaded late, and what the process knows of itself
_ALWAYS = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/proc/self",
           "/sys/devices/system/cpu", "/dev/urandom", "/dev/null", "/usr/share/zoneinfo")  # fmt: skip


def follow_parent() -> None:
    """This process is killed as soon as the thread that started it ends (prctl(2), PR_SET_PDEATHSIG); the
    signals of a terminal or a service manager are for the parent, which may still need it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def confine(*, memory_bytes: int, folders: Iterable[Path]) -> int:
    """For good. Gives the address space there was before, in bytes (0 where the system does not say)."""
    gc.collect()
    before = address_space()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, _FILES)
    _limit(resource.RLIMIT_AS, before + memory_bytes)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    read_only((*_own_folders(), *folders))
    refuse_all_but_decoding()
    return before


def _own_folders() -> Iterable[Path]:
    """Python, its libraries and this package: not what lies beside the package in a checkout."""
    package = Path(__file__).parents[1]
    libraries = (Path(folder) for folder in (sys.prefix, sys.base_prefix, *sys.path) if folder)
    return (package, *(folder for folder in libraries if folder != package.parent), *map(Path, _ALWAYS))


def address_space() -> int:
    """Of this process, in bytes; 0 where the system does not say (proc(5), statm)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(what, (most, most))


def _prctl(what: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(what, value, 0, 0, 0)
