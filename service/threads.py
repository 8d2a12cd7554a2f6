"""Threads that are there before they are needed.

A container's limit of processes counts threads: one that cannot be started in the middle of a
request, or by who looks after files, would be an error of ours.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from zhenxian.core.errors import ConfigError

THREADS: Final = 8  # work beside the event loop: uploads, bodies, disks, processes that are awaited


def ready_threads(count: int = THREADS) -> ThreadPoolExecutor:
    """An executor whose threads run. Raises ConfigError when the machine gives no more."""
    executor = ThreadPoolExecutor(count, thread_name_prefix="work")
    together = threading.Barrier(count + 1)
    try:
        for _ in range(count):
            executor.submit(together.wait)
    except RuntimeError:
        together.abort()
        executor.shutdown(wait=False)
        raise ConfigError(
            f"{count} threads cannot be started: raise the limit of processes (ulimit -u,"
            " pids.max, --pids-limit)"
        ) from None
    together.wait()
    return executor
