"""The redirect service: what each SIP request is answered (RFC 3261 section 8.3).

INVITEs that arrive in one turn of the event loop are answered together, as calls over HTTP are. In
a turn fewer are answered than are read of a socket, so that what waits, waits here, where it is
counted: who comes when too many wait is told so at once (503), while its proxy still listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import time
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.core.errors import ParseError
from zhenxian.core.header_fields import plain
from zhenxian.core.reasons import Reason
from zhenxian.sip.advice import Action, Advice, forged, forgery, go_on
from zhenxian.sip.answering import Later, Question, SipCalls
from zhenxian.sip.fields import Via, parse_via
from zhenxian.sip.message import (
    MAX_MESSAGE,
    Head,
    SipRequest,
    acknowledged,
    read_head,
    request_of,
    required,
)
from zhenxian.sip.responses import ALLOW, Origin, Redirection, answered, response
from zhenxian.sip.transactions import Key, Transaction, Transactions, key_by_branch, key_of

MAX_BATCH: Final = 16  # INVITEs answered in one go; uvloop reads up to 32 datagrams in a turn
MAX_WAITING: Final = 1_000  # INVITEs that wait for their answers
_PORT: Final = 5060
_SCHEMES: Final = ("sip", "sips", "tel", "urn")
_METHODS: Final = frozenset(
    [
        "REGISTER",
        "BYE",
        "SUBSCRIBE",
        "NOTIFY",
        "PUBLISH",
        "MESSAGE",
        "INFO",
        "UPDATE",
        "PRACK",
        "REFER",
    ]
)

_logger = logging.getLogger("zhenxian.sip")


class Refused(Struct, frozen=True):
    """A request that is not taken: status, phrase, header fields; 0 for silence."""

    code: int
    phrase: str = ""
    lines: tuple[str, ...] = ()


class Admitted(Struct, frozen=True):
    """A request that is taken: who asks, and which access the call came in by, and whose it is."""

    by: bytes
    access: str | None = None
    customer: str | None = None


class Admission(Protocol):
    """Who may ask (sip.admission)."""

    def known(self, host: str) -> bool:
        """Whether requests from the address are looked at."""
        ...

    def hears(self) -> bool:
        """Whether a stranger is told that it is one."""
        ...

    def admit(self, request: SipRequest, origin: Origin) -> Admitted | Refused:
        """Whether an INVITE is taken."""
        ...


class Peer(Struct, kw_only=True):
    """Where a message came from, and how it is answered.

    Attributes:
        send: octets to a port of that address; a connection needs no port.
        port: where the answer goes.
        reliable: over a connection, where nothing has to be sent again.
        signing: what INVITEs on this listener are for.
    """

    origin: Origin
    send: Callable[[bytes, int], None]
    port: int
    reliable: bool
    signing: bool

    def reply(self, octets: bytes) -> None:
        """Send a response."""
        self.send(octets, self.port)

    def heed(self, via: Via) -> None:
        """Have the answer go to the port of Via, unless rport asks for the source's (RFC 3581).

        It goes to the address that the request came from, whatever Via says: a maddr would send
        answers to whom they do not concern.
        """
        if not via.rport:
            self.port = via.port or _PORT


class Waiter(Struct):
    """An INVITE that waits for the end of the event loop's turn."""

    question: Question
    key: Key
    transaction: Transaction
    peer: Peer


class Redirector:
    """Takes messages of all listeners of a process."""

    def __init__(
        self,
        calls: SipCalls,
        admission: Admission,
        redirection: Redirection,
        *,
        ready: Callable[[], bool] = lambda: True,
        count: Callable[[str, int], None] = lambda *_: None,
        max_waiting: int = MAX_WAITING,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what answers.

        Args:
            ready: whether OPTIONS is answered 200.
            count: is told method and code of each response.
            max_waiting: calls that wait for their answers; further ones get 503.
        """
        self._calls = calls
        self._admission = admission
        self._redirection = redirection
        self._ready = ready
        self._count = count
        self._bound = max_waiting
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)
        self._waiting: list[Waiter] = []
        self._tasks: set[asyncio.Task[Advice]] = set()
        self.transactions = Transactions(timer)

    def known(self, host: str) -> bool:
        """Whether anybody may ask from the address."""
        return self._admission.known(host)

    def received(self, data: bytes, peer: Peer, *, framed: bool = False) -> None:
        """Take one message. Never raises: whatever can be answered is."""
        try:
            self._received(data, peer, framed=framed)
        except Exception:
            _logger.exception("a SIP message could not be answered")

    def flush(self) -> None:
        """Answer the INVITEs that have waited longest; the others in the next turn."""
        first, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        if self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        waiting = [waiter for waiter in first if waiter.transaction.answer is None]
        if not waiting:
            return  # none is left, or all were cancelled
        found = self._calls.answer_all([waiter.question for waiter in waiting])
        for waiter, item in zip(waiting, found, strict=True):
            if isinstance(item, Advice):
                self._complete(waiter, item)
            else:
                self._later(waiter, item)
        self._calls.answered()

    def drain(self) -> None:
        """Answer all INVITEs that wait."""
        while self._waiting:
            self.flush()

    async def tend(self) -> None:
        """Send again what was not acknowledged, until cancelled."""
        while True:
            await asyncio.sleep(0.1)
            self.transactions.tend()

    async def close(self) -> None:
        """Let the verifications that still run finish."""
        self.drain()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _received(self, data: bytes, peer: Peer, *, framed: bool) -> None:
        if not data.strip(b"\r\n\0 "):
            return  # keeps a mapping of addresses alive
        known = self._admission.known(peer.origin.host)
        if known and data.startswith(b"ACK ") and self._acknowledged(data, peer):
            return  # there is one for each answer, and it says nothing more
        if not known and not self._admission.hears():
            return
        try:
            head = read_head(data)
        except ParseError:
            self._count("none", 0)
            return
        value = head.first("via")
        if not head.method or value is None:
            return  # a response, or nobody is told where an answer goes
        via = None
        with contextlib.suppress(ParseError):  # else the refusal goes where it came from
            via = parse_via(value)
            peer.heed(via)
        if not known or len(data) > MAX_MESSAGE:
            self._turn_away(head, peer, Refused(513 if known else 403))
            return
        if head.version.upper() != "SIP/2.0":
            self._refuse(head, peer, Refused(505 if head.version.upper()[:4] == "SIP/" else 400))
            return
        try:
            request = request_of(head, via, framed=framed)
        except ParseError as error:
            phrase = _one_line(f"Bad Request ({error.where}: {error.detail})")
            self._turn_away(head, peer, Refused(400, phrase))
            return
        method = request.method
        if method == "INVITE":
            self._invite(request, peer, hash(data))
        elif method == "ACK":
            self.transactions.acknowledged(_key(request, peer))
        elif method == "CANCEL":
            self._cancel(request, peer)
        elif method == "OPTIONS":
            code = 200 if self._ready() else 503
            well = Refused(code, lines=(ALLOW, "Accept: application/sdp"))
            self._refuse(head, peer, _misunderstood(request) or well)
        else:
            code = 405 if method in _METHODS else 501
            self._refuse(head, peer, Refused(code, lines=(ALLOW,)))

    def _acknowledged(self, data: bytes, peer: Peer) -> bool:
        """Take a usual ACK; False for one that has to be read."""
        via = acknowledged(data)
        key = key_by_branch(via, peer.origin.host) if via is not None else None
        if key is None:
            return False
        self.transactions.acknowledged(_of(peer, key))
        return True

    def _invite(self, request: SipRequest, peer: Peer, mark: int) -> None:
        key = _key(request, peer)
        known = self.transactions.get(key)
        if known is not None and known.mark == mark:
            known.reply = peer.reply  # the connection that it came by first may be gone
            if known.answer:
                known.reply(known.answer)
            return
        if len(self._waiting) + self._calls.asking >= self._bound:
            self._calls.overloaded(signing=peer.signing)
            busy = Refused(503, lines=("Retry-After: 1",))
            self._turn_away(request.head, peer, busy, for_help=self._calls.for_help(request))
            return
        taken = _misunderstood(request) or self._admission.admit(request, peer.origin)
        if isinstance(taken, Refused):
            self._turn_away(request.head, peer, taken, for_help=self._calls.for_help(request))
            return
        transaction = Transaction(self._tag(), peer.reply, request.number, mark)
        self.transactions.begin(key, transaction)
        question = self._question(request, peer, taken)
        self._waiting.append(Waiter(question, key, transaction, peer))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def _question(self, request: SipRequest, peer: Peer, taken: Admitted) -> Question:
        return Question(
            request=request,
            signing=peer.signing,
            by=taken.by,
            access=taken.access,
            customer=taken.customer,
        )

    def _cancel(self, request: SipRequest, peer: Peer) -> None:
        """Section 9.2: the CANCEL is answered, and an INVITE without final response ended."""
        key = _key(request, peer)
        known = self.transactions.get(key)
        tag = known.tag if known is not None else self._tag()
        code = 200 if known is not None else 481
        peer.reply(response(request.head, peer.origin, code, tag=tag))
        self._count("CANCEL", code)
        if known is None or known.answer is not None:
            return
        # The response is the INVITE's: all it repeats but the method is in the CANCEL, too.
        fields = request.head.fields | {"cseq": [f"{known.number} INVITE"]}
        head = replace(request.head, method="INVITE", fields=fields)
        answer = response(head, peer.origin, 487, tag=tag)
        self._count("INVITE", 487)
        self.transactions.complete(key, known, answer, reliable=peer.reliable)

    def _later(self, waiter: Waiter, waiting: Later) -> None:
        """Answer when certificates are there, or the proxy has waited as long as it may."""
        task = asyncio.get_running_loop().create_task(self._calls.within(waiting))
        self._tasks.add(task)

        def done(ended: asyncio.Task[Advice]) -> None:
            self._tasks.discard(ended)
            if not ended.cancelled() and waiter.transaction.answer is None:
                self._complete(waiter, ended.result())

        task.add_done_callback(done)

    def _complete(self, waiter: Waiter, advice: Advice) -> None:
        request, peer = waiter.question.request, waiter.peer
        head = request.head
        if (
            not peer.signing
            and advice.action is Action.CONTINUE
            and not request.to_tag
            and forged(request, advice)
            and not self._calls.for_help(request)
        ):
            advice = forgery(advice)
        code, phrase, lines = answered(advice, head, self._redirection)
        answer = response(
            head, peer.origin, code, phrase,
            tag=waiter.transaction.tag, lines=lines, via=request.via,
        )  # fmt: skip
        self._count("INVITE", code)
        self.transactions.complete(waiter.key, waiter.transaction, answer, reliable=peer.reliable)

    def _turn_away(
        self, head: Head, peer: Peer, refused: Refused, *, for_help: bool | None = None
    ) -> None:
        """Answer who is not taken, without a transaction; but a call for help goes on.

        What is sent again and again to a source that nobody has proven would be an attack on whom
        that source belongs to (RFC 3261 section 26.3.2.4).
        """
        if for_help is None:
            for_help = head.method == "INVITE" and self._calls.is_for_help(head.uri)
        if for_help:
            code, phrase, lines = answered(go_on(Reason.EMERGENCY_CALL), head, self._redirection)
            refused = Refused(code, phrase, tuple(lines))
        self._refuse(head, peer, refused)

    def _refuse(self, head: Head, peer: Peer, refused: Refused) -> None:
        """Answer without a transaction: what is sent again is answered again, alike."""
        if head.method == "ACK":
            return
        tag = self._run  # of no dialog, and so the same for all
        peer.reply(
            response(head, peer.origin, refused.code, refused.phrase, tag=tag, lines=refused.lines)
        )
        method = head.method if head.method in ("INVITE", "OPTIONS") else "other"
        self._count(method, refused.code)

    def _tag(self) -> str:
        return f"{self._run}-{next(self._numbers):x}"


def _key(request: SipRequest, peer: Peer) -> Key:
    """What tells a transaction: a proxy may ask both listeners about one request."""
    return _of(peer, key_of(request, peer.origin.host))


def _of(peer: Peer, key: Key) -> Key:
    return "signing" if peer.signing else "verifying", *key


def _misunderstood(request: SipRequest) -> Refused | None:
    """Whether an INVITE or OPTIONS asks for what is not known here (RFC 3261 section 8.2.2)."""
    scheme = request.uri.partition(":")[0].lower()
    if scheme not in _SCHEMES:
        return Refused(416)
    # A redirect service answers for nobody: it takes what changes nothing about the answer.
    unknown = [tag for tag in required(request.head) if tag.lower() not in _TAKEN]
    if unknown:
        return Refused(420, lines=(f"Unsupported: {', '.join(map(plain, unknown))}",))
    return None


_TAKEN: Final = frozenset({"100rel", "timer", "replaces", "precondition", "path", "histinfo"})


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() and char.isascii() else "?" for char in text)[:200]
