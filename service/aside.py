"""What a process does first that works beside the service: it steps back behind the calls.

It does so before it reads the modules that it needs, which takes longer than many a piece of work.
It has become nicer already (service/spawn.py).
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Final

from zhenxian.service.scheduling import give_way

_FIRST: Final = "1000"  # see proc(5): whom the kernel ends first
_USUAL: Final = "zhenxian.service.apart"
_OWN: Final = 4  # descriptors that were meant for it: 3 is the file it reads, if there is one


def main() -> int:
    """Step back, and do what standard input orders; by the module that is named, if one is.

    Returns the exit status.
    """
    os.closerange(_OWN, os.sysconf("SC_OPEN_MAX"))
    os.setpgid(0, 0)  # what interrupts the service at a terminal is not for it
    give_way()
    with suppress(OSError):  # where memory runs out it ends before the service does
        Path("/proc/self/oom_score_adj").write_text(_FIRST)
    done: int = import_module((*sys.argv[1:], _USUAL)[0]).main()
    return done
