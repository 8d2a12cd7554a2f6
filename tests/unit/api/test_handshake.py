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

    def __init__(self, ours, address="192.0.2.1"):
        self.ours, self.address = ours, address

    def get_extra_info(self, name):
        return {"peername": (self.address, 5060), "socket": self.ours}[name]

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


def _is_closed(theirs):
    theirs.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        return theirs.recv(1) == b""
    return False


def test_who_holds_all_handshakes_keeps_nobody_out():
    """One more has the oldest closed of who has most; others are left alone."""

    async def work():
        limits = Limits(total=8, strangers=64, strangers_per_address=64)
        every = Handshakes(
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Connections(limits), asyncio.Protocol
        )
        held = {}
        for number, who in enumerate("b" + "a" * 5 + "bc"):
            held[who, number] = pair = socket.socketpair()
            every().connection_made(Accepted(pair[0], f"192.0.2.{ord(who)}"))
            await asyncio.sleep(0)
        for more in range(3):
            held["d", more] = pair = socket.socketpair()
            every().connection_made(Accepted(pair[0], f"198.51.100.{more}"))
            await asyncio.sleep(0.02)
            assert len(every._open) == 8
        closed = [name for name, (_, theirs) in held.items() if _is_closed(theirs)]
        assert closed == [("a", 1), ("a", 2), ("a", 3)]
        every.close()
        await asyncio.sleep(0.05)
        for _, theirs in held.values():
            theirs.close()

    asyncio.run(work())
