"""The hostile middle: a UDP hop between two proxies that changes what it passes on."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, Self

from bench.sip.messages import Message
from bench.sip.phones import PORT

MIDDLE_PORT: Final = PORT + 10
Change = Callable[[Message], Message | None]
_LARGEST: Final = 65_535


class Middle:
    """Passes INVITEs on from the originating to the terminating proxy, changed where told to.

    It shares the originating proxy's address, so that answers go straight back there.

    Attributes:
        seen: the INVITE of each call as it came from the originating proxy.
    """

    def __init__(self, address: str, target: str) -> None:
        self._address = (address, MIDDLE_PORT)
        self._target = (target, PORT)
        self._changes: dict[str, tuple[Change, float]] = {}
        self.seen: dict[str, Message] = {}

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(self._address)
        self._listener = socket.create_server(self._address)
        for work in (self._datagrams, self._connections):
            threading.Thread(target=work, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def change(self, call: str, how: Change, delay: float = 0.0) -> None:
        """What becomes of that call's INVITE; None drops it. Delay in seconds."""
        self._changes[call] = (how, delay)

    def _datagrams(self) -> None:
        while True:
            try:
                data, _ = self._socket.recvfrom(_LARGEST)
            except OSError:
                return
            if data:
                self._pass(data)

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # closed meanwhile
            self._socket.sendto(data, self._target)

    def _pass(self, data: bytes) -> None:
        message = Message.loads(data)
        if message.status is not None or message.method != "INVITE":
            self._send(data)
            return
        self.seen.setdefault(message.call, message)
        how, delay = self._changes.get(message.call, (None, 0.0))
        changed = message if how is None else how(message)
        if changed is None:
            return
        out = data if changed is message else changed.dumps()
        if delay:
            threading.Timer(delay, self._send, (out,)).start()
        else:
            self._send(out)

    def _connections(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._stream, args=(connection,), daemon=True).start()

    def _stream(self, near: socket.socket) -> None:
        """One TCP connection, unchanged: what is on it is too large for a datagram."""
        with near, contextlib.suppress(OSError):
            far = socket.create_connection(self._target, 10)
            far.settimeout(None)
            with far:
                back = threading.Thread(target=_copy, args=(far, near), daemon=True)
                back.start()
                _copy(near, far)
                back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_LARGEST):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class Stranger:
    """A caller of its own, with no SIPp: sends an INVITE as it stands, and sees what comes back."""

    def __init__(self, address: str, target: str) -> None:
        self._target = (target, PORT)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self.via = f"{address}:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()

    def send(self, message: Message | bytes) -> None:
        """One datagram."""
        data = message if isinstance(message, bytes) else message.dumps()
        self._socket.sendto(data, self._target)

    def call(self, invite: Message, seconds: float = 20.0, *, bye: bool = True) -> list[Message]:
        """Send the INVITE, take answers until a final one, and end the call: the answers."""
        answers: list[Message] = []
        deadline = time.monotonic() + seconds
        self.send(invite)
        while time.monotonic() < deadline:
            self._socket.settimeout(max(0.01, min(1.0, deadline - time.monotonic())))
            try:
                answer = Message.loads(self._socket.recv(_LARGEST))
            except TimeoutError:
                if not answers:
                    self.send(invite)
                continue
            if answer.method != "INVITE" or answer.status == 100:
                continue
            answers.append(answer)
            if (answer.status or 0) >= 200:
                self._end(invite, answer, bye)
                return answers
        raise TimeoutError("no final answer")

    def _end(self, invite: Message, final: Message, bye: bool) -> None:
        accepted = final.status == 200
        contact = re.search(r"<([^>]+)>", final.one("contact") or "")
        uri = contact[1] if accepted and contact else invite.first.split(" ")[1]
        routes = list(reversed(final.all("record-route"))) if accepted else []
        number = int((invite.one("cseq") or "1").partition(" ")[0])
        self.send(self._within(invite, final, "ACK", uri, routes, number, not accepted))
        if accepted and bye:
            self.send(self._within(invite, final, "BYE", uri, routes, number + 1, False))

    def _within(
        self,
        invite: Message,
        final: Message,
        method: str,
        uri: str,
        routes: Iterable[str],
        number: int,
        same: bool,
    ) -> Message:
        via = (
            (invite.one("via") or "")
            if same
            else f"SIP/2.0/UDP {self.via};branch=z9hG4bK{id(final)}{method}"
        )
        fields = [("Via", via), ("Max-Forwards", "70"), *(("Route", route) for route in routes)]
        fields += [("From", invite.one("from") or ""), ("To", final.one("to") or "")]
        fields += [("Call-ID", invite.one("call-id") or ""), ("CSeq", f"{number} {method}")]
        return Message(f"{method} {uri} SIP/2.0", (*fields, ("Content-Length", "0")))
