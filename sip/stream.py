"""SIP over TCP and TLS (RFC 3261 section 18.3): messages one behind the other on a connection."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from zhenxian.core.errors import ParseError
from zhenxian.sip.message import MAX_MESSAGE, content_length, read_head
from zhenxian.sip.redirect import Peer, Redirector
from zhenxian.sip.responses import Origin

IDLE_SECONDS: Final = 900.0  # of a connection on which nothing is said
MESSAGE_SECONDS: Final = 30.0  # that a message may take to arrive
_END: Final = b"\r\n\r\n"
_KEEP_ALIVE = re.compile(rb"(?:\r\n)+")


class StreamProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(
        self, redirector: Redirector, open_: set[StreamProtocol], limit: int, *, signing: bool,
        transport: str,
    ) -> None:  # fmt: skip
        """Args: open_ are the listener's connections, of which there are `limit` at most."""
        self._redirector = redirector
        self._open = open_
        self._limit = limit
        self._signing = signing
        self._name = transport
        self._transport: asyncio.Transport | None = None
        self._origin = Origin("", 0, transport)
        self._data = bytearray()
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection: taken, if there is room for it."""
        self._transport = transport
        peer = transport.get_extra_info("peername") or ("", 0)
        self._origin = Origin(peer[0], peer[1], self._name)
        if len(self._open) >= self._limit or not self._redirector.known(peer[0]):
            transport.abort()
            return
        self._open.add(self)
        self._wait(IDLE_SECONDS)

    def connection_lost(self, _: Exception | None) -> None:
        """The end of it."""
        self._open.discard(self)
        if self._patience is not None:
            self._patience.cancel()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Octets: whole messages are taken, the rest is kept until more comes."""
        self._data += data
        while self._transport is not None and not self._transport.is_closing():
            message = self._next()
            if message is None:
                break
            self._redirector.received(message, self._peer(), framed=True)
        self._wait(MESSAGE_SECONDS if self._data else IDLE_SECONDS)

    def close(self) -> None:
        """Close after what was written has gone out."""
        if self._transport is not None:
            self._transport.close()

    def _next(self) -> bytes | None:
        """The next message, without what follows it."""
        pings = _KEEP_ALIVE.match(self._data)
        if pings is not None:
            if pings.end() >= len(_END):  # RFC 5626 section 4.4.1: two are a ping, one the pong
                self._send(b"\r\n", 0)
            elif pings.end() == len(self._data):
                return None  # perhaps the first half of a ping
            del self._data[: pings.end()]
        end = self._data.find(_END)
        if end < 0:
            if len(self._data) > MAX_MESSAGE:
                self._give_up()
            return None
        head = bytes(self._data[: end + len(_END)])
        try:
            length = content_length(read_head(head))
        except ParseError:
            length = None
        if length is None:  # where the next message begins, nobody can tell
            self._redirector.received(head, self._peer())
            self._redirector.flush()
            self.close()
            self._data.clear()
            return None
        whole = len(head) + length
        if whole > MAX_MESSAGE:
            self._give_up()
            return None
        if len(self._data) < whole:
            return None
        message = bytes(self._data[:whole])
        del self._data[:whole]
        return message

    def _give_up(self) -> None:
        self._data.clear()
        self.close()

    def _peer(self) -> Peer:
        return Peer(
            origin=self._origin, send=self._send, port=0, reliable=True, signing=self._signing
        )

    def _send(self, octets: bytes, _: int) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write(octets)

    def _wait(self, seconds: float) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = asyncio.get_running_loop().call_later(seconds, self.close)
