"""The service with a watch on its event loop: how long nothing else gets a turn.

Started by `bench.stalls` and by tests as `python -m bench.held CONFIG`. For each line on
standard input it writes the longest time since the line before, in seconds, to standard output.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Final

import uvloop

from zhenxian.service.run import bind, serve
from zhenxian.service.settings import load_settings
from zhenxian.telemetry.logs import configure_logging

_EVERY: Final = 0.001  # seconds between two looks


class Watch:
    """Looks at the clock in every millisecond's turn of the event loop."""

    def __init__(self) -> None:
        self._longest = 0.0

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
            self._longest = max(self._longest, took)

    def read(self) -> None:
        """Write the longest, and begin anew."""
        if not sys.stdin.readline():
            return
        longest, self._longest = self._longest, 0.0
        sys.stdout.write(f"{longest:.6f}\n")
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
