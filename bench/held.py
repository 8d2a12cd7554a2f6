"""The service with a watch on its event loop: how long nothing else gets a turn.

Started by `bench.stalls` and by tests as `python -m bench.held CONFIG`. For each line on standard
input it writes to standard output, of the time since the line before and in seconds: the longest
wait, and what one in a hundred waits longer for who comes at random moments.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Final

import uvloop

from zhenxian.service.serving import serve
from zhenxian.service.settings import load_settings
from zhenxian.service.sockets import bind
from zhenxian.telemetry.logs import configure_logging

_EVERY: Final = 0.001  # seconds between two looks
_LEAST: Final = 0.0002  # seconds; a shorter wait is none
_SHARE: Final = 0.01  # of those who come
_STEPS: Final = 40


def _waited(waits: list[float], seconds: float) -> float:
    """What a share of those who come within these seconds waits longer than."""
    low, high = 0.0, max(waits, default=0.0)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if sum(max(wait - middle, 0.0) for wait in waits) > _SHARE * seconds:
            low = middle
        else:
            high = middle
    return high


class Watch:
    """Looks at the clock in every millisecond's turn of the event loop."""

    def __init__(self) -> None:
        self._waits: list[float] = []
        self._began = time.perf_counter()
        self._telling = False

    async def run(self) -> None:
        """Look for ever.

        What counts is the processor time of this process, where that is less than what the clock
        says: a machine on which others work holds nothing up here. Time in which another thread
        has the interpreter counts, as calls wait for it, too.
        """
        while True:
            clock, used = time.perf_counter(), time.process_time()
            await asyncio.sleep(_EVERY)
            took = min(time.perf_counter() - clock - _EVERY, time.process_time() - used)
            if self._telling:
                self._telling = False  # what was worked out then is the watch's own work
            elif took > _LEAST:
                self._waits.append(took)

    def read(self) -> None:
        """Write what was seen, and begin anew."""
        if not sys.stdin.readline():
            return
        waits, began = self._waits, self._began
        self._waits, self._began = [], time.perf_counter()
        self._telling = True
        usual = _waited(waits, self._began - began)
        sys.stdout.write(f"{max(waits, default=0.0):.6f} {usual:.6f}\n")
        sys.stdout.flush()


async def _serve(config: Path) -> None:
    settings = load_settings(config)
    configure_logging(settings.log.level)
    watch = Watch()
    loop = asyncio.get_running_loop()
    watching = loop.create_task(watch.run())
    loop.add_reader(sys.stdin.fileno(), watch.read)
    try:
        await serve(settings, bind(settings.server.calls), None)
    finally:
        loop.remove_reader(sys.stdin.fileno())
        watching.cancel()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1])))
