"""More calls than can be answered: `python -m bench.overload`.

Calls come at a fixed rate, three times what the service answered before, from a process of their
own, whether those before were answered or not. Meanwhile somebody else asks whether the service is
ready, and writes to its registry.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from bench.machine import LOOPBACK, BenchError
from bench.stalls import signing_request, watched

TIMES: Final = 3.0  # the capacity
CONNECTIONS: Final = 2_000
GOAL: Final = 1.0  # seconds for whoever does not call
_CLOSED: Final = 16  # connections by which the capacity is measured
_TICK: Final = 0.002  # seconds
_NUMBERS: Final = 1_000
_ASKED: Final = 8  # times that the others ask


class Load(Struct, frozen=True, kw_only=True):
    """What became of calls.

    Attributes:
        seconds: for which they came. came: how many were to. sent: how many were.
        answered: 200. refused: 503 with Retry-After. other: anything else.
    """

    seconds: float
    came: int
    sent: int
    answered: int
    refused: int
    other: int


class Overload(Struct, frozen=True, kw_only=True):
    """What others wait, in seconds and each time, while more calls come than can be answered."""

    capacity: float
    rate: float
    ready: list[float]
    written: list[float]
    load: Load


class _Caller:
    """One connection; answers are counted by their status lines."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((LOOPBACK, port), 10)
        self.socket.setblocking(False)
        self.unsent = bytearray()
        self.due = 0  # answers to come
        self._rest = b""

    def send(self) -> None:
        if self.unsent:
            try:
                del self.unsent[: self.socket.send(self.unsent)]
            except BlockingIOError:
                return

    def answers(self) -> tuple[int, int, int]:
        """How many of those that have come: 200; 503 with Retry-After; others."""
        try:
            data = self.socket.recv(262_144)
        except BlockingIOError:
            return 0, 0, 0
        if not data:
            raise BenchError("a connection was closed")
        text = self._rest + data
        whole = text.rfind(b"HTTP/1.1 ")  # the last one may have its head only in part
        done, self._rest = text[:whole], text[whole:]
        if b"\r\n\r\n" in self._rest:
            done, self._rest = text, b""
        good, told = done.count(b"HTTP/1.1 200 "), done.lower().count(b"\r\nretry-after: ")
        found = done.count(b"HTTP/1.1 ")
        self.due -= found
        return good, told, found - good - told


def generate(port: int, rate: float, connections: int, seconds: float, ahead: int) -> Load:
    """Call at a rate, and read the answers; at the rate of the answers where it is 0.

    Args:
        ahead: calls that are sent on one connection before their answers have come.
    """
    callers = [_Caller(port) for _ in range(connections)]
    poll = select.epoll()
    by = {each.socket.fileno(): each for each in callers}
    for number in by:
        poll.register(number, select.EPOLLIN)
    requests = [signing_request(number) for number in range(_NUMBERS)]
    free, which = deque(callers), itertools.cycle(requests)
    came = sent = 0
    counted = [0, 0, 0]
    began = time.perf_counter()

    def call(caller: _Caller) -> None:
        nonlocal sent
        caller.unsent += next(which)
        caller.due += 1
        sent += 1
        caller.send()
        if caller.due < ahead:
            free.append(caller)

    print(flush=True)  # calls come now
    while (now := time.perf_counter() - began) < seconds:
        while free and (not rate or came < now * rate):
            call(free.popleft())
            came += 1
        came = max(came, int(now * rate))  # whom no connection is left for does not wait for one
        for number, _ in poll.poll(_TICK):
            caller = by[number]
            full = caller.due >= ahead
            found = caller.answers()
            counted = [a + b for a, b in zip(counted, found, strict=True)]
            caller.send()
            if full and caller.due < ahead:
                free.append(caller)
    for caller in callers:
        caller.socket.close()
    good, refused, other = counted
    return Load(seconds=now, came=came, sent=sent, answered=good, refused=refused, other=other)


@contextmanager
def generating(
    port: int, rate: float, seconds: float, *, connections: int, ahead: int = 1
) -> Iterator[subprocess.Popen[bytes]]:
    """Calls from a process of their own; `loaded` has what became of them."""
    command = [sys.executable, "-m", "bench.overload", "--generate"]
    command += [str(port), str(rate), str(connections), str(seconds), str(ahead)]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
        try:
            if process.stdout is not None:
                process.stdout.readline()
            yield process
        finally:
            process.kill()


def loaded(process: subprocess.Popen[bytes]) -> Load:
    """What became of the calls, when they have ended. Raises BenchError."""
    text, _ = process.communicate(timeout=120)
    if process.returncode:
        raise BenchError("calls could not be made")
    return msgspec.json.decode(text, type=Load)


def _took(port: int, method: str, path: str, body: bytes) -> float:
    began = time.perf_counter()
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
    try:
        connection.request(method, path, body or None, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    if answer.status not in (200, 201):
        raise BenchError(f"{method} {path}: {answer.status}")
    return time.perf_counter() - began


def overload(
    port: int,
    *,
    times: float = TIMES,
    seconds: float = 8.0,
    connections: int = CONNECTIONS,
    ahead: int = 1,
) -> Overload:
    """Load a service with that many times what it answers; see generate. Raises BenchError."""
    with generating(port, 0, min(3.0, seconds), connections=_CLOSED) as process:
        closed = loaded(process)
    capacity = closed.answered / closed.seconds
    ready: list[float] = []
    written: list[float] = []
    rate = capacity * times
    with generating(port, rate, seconds, connections=connections, ahead=ahead) as process:
        time.sleep(min(1.0, seconds / 4))  # queues fill
        for number in range(_ASKED):
            time.sleep(seconds / 4 / _ASKED)
            if process.poll() is not None:
                break
            ready.append(_took(port, "GET", "/readyz", b""))
            path = f"/v1/subjects/overload{number}?reason=bench"
            written.append(_took(port, "PUT", path, b'{"name": "O"}'))
        load = loaded(process)
    return Overload(capacity=capacity, rate=rate, ready=ready, written=written, load=load)


def main() -> int:
    """Measure and tell; 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=float, default=TIMES, help="the capacity")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--ahead", type=int, default=1, help="calls sent ahead of their answers")
    parser.add_argument("--generate", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.generate:
        port, rate, connections, seconds, ahead = given.generate
        made = generate(int(port), float(rate), int(connections), float(seconds), int(ahead))
        print(msgspec.json.encode(made).decode())
        return 0
    with (
        tempfile.TemporaryDirectory(prefix="zhenxian-overload-") as folder,
        watched(Path(folder) / "service") as service,
    ):
        found = overload(
            service.port,
            times=given.times,
            seconds=given.seconds,
            connections=given.connections,
            ahead=given.ahead,
        )
    print(json.dumps(msgspec.to_builtins(found), indent=1))
    return int(max(*found.ready, *found.written) > GOAL)


if __name__ == "__main__":
    sys.exit(main())
