"""SIP over UDP (RFC 3261 section 18): one socket, every datagram one message."""

from __future__ import annotations

import asyncio
from functools import partial

from zhenxian.sip.redirect import Peer, Redirector
from zhenxian.sip.responses import Origin


class UdpProtocol(asyncio.DatagramProtocol):
    """One UDP listener of a process."""

    def __init__(self, redirector: Redirector, *, signing: bool) -> None:
        self._redirector = redirector
        self._signing = signing
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """The socket is there."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """One message."""
        origin = Origin(addr[0], addr[1], "udp")
        peer = Peer(
            origin=origin,
            send=partial(self._send, addr),
            port=addr[1],
            reliable=False,
            signing=self._signing,
        )
        self._redirector.received(data, peer)

    def _send(self, addr: tuple[str, int], octets: bytes, port: int) -> None:
        if self._transport is not None:
            self._transport.sendto(octets, (addr[0], port, *addr[2:]))

    def error_received(self, exc: Exception) -> None:
        """A peer that is gone; its transactions end by themselves."""
