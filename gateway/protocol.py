"""uvicorn's HTTP protocol with a short way for the two per-call routes.

uvicorn parses, keeps connections and shuts down as ever. Complete POSTs to a per-call route are
answered at the end of the event loop's turn in which they were read, all together, without an ASGI
task, scope and event for each call, which cost more than signing (docs/performance.md). Everything
else, and whatever is unusual about a request (chunked body, Expect, pipelining, a body over the
limit, certificates to be fetched), goes on to the ASGI application, whose routes call the same
functions.
"""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import Any, ClassVar, Final

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.auth import ADDRESS, PEER, Peer
from gateway.calls import ROUTES, Answer, Asking, Calls, Headers, Incoming, Waiting

MAX_BATCH: Final = 64  # calls answered in one go; more would make the first wait for the last

_PATHS: Final = {path.encode(): path for path in ROUTES}
_STATUS: Final = {
    status.value: (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        + ("www-authenticate: Bearer\r\n" if status is HTTPStatus.UNAUTHORIZED else "")
        + "content-type: application/json\r\ncontent-length: "
    ).encode()
    for status in HTTPStatus
}


class CallBatch:
    """The calls that were read in one turn of the event loop, on any connection."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self._waiting: list[tuple[CallProtocol, Incoming]] = []

    def add(self, protocol: CallProtocol, incoming: Incoming) -> None:
        """Take a complete request; its protocol is told the answer soon."""
        self._waiting.append((protocol, incoming))
        if len(self._waiting) == 1:
            protocol.loop.call_soon(self.answer)
        elif len(self._waiting) >= MAX_BATCH:
            self.answer()

    def answer(self) -> None:
        """Answer all that wait."""
        waiting, self._waiting = self._waiting, []
        given = self.calls.answer_all([incoming for _, incoming in waiting])
        for (protocol, _), answer in zip(waiting, given, strict=True):
            protocol.answered(answer)
        self.calls.answered()


class PeerProtocol(HttpToolsProtocol):
    """uvicorn's protocol that tells each request the connection's client certificate."""

    _peer: Peer | None = None
    _address: str = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection, whose certificate TLS has checked."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client is not None else ""
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        if der:
            with contextlib.suppress(ValueError):  # not one we can read: nobody's
                self._peer = Peer.of(der)

    def on_message_begin(self) -> None:
        """A request starts."""
        super().on_message_begin()
        self.scope["state"][ADDRESS] = self._address
        if self._peer is not None:
            self.scope["state"][PEER] = self._peer


class CallProtocol(PeerProtocol):
    """Serves one connection. `batch` is set on a subclass by `protocol_for`."""

    batch: ClassVar[CallBatch]

    _pending: bool = False
    _keep_alive: bool = True
    _path: str | None = None
    _call_headers: Headers
    _body: bytes = b""
    _last: bool = False
    _idle_since: float | None = None
    _running: RequestResponseCycle | None = None

    def on_message_begin(self) -> None:
        """A request starts; whether it is a call shows with its headers."""
        if self._pending:  # pipelined: answers go out in the order of requests
            self.batch.answer()
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._path = None

    def on_headers_complete(self) -> None:
        """Decide the way: the short one only for a plain POST that can be answered now."""
        path = _PATHS.get(self.url)
        if path is not None:
            headers = Headers.of(self.headers)
            if self._plain(headers):
                self._path = path
                headers.peer = self._peer
                headers.address = self._address
                self._call_headers = headers
                self._body = b""
                return
        self._scope()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Gather the body, or hand it on."""
        if self._path is None:
            super().on_body(body)
        else:
            self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        """Answer a call, or hand the request on."""
        path = self._path
        if path is None:
            super().on_message_complete()
            return
        parser = self.parser
        self._keep_alive = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        self._pending = True
        self.batch.add(self, Incoming(path, b"POST", self._call_headers, self._body))

    def answered(self, answer: Answer | Waiting | Asking) -> None:
        """Send the answer of the pending call, or hand it on to wait."""
        self._pending = False
        self._path = None
        if self.transport.is_closing():
            return
        if isinstance(answer, Answer):
            self._respond(answer)
            return
        self._scope()
        self.scope["state"]["waiting"] = answer
        super().on_headers_complete()
        super().on_message_complete()
        if self._last:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close when idle; a call whose body is still arriving is answered first."""
        if self._path is None:
            super().shutdown()
        else:
            self._last = True

    def _plain(self, headers: Headers) -> bool:
        """A POST with a bounded Content-Length, and nothing else in progress.

        To a client that does not read its answers the ASGI way is left: it waits until they are
        read, and reads no further requests meanwhile.
        """
        if self.parser.get_method() != b"POST" or self.expect_100_continue:
            return False
        if self.flow.write_paused:
            return False
        if self.cycle is not None and not self.cycle.response_complete:
            return False
        if self.transport.is_closing() or headers.unusual is not None:
            return False
        length = headers.content_length
        return (
            length is not None
            and length.isdigit()
            and int(length) <= self.batch.calls.policy.max_body
        )

    def _scope(self) -> None:
        """What uvicorn prepares at the start of a message, for requests that need it."""
        headers = self.headers
        url, expect = self.url, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)

    def _respond(self, answer: Answer) -> None:
        parts = [
            _STATUS[answer.status],
            b"%d" % len(answer.body),
            b"\r\nx-requestid: ",
            answer.request_id,
        ]
        keep_alive = self._keep_alive and not self._last
        if not keep_alive:
            parts.append(b"\r\nconnection: close")
        parts += (b"\r\n\r\n", answer.body)
        self.transport.write(b"".join(parts))
        self.server_state.total_requests += 1
        if not keep_alive:
            self.transport.close()
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._arm(self.timeout_keep_alive)

    # uvicorn cancels and arms a timer for every request; one timer a connection that looks how
    # long it has been idle does the same with less work.

    def _arm(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )

    def _unset_keepalive_if_required(self) -> None:
        """A request begins: not idle. The timer stays."""
        self._idle_since = None

    def on_response_complete(self) -> None:
        """The ASGI way has answered; uvicorn goes on, and arms a timer of its own."""
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        super().on_response_complete()
        if self.timeout_keep_alive_task is not None:
            self._idle_since = self.loop.time()

    def timeout_keep_alive_handler(self) -> None:
        """Close when idle for long enough, else look again when that could be."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._arm(left)
        else:
            super().timeout_keep_alive_handler()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and its timer with it.

        uvicorn tells the newest of several pipelined requests; the one that is being answered
        must know, or it writes to a transport that is no more.
        """
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        super().connection_lost(exc)


def protocol_for(calls: Calls) -> type[CallProtocol]:
    """The protocol class of one listener's calls."""
    attributes: dict[str, Any] = {"batch": CallBatch(calls)}
    return type("BoundCallProtocol", (CallProtocol,), attributes)
