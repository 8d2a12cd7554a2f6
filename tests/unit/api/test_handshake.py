"""TLS handshakes that give way, also before they have begun."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

from zhenxian.api.transport.connections import Connections, Limits
from zhenxian.api.transport.handshake import Handshakes


class Accepted:
    """A transport of a connection that was just accepted."""

    def __init__(self, ours):
        self.ours = ours

    def get_extra_info(self, name):
        return {"peername": ("192.0.2.1", 5060), "socket": self.ours}[name]

    def abort(self):
        self.ours.close()


def test_those_that_give_way_in_the_turn_in_which_they_came_are_closed():
    """The task of one has not begun then: nothing that stands in it is done."""

    async def work():
        limits = Limits(total=64, strangers=64, strangers_per_address=4)
        every = Handshakes(
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Connections(limits), asyncio.Protocol
        )
        pairs = [socket.socketpair() for _ in range(12)]
        for ours, _ in pairs:
            every().connection_made(Accepted(ours))
        await asyncio.sleep(0.05)
        assert len(every._open) == 4
        closed = 0
        for _, theirs in pairs:
            theirs.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                closed += theirs.recv(1) == b""
        assert closed == 8
        every.close()
        await asyncio.sleep(0.05)
        assert not every._open
        for _, theirs in pairs:
            theirs.close()

    asyncio.run(work())
