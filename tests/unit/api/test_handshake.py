"""TLS handshakes that give way, also before they have begun."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from ipaddress import ip_network

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


class Every:
    """The handshakes of a listener, with connections that are established already."""

    def __init__(self, established=0, **limits):
        self.refused = []
        self._book = Connections(Limits(**limits), self.refused.append)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._every = Handshakes(context, self._book, asyncio.Protocol)
        self._pairs = []
        self.establish(established)

    def establish(self, count):
        for number in range(count):
            assert self._book.enter(Established(), f"203.0.113.{number}", known=True)

    async def begun(self, *addresses):
        """Have one begin at each address; which of all that have begun are still open."""
        for address in addresses:
            pair = socket.socketpair()
            self._pairs.append((address, pair))
            self._every().connection_made(Accepted(pair[0], address))
        await asyncio.sleep(0.02)
        return [address for address, (_, theirs) in self._pairs if not _is_closed(theirs)]

    async def close(self):
        self._every.close()
        await asyncio.sleep(0.02)
        assert len(self._every._book) == 0
        for _, (_, theirs) in self._pairs:
            theirs.close()


class Established:
    def look(self, now):
        pass

    def give_way(self):
        return False


A, B, C = "192.0.2.1", "198.51.100.1", "198.51.100.2"


def test_nobody_gives_way_to_a_stranger_that_is_one_too_many():
    async def work():
        every = Every(established=2, total=4, strangers=2, strangers_per_address=64)
        assert await every.begun(A, A) == [A, A]
        assert await every.begun(B) == [A, A]
        assert every.refused == ["strangers"]
        await every.close()

    asyncio.run(work())


def test_nobody_gives_way_where_connections_alone_are_too_many():
    """They had their handshakes, and others are under way."""

    async def work():
        every = Every(total=4, strangers=64, strangers_per_address=64)
        assert await every.begun(A, A) == [A, A]
        every.establish(4)
        assert await every.begun(B) == [A, A]
        await every.close()

    asyncio.run(work())


def test_at_the_bound_of_its_address_one_of_the_same_gives_way_and_no_other():
    async def work():
        proxied = (ip_network("203.0.113.0/24"),)
        every = Every(total=4, strangers=64, strangers_per_address=1, proxies=proxied)
        assert await every.begun("203.0.113.9", "203.0.113.9", A, B) == [
            "203.0.113.9",
            "203.0.113.9",
            A,
            B,
        ]
        assert await every.begun(B) == ["203.0.113.9", "203.0.113.9", A, B]
        await every.close()

    asyncio.run(work())


def test_a_listed_proxys_give_way_last():
    async def work():
        proxied = (ip_network(A),)
        every = Every(total=4, strangers=64, strangers_per_address=64, proxies=proxied)
        assert await every.begun(A, A, A, B) == [A, A, A, B]
        assert await every.begun(C) == [A, A, A, C]
        assert await every.begun(A) == [A, A, A, A]
        assert await every.begun(B) == [A, A, A, B]
        await every.close()

    asyncio.run(work())


def test_of_many_that_come_in_one_turn_each_has_another_give_way():
    async def work():
        every = Every(total=3, strangers=64, strangers_per_address=64)
        assert await every.begun(A, A, A) == [A, A, A]
        assert await every.begun(B, C) == [A, B, C]
        await every.close()

    asyncio.run(work())


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
