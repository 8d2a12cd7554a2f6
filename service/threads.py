"""Threads that are there before they are needed.

A container's limit of processes counts threads: one that cannot be started in the middle of a
request, or by who looks after files, would be an error of ours.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from zhenxian.core.errors import ConfigError
from zhenxian.service.scheduling import give_way

_logger = logging.getLogger("zhenxian")

THREADS: Final = 8  # work beside the event loop: uploads, bodies, disks, processes that are awaited


def end_within(seconds: float) -> Callable[[], None]:
    """What to call when a graceful stop begins: so much later the process ends anyhow.

    A file or name server that does not answer holds a thread for longer than anybody waits, and
    the interpreter waits for its threads. Raises ConfigError when the machine gives no thread.
    """
    begun = threading.Event()

    def end() -> None:
        begun.wait()
        time.sleep(seconds)
        _logger.critical("the graceful stop took more than %g s: ended without it", seconds)
        os._exit(1)

    try:
        threading.Thread(target=end, name="end-within", daemon=True).start()
    except RuntimeError:
        raise no_threads() from None
    return begun.set


def ready_threads(count: int = THREADS) -> ThreadPoolExecutor:
    """An executor whose threads run, and give way to the event loop.

    Raises ConfigError when the machine gives no more.
    """
    executor = ThreadPoolExecutor(count, "work", initializer=give_way)
    together = threading.Barrier(count + 1)
    try:
        for _ in range(count):
            executor.submit(together.wait)
    except RuntimeError:
        together.abort()
        executor.shutdown(wait=False)
        raise no_threads() from None
    together.wait()
    return executor


def no_threads() -> ConfigError:
    """What is told where the machine does not give as many as the service needs."""
    return ConfigError(
        "its threads cannot be started: raise the limit of processes (ulimit -u, pids.max,"
        " --pids-limit)"
    )
