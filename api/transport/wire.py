"""One connection of any listener: how much a peer may send, and what it may let us wait for.

uvicorn's protocol reads HTTP with httptools, which tells neither how many octets a head has so far
nor where in a segment a message ends. So octets are fed to it in pieces that end where a head (or a
chunked body) ends, at CR LF CR LF, which it accepts as the only end; each piece then belongs to one
message, and what it adds to head or trailers is known to the octet. The usual segment, one whole
request, is fed at once.

What is refused is answered in its turn, after the answers before it, and the connection is closed:
nobody knows where the next request would begin.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, ClassVar, Final

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from zhenxian.api.auth import ADDRESS, ADMITTED, PEER, Peer
from zhenxian.api.calls.messages import Headers
from zhenxian.api.transport.early import telling
from zhenxian.api.transport.flow import Awaited, Deaf, Flow, same
from zhenxian.api.transport.hosts import VERSIONS, host_problem, target_host
from zhenxian.api.transport.shared import Shared
from zhenxian.core.reasons import Reason

MAX_HEAD: Final = 65_536  # octets of a request's head and trailers
MAX_FIELDS: Final = 100  # fields of a request's head and trailers
MAX_UNANSWERED: Final = 16  # requests of a connection that are read ahead of their answers
MAX_AT_ONCE: Final = 16  # of its calls, or pieces of a chunked body, in a turn of the loop
HEAD_SECONDS: Final = 10.0  # for a head, and for the first octet of a new connection
BODY_SECONDS: Final = 20.0  # for each _BODY_STEP octets of a body
READ_SECONDS: Final = 60.0  # for a peer to read anything of what waits for it
_BODY_STEP: Final = 16_384
_LINGER_SECONDS: Final = 2.0  # for a peer to read why it is refused before the connection ends
QUICK: Final = 4096  # octets of a segment that is looked at as one whole request
_FRAMING: Final = 16  # octets of a chunk's size and line ends that count as no trailers
_MAX_NAMES: Final = 64  # Host values remembered as good

_NO_VERSION: Final = "Invalid HTTP version"  # as the parser says it
_SLASH: Final = ord("/")
HEAD_END: Final = b"\r\n\r\n"
# Between messages; after line ends before one; in its head; after that; none begun, as many wait.
REST, BLANK, HEAD, BODY, HELD = range(5)


class WireProtocol(HttpToolsProtocol):
    """Serves one connection. `shared` and `names` are set on a subclass by `bound`."""

    shared: ClassVar[Shared]
    names: ClassVar[set[bytes]]  # values of Host that were found good

    # Slots are faster than the instance's dictionary; those of uvicorn's that each request uses
    # are among them.
    __slots__ = (
        "_address", "_arrived", "_awaited", "_base", "_bodied", "_chunks", "_due", "_early",
        "_fields", "_held", "_idle_since", "_left", "_octets", "_peer", "_piece", "_progress",
        "_refusal", "_running", "_served", "_since", "_skipping", "_state", "_stranger", "_tail",
        "cycle", "flow", "headers", "parser", "pipeline", "server_state", "transport", "url",
    )  # fmt: skip

    flow: Flow
    url: bytes
    _peer: Peer | None
    _address: str
    _stranger: bool
    _running: RequestResponseCycle | None
    _idle_since: float | None
    _served: int  # calls that were answered, and pieces of a body read, in this turn of the loop
    _due: bool  # `_go_on` comes soon
    _early: bool  # the answer under way began before its body had come: the connection ends with it

    # What is being read.
    _state: int
    _octets: int  # of the message's head and trailers so far
    _base: int  # of these, the head's
    _fields: int  # of the head
    _left: int  # octets of the body still to come, if its length is known
    _bodied: int  # octets of the piece being fed that are a chunked body's
    _chunks: int  # of the piece
    _piece: int  # octets of the piece, if it is part of a chunked body
    _arrived: int  # octets of the body
    _tail: bytes
    _held: bytes
    _skipping: bool  # the message has no cycle: refused, or to be read once more
    _refusal: bytes | None

    # What was waited for at the last look, and since when.
    _awaited: Awaited | None
    _progress: object
    _since: float

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection, whose client certificate TLS has checked."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self.url = self._tail = self._held = b""
        self._state = REST
        self._octets = self._base = self._fields = self._left = 0
        self._bodied = self._chunks = self._piece = self._arrived = 0
        self._served = 0
        self._skipping = self._due = self._early = False
        self._refusal = self._running = self._peer = self._idle_since = None
        self._awaited = self._progress = None
        self._since = 0.0
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        if der:
            with contextlib.suppress(ValueError):  # not one we can read: nobody's
                self._peer = Peer.of(der)
        known = self._peer is not None and self.shared.certified(self._peer)
        self._address = self.client[0] if self.client is not None else ""
        self._stranger = not known
        if not self.shared.connections.enter(self, self._address, known=known):
            self._refusal = self.shared.refusal(Reason.TOO_MANY_CONNECTIONS, (), b"", b"")
            self.parser = Deaf(transport)  # type: ignore[assignment]
            transport.write(self._refusal)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone.

        uvicorn tells the newest of several pipelined requests; the one that is being answered
        must know, or it writes to a transport that is no more.
        """
        self.shared.connections.leave(self)
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        self._held = b""
        super().connection_lost(exc)

    # Octets in ---------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """A segment."""
        self._idle_since = None
        self._served = 0
        if self._state == REST and len(data) <= QUICK:
            end = data.find(HEAD_END) + 4
            # Few bodies have a carriage return, and one octet is found faster than four.
            if data.find(b"\r", end) < 0 or data.find(HEAD_END, end) < 0:
                self._state = BLANK
                try:
                    self.parser.feed_data(data)
                except httptools.HttpParserUpgrade as upgrade:
                    self._octets = end
                    self._read_again()
                    self._take(data[upgrade.args[0] :])
                    return
                except httptools.HttpParserError as error:
                    self._malformed(error)
                    return
                if self._state != REST:
                    self._begun(data, end if end >= 4 else 0)
                elif self.pipeline and self._unanswered() >= MAX_UNANSWERED:
                    self._hold(b"")
                return
        self._take(data)

    def _begun(self, data: bytes, end: int) -> None:
        """A segment with at most one end of a head was fed, and left something begun."""
        if self._state == BODY:
            self._octets = self._base = end
            if self._left:
                self._left -= len(data) - end
            else:
                self._piece = len(data) - end
                self._count()
        elif end and data[0] not in HEAD_END:
            self._octets = len(data) - end - self._left  # of the message before
        else:
            self._octets = len(data)
        self._tail = data[-3:]
        self._bounded()

    def _take(self, data: bytes) -> None:
        """Feed octets to the parser, each piece part of one message."""
        if self._refusal is not None:
            self.parser.feed_data(data)
            return
        if self.flow.held:
            self._held += data
            return
        start, size = 0, len(data)
        while start < size:
            if self._full():
                break
            start += self._feed(data[start : self._stop(data, start)])
            if not self._bounded():
                return
        if start:
            self._tail = data[max(0, start - 3) : start]
        if self._full():
            self._hold(data[start:])
            if self._served >= MAX_AT_ONCE:
                self._soon()

    def _full(self) -> bool:
        """True when this connection has had its share: no more of it is read for now.

        What is answered while it is read, and a body in tiny chunks, would otherwise keep the
        event loop from all others for as long as somebody goes on sending. Where the application
        has yet to read a body, reading is paused already and goes on with it.
        """
        if self._state == BODY:
            return self._served >= MAX_AT_ONCE and not self.flow.read_paused
        return self._served >= MAX_AT_ONCE or self._unanswered() >= MAX_UNANSWERED

    def _stop(self, data: bytes, start: int) -> int:
        """Where the piece that begins at `start` ends: within one message, and within bounds."""
        if self._state == BODY and self._left:
            return min(len(data), start + self._left)
        room = QUICK if self._state == BODY else MAX_HEAD - self._octets
        stop = min(len(data), start + room)
        if start == 0:
            found = (self._tail + data[:3]).find(HEAD_END) + 4 - len(self._tail)
            if 0 < found <= 3 and self._tail:
                return min(found, stop)
        found = data.find(HEAD_END, max(0, start - 3), stop) + 4
        return found if found > start else stop

    def _feed(self, piece: bytes) -> int:
        """Feed a piece; how many of its octets were taken."""
        before, known = self._state, self._left
        self._bodied = self._chunks = 0
        if before == REST:
            self._state = BLANK
        taken = len(piece)
        self._piece = taken if before == BODY and not known else 0
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as upgrade:
            taken = int(upgrade.args[0])
            self._octets += taken
            self._read_again()
            return taken
        except httptools.HttpParserError as error:
            self._malformed(error)
            return taken
        if self._state == REST:
            self._octets = 0
        elif before != BODY:
            self._octets += taken
            self._base = self._octets
        elif known:
            self._left = known - taken
        elif self._piece:
            self._served += 1
            self._count()
        return taken

    def _count(self) -> None:
        """Count a piece of a chunked body: sizes and extensions of its chunks, and trailers."""
        more = self._piece - self._bodied - _FRAMING * self._chunks
        self._octets = max(self._base, self._octets + more)
        self._piece = 0

    def _bounded(self) -> bool:
        """See that head and trailers are within bounds; False when they are refused."""
        if self._refusal is not None:
            return False
        fields = len(self.headers or ()) + (self._fields if self._state == BODY else 0)
        if self._state not in (REST, HELD) and (
            (fields > MAX_FIELDS and self._state != BLANK)
            or self._octets > MAX_HEAD
            or (self._octets == MAX_HEAD and self._state != BODY)
        ):
            self._too_large()
            return False
        return True

    def _too_large(self) -> None:
        if self._state == HEAD and len(self.url) * 2 > MAX_HEAD:
            self._refuse(Reason.TARGET_TOO_LONG, str(MAX_HEAD))
        else:
            self._refuse(Reason.HEAD_TOO_LARGE, str(MAX_HEAD), str(MAX_FIELDS))

    def _malformed(self, error: object = None) -> None:
        if str(error) == _NO_VERSION:
            self._refuse(Reason.HTTP_VERSION)
        else:
            self._refuse(Reason.MALFORMED_HTTP, "it does not follow the grammar")

    def _read_again(self) -> None:
        """Read the head that ends here without its Upgrade field, which we do not follow.

        RFC 9110 section 7.8 lets a server ignore it; the parser would take all that follows for
        another protocol's, the body included.
        """
        if self._refusal is not None:
            return
        version = self.parser.get_http_version().encode()
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", version, b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        octets = self._octets
        try:
            self.parser.feed_data(b"".join([*head, b"\r\n"]))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._malformed()
        self._octets = self._base = octets if self._state != REST else 0

    def _hold(self, rest: bytes) -> None:
        """As many requests are unanswered as may be: the rest is read later."""
        self._held = rest
        self.flow.pause_reading()
        self.flow.held = True
        if self._state == REST:
            self._state = HELD

    def _soon(self) -> None:
        """Read on in the next turn of the event loop, once however often it is asked for."""
        if not self._due:
            self._due = True
            self.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """Read on after `_hold`."""
        self._due = False
        if not self.flow.held or self._refusal is not None or self.transport.is_closing():
            return
        held, self._held = self._held, b""
        self._served = 0
        self.flow.held = False
        if self._state == HELD:
            self._state = REST
        self.flow.resume_reading()  # before what is taken may pause it again
        if held:
            self._take(held)

    # What the parser tells ----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request starts."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._state = HEAD

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailers, of which there are only bounds to see."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is read: see whether the request is answered at all, then begin it."""
        self._state = BODY
        fields = self.headers
        headers = Headers.of(fields)
        if (
            headers.unusual is None
            and headers.host in self.names
            and len(fields) <= MAX_FIELDS
            and self.url[0] == _SLASH
            and self.parser.get_http_version() in VERSIONS
            and self.parser.get_method() != b"CONNECT"  # it has no path (RFC 9110 section 9.3.6)
        ) or self.usable():
            self._left = int(headers.content_length or 0)
            self.begin()

    def begin(self) -> None:
        """Begin a request: here by the application."""
        self._skipping = False
        self._fields = len(self.headers)
        self._arrived = self._bodied = self._chunks = 0
        self.prepare()
        super().on_headers_complete()
        self.headers = []  # trailers are no part of the head (RFC 9110 section 6.5.1)

    def prepare(self) -> None:
        """What uvicorn prepares at the start of a message, which only its own way needs."""
        fields, url = self.headers, self.url
        super().on_message_begin()
        self.url = url
        self.headers.extend(fields)
        self.expect_100_continue = (b"expect", b"100-continue") in [
            (name, value.lower()) for name, value in fields if name == b"expect"
        ]
        self.scope["state"][ADDRESS] = self._address
        if self._peer is not None:
            self.scope["state"][PEER] = self._peer

    def on_body(self, body: bytes) -> None:
        """Part of a body that the application reads."""
        self._bodied += len(body)
        self._arrived += len(body)
        if not self._skipping:
            super().on_body(body)

    def on_chunk_header(self) -> None:
        """A chunk starts."""
        self._chunks += 1

    def on_message_complete(self) -> None:
        """The request is read."""
        if self._piece:
            self._count()
            self._bounded()
        self._state = REST
        if not self._skipping:
            super().on_message_complete()

    def usable(self) -> bool:
        """Look at what is unusual about a head. False: it is refused, or read once more."""
        fields, method = self.headers, self.parser.get_method()
        version = self.parser.get_http_version()
        self._skipping = True
        if version not in VERSIONS:
            self._refuse(Reason.HTTP_VERSION)
            return False
        if len(fields) > MAX_FIELDS:
            self._too_large()
            return False
        if method == b"CONNECT":
            self._refuse(Reason.METHOD_NOT_ALLOWED)
            return False
        if self.parser.should_upgrade():
            return False
        hosts = [value.strip(b" \t") for name, value in fields if name == b"host"]
        problem = host_problem(hosts, version)
        if problem is not None:
            self._refuse(Reason.MALFORMED_HTTP, problem)
            return False
        try:
            target = target_host(self.url)
        except ValueError:
            self._refuse(Reason.MALFORMED_HTTP, "the request target is none")
            return False
        if self.shared.hosts is not None:
            foreign = self.shared.hosts.foreign(hosts[0] if hosts else None, fields, target)
            if foreign is not None:
                self._refuse(foreign[0], foreign[1])
                return False
        if hosts:
            if len(self.names) >= _MAX_NAMES:  # whoever filled it must not keep others out
                self.names.clear()
            self.names.add(hosts[0])
        return True

    # Answers ------------------------------------------------------------------------------------

    def _unanswered(self) -> int:
        return len(self.pipeline) + (self._running is not None)

    def flush(self) -> None:
        """Give the answers that can be given now."""

    def _refuse(self, reason: Reason, *variables: str) -> None:
        """Answer the request that is being read with an error, in its turn; read nothing more."""
        if self._refusal is not None or self.transport.is_closing():
            return
        self.flush()
        begun = self._state != REST
        method = self.parser.get_method() if self._state == BODY else b""
        self._refusal = self.shared.refusal(reason, variables, self.url or b"", method)
        self.parser = Deaf(self.transport)  # type: ignore[assignment]
        self._skipping = True
        cycle = self.cycle
        if begun and self._state == BODY and cycle is not None and cycle.more_body:
            # The application is, or would be, at it already.
            if self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()
            elif self._running is cycle and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
                self._running = None
                if cycle.response_started:
                    self.transport.close()
                    return
        if self._unanswered():
            self.flow.pause_reading()
            self.flow.held = True
        else:
            self._say()

    def _say(self) -> None:
        """Send the refusal, and close when it can be thought to be read."""
        if self._refusal:
            self.transport.write(self._refusal)
        if not self.transport.can_write_eof():  # TLS
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.held = False
        self.flow.resume_reading()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, telling(app, cycle, self._is_early, self.shared.refusal))

    def _is_early(self) -> bool:
        self._early = (
            self._running is self.cycle and self._state == BODY and not 0 < self._left <= QUICK
        )
        return self._early

    def on_response_complete(self) -> None:
        """The application has answered; the next request's turn."""
        self.server_state.total_requests += 1
        running, self._running = self._running, None
        if self._stranger and running is not None and running.scope["state"].get(ADMITTED):
            self.admitted()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self._early:
            self._refusal = b""
            self.parser = Deaf(self.transport)  # type: ignore[assignment]
            self._say()
        elif self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._refusal is not None:
            self._say()
        else:
            self._idle_since = self.loop.time()
        if self.flow.held:
            self._soon()

    def give_way(self) -> bool:
        """Close for another connection's sake, unless something is under way here."""
        idle = self._state in (REST, BLANK) and not self._unanswered() and self._refusal is None
        if not idle or self.flow.write_paused or not self.settled():
            return False
        self.transport.close()
        return True

    def settled(self) -> bool:
        """True when no call waits for its answer."""
        return True

    def admitted(self) -> None:
        """A request of this connection showed credentials."""
        self._stranger = False
        self.shared.connections.admit(self)

    # Waiting ------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """End a connection that makes us wait too long."""
        what, progress, limit = self._waits()
        if what is not self._awaited or not same(progress, self._progress):
            self._awaited, self._progress, self._since = what, progress, now
        if what is Awaited.IDLE and self._idle_since is not None:
            self._since = self._idle_since
        if what is None or now - self._since < limit:
            return
        if what in (Awaited.HEAD, Awaited.BODY):
            self._refuse(Reason.TOO_SLOW)
        elif what is Awaited.READER:
            self.transport.abort()
        else:
            self.transport.close()

    def _waits(self) -> tuple[Awaited | None, object, float]:
        """What the peer has to do next, what changes as it does, how long that may take."""
        if self.flow.write_paused or self.transport.is_closing():
            return Awaited.READER, self.transport.get_write_buffer_size(), READ_SECONDS
        if self.flow.read_paused or self._refusal is not None:
            return None, None, 0
        if self._state == BODY:
            return Awaited.BODY, self.arrived() // _BODY_STEP, BODY_SECONDS
        if self._state == HEAD:
            return Awaited.HEAD, self.headers, HEAD_SECONDS
        if self._unanswered() or not self.settled():
            return None, None, 0
        if self._idle_since is None:
            return Awaited.FIRST, None, HEAD_SECONDS
        return Awaited.IDLE, None, self.timeout_keep_alive

    def arrived(self) -> int:
        """Octets of the body that arrived so far."""
        return self._arrived

    def _unset_keepalive_if_required(self) -> None:
        """No timer is set for each request, as uvicorn does: `look` sees to it."""


def bound(protocol: type[WireProtocol], shared: Shared, **more: Any) -> type[WireProtocol]:
    """The protocol class of one listener."""
    attributes: dict[str, Any] = {"__slots__": (), "shared": shared, "names": set(), **more}
    return type(f"Bound{protocol.__name__}", (protocol,), attributes)
