"""uvicorn's HTTP protocol with a short way for the two per-call routes.

uvicorn parses, keeps connections and shuts down as ever. Complete POSTs to a per-call route are
answered at the end of the event loop's turn in which they were read, all together, without an ASGI
task, scope and event for each call, which cost more than signing (docs/performance.md). Everything
else, and whatever is unusual about a request (chunked body, Expect, pipelining, a body over the
limit), goes on to the ASGI application, whose routes call the same functions. A call that waits for
certificates is answered when they are there, with all that waited for them (calls/fetches.py).
Where machines share what they have seen, one question is asked for all calls of a turn, and they
are answered when it is. A connection that sends its next request meanwhile goes on by way of the
application.

Another front end may have its own short way (`Further`): sip/short_way.py has that of INVITEs.

A whole request in one segment whose head this connection has sent before is not even parsed
(api/calls/heads.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import ClassVar, Final, Protocol, cast

from zhenxian.analytics.cap import MINUTE
from zhenxian.api.calls.heads import Head, Heads
from zhenxian.api.calls.messages import ROUTES, Answer, Foreign, Handed, Headers, Incoming
from zhenxian.api.calls.service import Begun, Calls, Held, RestCall, Underway
from zhenxian.api.transport.hosts import VERSIONS
from zhenxian.api.transport.shared import Shared
from zhenxian.api.transport.wire import (
    BODY,
    HEAD,
    HEAD_END,
    MAX_FIELDS,
    QUICK,
    REST,
    WireProtocol,
    bound,
)
from zhenxian.calls.pipeline import Asking
from zhenxian.core.reasons import Reason

_logger = logging.getLogger("zhenxian.calls")

MAX_BATCH: Final = 64  # calls answered in one go, before anything else has its turn
_READ_ON: Final = 256  # connections that were turned away and are read on in one turn
_LONG: Final = 1.0  # seconds for calls that were sent ahead of answers, where others wait, too

_PATHS: Final = {path.encode(): path for path in ROUTES}
_STATUS: Final = {
    status.value: (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        + ("www-authenticate: Bearer\r\n" if status is HTTPStatus.UNAUTHORIZED else "")
        + ("retry-after: 1\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else "")
        + (f"retry-after: {MINUTE}\r\n" if status is HTTPStatus.TOO_MANY_REQUESTS else "")
        + "content-type: application/json\r\ncontent-length: "
    ).encode()
    for status in HTTPStatus
}

_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-length: ".encode()
    for status in HTTPStatus
}


class Further(Protocol):
    """Another front end's routes that are answered without ASGI."""

    def takes(self, target: bytes) -> bool:
        """Whether a request target is one of its routes, so that a POST to it is given to it."""
        ...

    def answer_all(self, requests: Sequence[Incoming]) -> Sequence[Foreign | Handed | object]:
        """Answers; what is neither goes to the route, in the state of the request: it waits."""
        ...

    def overloaded(self, incoming: Incoming) -> Foreign:
        """The answer to a request that nobody has time for."""
        ...


class CallBatch:
    """The calls that were read and wait for their answers, on any connection.

    They are answered in the order in which they came, some in each turn of the event loop. For who
    comes when too many wait there is an answer at once: a queue that only grows serves nobody, as
    callers give up while they wait.
    """

    def __init__(self, calls: Calls, further: Further | None = None) -> None:
        self.calls = calls
        self.further = further
        self._bound = calls.policy.max_waiting
        self._waiting: list[tuple[CallProtocol, Incoming]] = []
        self._asking: set[asyncio.Task[list[Answer]]] = set()
        self._turned: list[CallProtocol] = []  # away, whose connections are read on later

    def add(self, protocol: CallProtocol, incoming: Incoming) -> None:
        """Take a complete request; its protocol is told the answer soon."""
        waiting = self._waiting
        waiting.append((protocol, incoming))
        count = len(waiting)
        if count + self.calls.asking > self._bound or (count > MAX_BATCH and protocol.waited()):
            waiting.pop()
            self._read_later(protocol)
            if self.further is not None and incoming.path not in ROUTES:
                protocol.turned_away(self.further.overloaded(incoming))
            else:
                protocol.turned_away(self.calls.overloaded(incoming))
        elif count == 1:
            protocol.loop.call_soon(self.answer)

    def _read_later(self, protocol: CallProtocol) -> None:
        """Read no more of a connection in this turn, and of some not in the next.

        The event loop reads whatever has come, again and again, before it does anything else: who
        asks again as soon as they are turned away would keep everybody else from their turns.
        """
        self._turned.append(protocol)
        if len(self._turned) == 1:
            protocol.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        turned = self._turned
        self._turned = turned[_READ_ON:]
        if self._turned:
            turned[0].loop.call_soon(self._read_on)
        for protocol in turned[:_READ_ON]:
            protocol.read_on()

    def answer(self) -> None:
        """Answer those that have waited longest; the others in the next turn."""
        waiting = self._waiting
        self._waiting = waiting[MAX_BATCH:]
        if self._waiting:
            waiting[0][0].loop.call_soon(self.answer)
        if waiting:
            self._answer(waiting[:MAX_BATCH])

    def answer_now(self, protocol: CallProtocol) -> None:
        """Answer the call of a connection whose next request is read already."""
        if len(self._waiting) <= MAX_BATCH:
            self.answer()
            return
        for index, one in enumerate(self._waiting):
            if one[0] is protocol:
                del self._waiting[index]
                self._answer([one])
                return

    def _answer(self, waiting: list[tuple[CallProtocol, Incoming]]) -> None:
        further = self.further
        if further is not None and not all(each.path in ROUTES for _, each in waiting):
            theirs = [one for one in waiting if one[1].path not in ROUTES]
            self._answer_apart(further, theirs)
            waiting = [one for one in waiting if one[1].path in ROUTES]
        given = self.calls.answer_all([incoming for _, incoming in waiting])
        asked: list[tuple[CallProtocol, Asking[RestCall]]] = []
        for (protocol, _), answer in zip(waiting, given, strict=True):
            if isinstance(answer, Answer):
                protocol.answered(answer)
            elif isinstance(answer, Asking):
                asked.append((protocol, answer))
            else:
                self._begin(protocol, answer)
        self.calls.answered()
        if asked:
            self._ask([protocol for protocol, _ in asked], [asking for _, asking in asked])

    def _begin(self, protocol: CallProtocol, call: Held) -> None:
        """Fetch what one of them waits for; it is answered then, or by who took it over.

        A graceful stop waits for it, and cancels it when its time is over, as it does with requests
        that the application answers.
        """
        begun = self.calls.begin(call)
        protocol.asking(begun)
        awaited = cast("set[asyncio.Future[Answer]]", protocol.server_state.tasks)
        awaited.add(begun.answer)

        def done(answer: asyncio.Future[Answer]) -> None:
            awaited.discard(answer)
            if answer.cancelled():
                protocol.stopped(begun)
            else:
                protocol.told(begun, answer.result())

        begun.answer.add_done_callback(done)

    def _ask(self, protocols: list[CallProtocol], calls: list[Asking[RestCall]]) -> None:
        """Ask for all of them at once; each is answered then, or by who took it over."""
        task = protocols[0].loop.create_task(self.calls.ask_all(calls))
        self._asking.add(task)
        underway = [Underway(task, place) for place in range(len(calls))]
        for protocol, one in zip(protocols, underway, strict=True):
            protocol.asking(one)

        def done(task: asyncio.Task[list[Answer]]) -> None:
            self._asking.discard(task)
            if task.cancelled():
                return
            for protocol, one, answer in zip(protocols, underway, task.result(), strict=True):
                protocol.told(one, answer)
            self.calls.answered()

        task.add_done_callback(done)

    def _answer_apart(self, further: Further, theirs: list[tuple[CallProtocol, Incoming]]) -> None:
        """What is another front end's, by that; where it fails, each goes to its route alone."""
        found: Sequence[Foreign | Handed | object]
        try:
            found = further.answer_all([incoming for _, incoming in theirs])
        except Exception:  # one of them must not take the others along
            _logger.exception("requests that came together could not be answered together")
            found = [Handed(incoming.body) for _, incoming in theirs]
        for (protocol, _), each in zip(theirs, found, strict=True):
            protocol.answered_by_other(each)


class CallProtocol(WireProtocol):
    """Serves one connection. `batch` is set on a subclass by `protocol_for`."""

    __slots__ = (
        "_body", "_call_headers", "_heads", "_held_since", "_keep_alive", "_last", "_parsed",
        "_path", "_pending", "_turned", "_underway",
    )  # fmt: skip

    batch: ClassVar[CallBatch]
    max_body: ClassVar[int]

    _pending: bool
    _keep_alive: bool
    _path: str | None
    _call_headers: Headers
    _body: bytes | bytearray
    _last: bool
    _heads: Heads
    _underway: Underway | Begun | None  # of the pending call, which is being gone on with
    _parsed: bool  # the call that was read last was parsed, and its head may be kept
    _turned: bool  # away: no more is read for now
    _held_since: float  # when the octets came that are read; 0 for those that came just now

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection."""
        self._pending = self._last = self._parsed = self._turned = False
        self._held_since = 0.0
        self._underway = None
        self._heads = Heads()
        self._keep_alive = True
        self._path = None
        self._body = b""
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """A segment: answered at once if its head is known, else parsed."""
        if self._state == REST and not self._pending and len(data) <= QUICK:
            end = data.find(HEAD_END) + len(HEAD_END)
            octets = data[:end]
            head = self._heads.get(octets, self.batch.calls.keys)
            if head is None:
                self._parsed = False
                super().data_received(data)
                if self._parsed and self._pending:
                    self._keep(octets, len(data) - end)
                elif self._turned:
                    self._hold(self._held)
                return
            if len(data) - end == head.length and self._free():
                self._idle_since = None
                self._served = 1
                self._path = head.path
                self._call_headers = head.headers
                self._keep_alive = head.keep_alive
                self._pending = True
                self.url, self.headers = head.url, head.fields
                self.batch.add(self, Incoming(head.path, b"POST", head.headers, data[end:]))
                if self._turned:
                    self._hold(b"")
                return
        if self._pending and self._state == REST:
            self._take(data)
        else:
            super().data_received(data)
            if self._turned:
                self._hold(self._held)

    def _full(self) -> bool:
        """Also while a call waits: those behind it are not answered before others' are."""
        return (
            self._turned
            or (self._pending and self._underway is None and self._state != BODY)
            or super()._full()
        )

    def _hold(self, rest: bytes) -> None:
        if not (rest or self._turned or super()._full()):
            return  # a call waits, and none behind it
        if not self._held_since:
            self._held_since = self.loop.time()
        super()._hold(rest)

    def _go_on(self) -> None:
        if self._turned or (self._pending and self._underway is None):
            self._due = False  # it is asked for when that is over
            return
        super()._go_on()
        if not self.flow.held:
            self._held_since = 0.0

    def read_on(self) -> None:
        """Read on after a call was turned away."""
        self._turned = False
        self._soon()

    def waited(self) -> bool:
        """True when what is read came long ago, behind other calls of its connection."""
        since = self._held_since
        return bool(since) and self.loop.time() - since > _LONG

    def _keep(self, octets: bytes, length: int) -> None:
        """Keep the head of the call that was just parsed, if it came whole and alone."""
        path = self._path
        if (
            path is not None
            and self._call_headers.content_length == b"%d" % length
            and self._keep_alive
            and self.parser.get_http_version() == "1.1"
        ):
            fields = self.headers
            head = Head(path, self.url, fields, self._call_headers, length, self._keep_alive)
            self._heads.keep(octets, head)

    def _free(self) -> bool:
        """True when a call can be answered now, without the ASGI way."""
        return (
            (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.flow.held
            and self._refusal is None
            and not self.transport.is_closing()
        )

    def on_message_begin(self) -> None:
        """A request starts; whether it is a call shows with its headers."""
        if self._pending:  # pipelined: answers go out in the order of requests
            self.flush()
            self._path = None
        self.url = b""
        self.headers = []
        self._state = HEAD

    def on_headers_complete(self) -> None:
        """Decide the way: the short one only for a plain POST that can be answered now.

        To a client that does not read its answers the ASGI way is left: it waits until they are
        read, and reads no further requests meanwhile.
        """
        path = _PATHS.get(self.url)
        if path is None and self.batch.further is not None and self.batch.further.takes(self.url):
            path = self.url.decode("latin-1")
        if path is not None:
            headers = Headers.of(self.headers)
            length = headers.content_length
            if (
                length is not None
                and headers.unusual is None
                and len(self.headers) <= MAX_FIELDS
                and self._free()
                and self.parser.get_method() == b"POST"
                and self.parser.get_http_version() in VERSIONS
                and (headers.host in self.names or self.usable())
            ):
                self._left = int(length)
                if self._left <= self.max_body:
                    self._state = BODY
                    self._path = path
                    headers.peer = self._peer
                    headers.address = self._address
                    self._call_headers = headers
                    self._body = b""
                    self._fields = 0
                    return
        self._heads.clear()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Gather the body, or hand it on."""
        if self._path is None:
            super().on_body(body)
        elif not self._body:
            self._body = body
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += body

    def on_message_complete(self) -> None:
        """Answer a call, or hand the request on."""
        path = self._path
        if path is None:
            super().on_message_complete()
            return
        self._state = REST
        headers, parser = self._call_headers, self.parser
        self._keep_alive = parser.should_keep_alive() and (
            headers.connection is None or parser.get_http_version() != "1.0"
        )
        self._pending = self._parsed = True
        self._served += 1
        body = self._body if isinstance(self._body, bytes) else bytes(self._body)
        self.batch.add(self, Incoming(path, b"POST", headers, body))

    def flush(self) -> None:
        """Answer the call that waits for the end of the event loop's turn, or hand it on."""
        if self._pending and self._underway is None:
            self.batch.answer_now(self)
        if self._pending and self._underway is not None:
            self.answered(self._underway)

    def settled(self) -> bool:
        """True when no call waits for its answer."""
        return not self._pending

    def arrived(self) -> int:
        """Octets of the body that arrived so far."""
        return len(self._body) if self._path is not None else super().arrived()

    def asking(self, underway: Underway | Begun) -> None:
        """The pending call waits until its batch was asked about, or its certificates fetched."""
        self._underway = underway
        if self._stranger:  # who waits has shown credentials
            self.admitted()
        if self.flow.held:
            self._soon()

    def told(self, underway: Underway | Begun, answer: Answer) -> None:
        """Send the answer of a call that was gone on with, unless it was handed on meanwhile."""
        if self._underway is underway:
            self.answered(answer)

    def stopped(self, begun: Begun) -> None:
        """Tell that the service ends, unless the call was handed on meanwhile."""
        if self._underway is not begun:
            return
        self._underway = None
        self._pending = False
        self._path = None
        if not self.transport.is_closing():
            self.transport.write(self.shared.refusal(Reason.STOPPING, (), self.url, b"POST"))
            self.transport.close()

    def answered(self, answer: Answer | Underway | Begun) -> None:
        """Send the answer of the pending call, or hand it on to wait."""
        self._underway = None
        self._pending = False
        self._path = None
        if self.transport.is_closing():
            return
        if self._stranger and answer_admits(answer):
            self.admitted()
        if isinstance(answer, Answer):
            self._respond(answer)
            return
        self.begin()
        self.scope["state"]["waiting"] = answer
        super().on_message_complete()
        if not self._keep_alive or self._last:
            self.cycle.keep_alive = False

    def answered_by_other(self, answer: Foreign | Handed | object) -> None:
        """Send what another front end gave, or hand the request on to its route."""
        self._pending = False
        self._path = None
        if self.transport.is_closing():
            return
        if isinstance(answer, Foreign):
            if self._stranger:
                self.admitted()
            self._respond(answer)
            return
        self.begin()
        if isinstance(answer, Handed):
            self.on_body(answer.body)
        else:
            self.scope["state"]["waiting"] = answer
        super().on_message_complete()
        if not self._keep_alive or self._last:
            self.cycle.keep_alive = False

    def turned_away(self, answer: Answer | Foreign) -> None:
        """Send an answer that says nothing of who asked."""
        self._turned = True
        self._pending = False
        self._path = None
        if not self.transport.is_closing():
            self._respond(answer)

    def shutdown(self) -> None:
        """Close when idle; a call whose body is still arriving is answered first."""
        if self._path is None:
            super().shutdown()
        else:
            self._last = True

    def _respond(self, answer: Answer | Foreign) -> None:
        if isinstance(answer, Answer):
            parts = [
                _STATUS[answer.status],
                b"%d" % len(answer.body),
                b"\r\nx-requestid: ",
                answer.request_id,
            ]
        else:
            line = _LINES[answer.status]
            parts = [line, b"%d" % len(answer.body), b"\r\n", answer.fields]
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
        if self.flow.held:
            self._soon()


def answer_admits(answer: Answer | Underway | Begun) -> bool:
    """True when a call was answered as it is only for who has credentials."""
    return not isinstance(answer, Answer) or answer.status != HTTPStatus.UNAUTHORIZED


def protocol_for(
    calls: Calls, shared: Shared, further: Further | None = None
) -> type[WireProtocol]:
    """The protocol class of one listener's calls."""
    batch = CallBatch(calls, further)
    return bound(CallProtocol, shared, batch=batch, max_body=calls.policy.max_body)
