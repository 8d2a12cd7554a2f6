"""Keeps sorted columns of the holdings, where there are many, for calls to be looked up in.

They are made in a process of their own, of whichever worker is first, and taken by all. While
commits come that change more than can be told one by one (imports), SQLite is asked, and the
columns are made anew when it is quiet again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from zhenxian.core.errors import ZhenxianError
from zhenxian.service.apart import sort_apart
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.registry import EmbeddedRegistry
from zhenxian.stores.sqlite.sorted_holdings import NAMED, load

LOOK_EVERY: Final = 2.0  # seconds; without a commit in between it is quiet
LEAST: Final = 50_000  # holdings below which the answers that are kept in memory are enough
_SHARE: Final = 20  # of the time at most one part goes into making columns
_AT_LEAST: Final = 60.0  # seconds from one making to the next

_logger = logging.getLogger(__name__)


class SortedKeeper:
    """The columns of one process. For one event loop."""

    def __init__(
        self,
        registry: EmbeddedRegistry | FleetRegistry,
        *,
        least: int = LEAST,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._least = least
        self._timer = timer
        self._loaded: object = None  # the token of those that were read last
        self._seq = -1  # the last commit at the last look
        self._enough: tuple[int, bool] = (-1, False)
        self._due = timer()
        self._problem: str | None = None

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            problem = None
            try:
                await self.look()
            except Exception as error:  # calls are answered without them, too
                problem = f"holdings are looked up without sorted columns: {error}"
                if problem != self._problem:
                    _logger.warning("%s", problem, exc_info=not isinstance(error, ZhenxianError))
            self._problem = problem

    async def look(self) -> None:
        """Take columns that are new; have them made where there are none, and it is quiet.

        Raises:
            StoreUnavailableError: a file cannot be read or written.
        """
        await self._take()
        if self._registry.sorted is None and await self._wanted():
            await self._make()
            await self._take()

    async def _take(self) -> None:
        file = self._registry.records
        token, columns = file.meta(NAMED), self._registry.sorted
        if token is None or token == self._loaded:
            return
        if columns is None or columns.token != token:
            self._loaded = token
            found = await asyncio.to_thread(load, file.path, str(token))
            if found is not None:
                self._registry.take_sorted(found)

    async def _wanted(self) -> bool:
        seq, before = self._registry.seq, self._seq
        self._seq = seq
        if seq != before or self._timer() < self._due:
            return False
        if self._enough[0] != seq:
            self._enough = (seq, await self._registry.read(self._many))
        return self._enough[1]

    def _many(self, file: RegistryFile) -> bool:
        return file.tables.holdings.at_least(self._least)

    async def _make(self) -> None:
        began = self._timer()
        try:
            await sort_apart(self._registry.records.path)
        finally:
            now = self._timer()
            self._due = now + max(_AT_LEAST, _SHARE * (now - began))
