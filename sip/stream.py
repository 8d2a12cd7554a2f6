"""SIP over TCP and TLS (RFC 3261 section 18.3): messages one behind the other on a connection."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Final

from zhenxian.core.errors import ParseError
from zhenxian.sip.message import MAX_MESSAGE, framed_length
from zhenxian.sip.redirect import Peer, Redirector
from zhenxian.sip.responses import Origin

IDLE_SECONDS: Final = 900.0  # of a connection on which nothing is said
MESSAGE_SECONDS: Final = 30.0  # that a message may take to arrive
MAX_HEAD: Final = 2 * MAX_MESSAGE  # what is longer is cut off; below it, it is answered 513
_END: Final = b"\r\n\r\n"
_KEEP_ALIVE = re.compile(rb"(?:\r\n)+")


class StreamProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(
        self, redirector: Redirector, open_: set[StreamProtocol], limit: int, *, signing: bool,
        transport: str,
    ) -> None:  # fmt: skip
        """Args: open_ are the process's connections, of which there are `limit` at most."""
        self._redirector = redirector
        self._open = open_
        self._limit = limit
        self._signing = signing
        self._name = transport
        self._transport: asyncio.Transport | None = None
        self._origin = Origin("", 0, transport)
        self._data = bytearray()
        self._searched = 0  # octets without the end of a head
        self._needed = 0  # octets of the message that has begun
        self._skipped = 0  # octets of a body that are not kept
        self.heard = 0.0
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection: taken, if there is room for it."""
        self._transport = transport
        peer = transport.get_extra_info("peername") or ("", 0)
        self._origin = Origin(peer[0], peer[1], self._name)
        if not self._redirector.known(peer[0]):
            transport.abort()
            return
        if len(self._open) >= self._limit:
            self._crowded().abort()
        self.heard = asyncio.get_running_loop().time()
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
        self.heard = asyncio.get_running_loop().time()
        begins = not self._data and not self._skipped
        self._data += data
        while self._transport is not None and not self._transport.is_closing():
            message = self._next()
            if message is None:
                break
            begins = True
            self._redirector.received(message, self._peer(), framed=True)
        if not self._data and not self._skipped:
            self._wait(IDLE_SECONDS)
        elif begins:  # and not with every octet: else one in a while would do for ever
            self._wait(MESSAGE_SECONDS)

    def pause_writing(self) -> None:
        """Answers are not fetched: nothing more is asked before they are."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """They were fetched."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    @property
    def host(self) -> str:
        """Who is at the other end."""
        return self._origin.host

    def abort(self) -> None:
        """Close at once, whatever was not fetched."""
        self._open.discard(self)
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close after what was written has gone out."""
        if self._transport is not None:
            self._transport.close()

    def _next(self) -> bytes | None:
        """The next message, without what follows it."""
        if self._skipped:
            gone = min(self._skipped, len(self._data))
            del self._data[:gone]
            self._skipped -= gone
        pings = _KEEP_ALIVE.match(self._data)
        if pings is not None:
            if pings.end() >= len(_END):  # RFC 5626 section 4.4.1: two are a ping, one the pong
                self._send(b"\r\n", 0)
            elif pings.end() == len(self._data):
                return None  # perhaps the first half of a ping
            del self._data[: pings.end()]
        if len(self._data) < self._needed:
            return None
        end = self._data.find(_END, self._searched)
        if end < 0:
            self._searched = max(0, len(self._data) - len(_END) + 1)
            if len(self._data) > MAX_HEAD:
                self._give_up()
            return None
        head = bytes(self._data[: end + len(_END)])
        try:
            length = framed_length(head)
        except ParseError:  # where the next message begins, nobody can tell
            self._redirector.received(head, self._peer())
            self._redirector.drain()
            self._give_up()
            return None
        whole = len(head) + length
        if whole > MAX_MESSAGE:  # what is asked stands in the head
            self._skipped, whole = length, len(head)
        if len(self._data) < whole:
            self._searched, self._needed = end, whole
            return None
        self._searched = self._needed = 0
        message = bytes(self._data[:whole])
        del self._data[:whole]
        return message

    def _crowded(self) -> StreamProtocol:
        """Which connection makes room: of who has most, the one that was silent longest."""
        held = Counter(each.host for each in self._open)
        host, _ = held.most_common(1)[0]
        return min((each for each in self._open if each.host == host), key=lambda each: each.heard)

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
        self._patience = asyncio.get_running_loop().call_later(seconds, self.abort)
