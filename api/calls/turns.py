"""Turns of the event loop for calls that the protocol leaves to the application."""

from __future__ import annotations

import asyncio
from typing import Final

IN_A_TURN: Final = 64  # calls; as many as the usual way answers together


class Turns:
    """So many are answered in one turn of the event loop; others have theirs between."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._taken = 0
        self._next = asyncio.Event()

    async def mine(self) -> None:
        """Wait for a place in a turn, and take it."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._taken, self._next = loop, 0, asyncio.Event()
        while self._taken >= IN_A_TURN:
            await self._next.wait()
        if not self._taken:
            loop.call_soon(self._over)
        self._taken += 1
        if self._taken >= IN_A_TURN:
            self._next.clear()

    def _over(self) -> None:
        self._taken = 0
        self._next.set()
