"""Leaving the processor to the event loop, as far as the system knows how.

Who wakes up waits until the slice of the one that runs is over, which takes milliseconds, however
nice that one is. Linux takes the processor away at once from one that asked for longer slices
(since 6.12), and one that works in batches does not take it from others.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from contextlib import suppress
from typing import Final

_SLICE: Final = 100_000_000  # nanoseconds; the longest that Linux gives
_SET: Final = {"x86_64": 314, "aarch64": 274}  # the number of sched_setattr(2), which libc has not
_ATTRIBUTES: Final = struct.Struct("=IIQiIQQQ")  # size, policy, flags, nice, priority, slice, -, -


def give_way() -> None:
    """Have the calling thread give the processor up whenever one wants it that does not do so.

    A sandbox may forbid it; what cannot be had is done without. Whoever runs the service at another
    policy than the usual one has decided.
    """
    if not hasattr(os, "SCHED_BATCH"):
        return
    with suppress(OSError):
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            return
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        number = _SET.get(platform.machine())
        if number is not None:
            nice = os.getpriority(os.PRIO_PROCESS, 0)
            wanted = (_ATTRIBUTES.size, os.SCHED_BATCH, 0, nice, 0, _SLICE, 0, 0)
            ctypes.CDLL(None).syscall(number, 0, _ATTRIBUTES.pack(*wanted), 0)
