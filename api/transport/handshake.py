"""TLS before HTTP or SIP: handshakes are bounded as strangers' connections are, beside these.

uvicorn would have the loop do it before any protocol knows: as many as there are descriptors, each
for a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from zhenxian.api.transport.connections import Connections

HANDSHAKE_SECONDS: Final = 10.0


class Handshakes:
    """The TLS handshakes of one listener."""

    def __init__(
        self,
        context: ssl.SSLContext,
        book: Connections,
        served_by: Callable[..., asyncio.Protocol],
        known: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`served_by` makes the protocol of a connection whose handshake has succeeded.

        Args:
            known: whether anybody is served at an address; others are closed before a handshake.
        """
        self.context = context
        self._connections = book
        self._book = book.beside()
        self._open: dict[Handshake, tuple[str, bool]] = {}
        # The same by their sites, the oldest of each first; listed proxies' apart.
        self._sites: dict[bool, dict[str, dict[Handshake, None]]] = {False: {}, True: {}}
        self._served_by = served_by
        self._known = known

    def __call__(self, **how: Any) -> Handshake:
        """The protocol of a new connection; `how` is told the one after it."""
        return Handshake(self, lambda: self._served_by(**how))

    def enter(self, handshake: Handshake, address: str) -> bool:
        """Take a new one; False when it would be one too many.

        Whoever begins handshakes and does not go on keeps nobody out.
        """
        if not self._known(address):
            return False
        # Nobody gives way to one that is then kept out all the same.
        if self._is_full() and not (
            len(self._connections) < self._connections.limits.total
            and self._book.takes(address)
            and (not self._is_full() or self._made_room())
        ):
            return False
        if not self._book.enter(handshake, address):
            return False
        site, listed = self._open[handshake] = self._book.site(address)
        self._sites[listed].setdefault(site, {})[handshake] = None
        return True

    def _is_full(self) -> bool:
        return len(self._connections) + len(self._open) >= self._connections.limits.total

    def _made_room(self) -> bool:
        """Have one give way: of who has most, the one that was begun first; last, of a proxy's."""
        sites = self._sites[False] or self._sites[True]
        most = max(sites.values(), key=len)
        return next(iter(most)).give_way()

    def leave(self, handshake: Handshake) -> None:
        """It has ended."""
        if handshake in self._open:
            site, listed = self._open.pop(handshake)
            of_site = self._sites[listed][site]
            del of_site[handshake]
            if not of_site:
                del self._sites[listed][site]
        self._book.leave(handshake)

    def close(self) -> None:
        """End those that are under way: nobody waits for them."""
        for handshake in tuple(self._open):
            handshake.give_way()


class Handshake(asyncio.Protocol):
    """A connection during its handshake.

    The loop does the handshake on the socket as if it had just been accepted: a transport that has
    begun to read could not be turned over to TLS before its first octets come.
    """

    def __init__(self, every: Handshakes, following: Callable[[], asyncio.Protocol]) -> None:
        self._every = every
        self._following = following
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection: begin, or close what is one too many."""
        peer = transport.get_extra_info("peername")
        if self._every.enter(self, str(peer[0]) if peer else ""):
            try:
                own = transport.get_extra_info("socket").dup()
            except OSError:  # there is no descriptor left
                self._every.leave(self)
            else:
                own.setblocking(False)
                self._task = asyncio.get_running_loop().create_task(self._shake(own))
                self._task.add_done_callback(partial(self._ended, own))
        transport.abort()

    def look(self, now: float) -> None:
        """The handshake has its own limit."""

    def give_way(self) -> bool:
        """End it for another connection's sake."""
        if self._task is None:
            return False
        self._task.cancel()
        self._every.leave(self)  # at once: it is in the way of nobody else who comes in this turn
        return True

    async def _shake(self, own: socket.socket) -> None:
        # What TLS refuses, and what takes too long, is an OSError.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                self._following,
                own,
                ssl=self._every.context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
            return
        own.close()

    def _ended(self, own: socket.socket, task: asyncio.Task[None]) -> None:
        """Also of one that gave way before it began: no line of the task has run then."""
        if task.cancelled() or task.exception() is not None:
            own.close()
        self._task = None
        self._every.leave(self)
