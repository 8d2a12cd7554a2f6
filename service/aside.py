"""What a process does first that works beside the service: it steps back behind the calls.

It does so before it reads the modules that it needs, which takes longer than many a piece of work.

Being nicer is a smaller share of a processor, and no more: who wakes up waits until the slice of
the one that runs is over, which takes milliseconds. Linux takes the processor away at once from one
that asked for longer slices (since 6.12), and a batch process does not take it from others.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Final

_NICER: Final = 10  # a call that comes has the processor at once; writers wait for its commits
_SLICE: Final = 100_000_000  # nanoseconds; the longest that Linux gives
_SET: Final = {"x86_64": 314, "aarch64": 274}  # the number of sched_setattr(2), which libc has not
_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQ")  # size, policy, flags, nice, priority, slice, -, -
_FIRST: Final = "1000"  # see proc(5): whom the kernel ends first
_USUAL: Final = "zhenxian.service.apart"
_OWN: Final = 4  # descriptors that were meant for it: 3 is the file it reads, if there is one


def main() -> int:
    """Step back, and do what standard input orders; by the module that is named, if one is.

    Returns the exit status.
    """
    os.closerange(_OWN, os.sysconf("SC_OPEN_MAX"))
    os.setpgid(0, 0)  # what interrupts the service at a terminal is not for it
    step_back()
    with suppress(OSError):  # where memory runs out it ends before the service does
        Path("/proc/self/oom_score_adj").write_text(_FIRST)
    done: int = import_module((*sys.argv[1:], _USUAL)[0]).main()
    return done


def step_back() -> None:
    """Leave the processor to the service whenever it wants it, as far as this system knows how."""
    nice = os.nice(_NICER)
    if not hasattr(os, "SCHED_BATCH"):
        return
    with suppress(OSError):  # a sandbox may forbid either; what cannot be had is done without
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    number = _SET.get(platform.machine())
    if number is not None:
        wanted = (_ATTRIBUTES.size, os.SCHED_BATCH, 0, nice, 0, _SLICE, 0, 0)
        ctypes.CDLL(None).syscall(number, 0, _ATTRIBUTES.pack(*wanted), 0)


if __name__ == "__main__":
    sys.exit(main())
