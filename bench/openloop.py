"""An open loop: calls come when they come, whether the service has answered those before or not.

wrk asks again when it has its answer, so that a service that stops for a moment is asked nothing
meanwhile, and the moment counts once. Here calls have their times beforehand, at random (Poisson),
and what a call took is counted from its time on, its wait for a free connection included.

    python -m bench.openloop --load 0.5 --connections 64 --seconds 20

measures how many calls a second the service answers on one core (wrk, closed loop), then asks for
that share of it, from a start of the service on. The generator has a core of its own and spins; it
says how late it was itself.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import uvloop
from msgspec import Struct

from bench import load, services
from bench.load import Route
from bench.machine import LOOPBACK, BenchError, Cores, Service, choose_cores, output, pinned
from bench.measure import Contender
from bench.world import World, make_world

SPARE_SECONDS: Final = 60
CLOSED_SECONDS: Final = 3
FIRST_RATE: Final = 15_000  # more than any core answered so far
_CLOSING: Final = 0.1  # seconds for connections to close
_KINDS: Final = {"sign": services.our_signing, "verify": services.our_verifying}


class Waits(Struct, frozen=True, kw_only=True):
    """Milliseconds from a call's time to its answer.

    Attributes:
        late: how late the generator was, in 999 of 1,000 calls that found a connection free.
        busy: share of the service's core. wrong: answers that were not the right ones.
    """

    calls: int
    p50: float
    p99: float
    p999: float
    worst: float
    late: float
    wrong: int
    busy: float = 0.0


class _Connection(asyncio.Protocol):
    """One connection: one call at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._due = 0.0
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by name

    def ask(self, request: bytes, due: float) -> None:
        self._due = due
        if self._transport is None:
            raise RuntimeError("not connected")
        self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        data = self._data + data
        head = data.find(b"\r\n\r\n")
        at = data.find(b"content-length: ")
        if head < 0 or len(data) < head + 4 + int(data[at + 16 : data.find(b"\r", at)]):
            self._data = data
            return
        self._data = b""
        self._load.answered(self, data, self._due)


class _Load:
    """All connections of one run, and what their calls took."""

    def __init__(self, requests: Sequence[bytes], dues: Sequence[float], expect: bytes) -> None:
        self._requests, self._dues, self._expect = requests, dues, expect
        self._free: list[_Connection] = []
        self._waiting: deque[int] = deque()
        self._left = len(dues)
        self._began = 0.0
        self.took: list[float] = []
        self.late: list[float] = []
        self.wrong = 0

    async def run(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, made = await loop.create_connection(lambda: _Connection(self), LOOPBACK, port)
            self._free.append(made)
        clock, at, dues = time.perf_counter, 0, self._dues
        self._began = clock()
        while self._left:
            now = clock() - self._began
            while at < len(dues) and dues[at] <= now:
                if self._free:
                    self.late.append(now - dues[at])
                    self._free.pop(0).ask(self._requests[at], dues[at])
                else:
                    self._waiting.append(at)
                at += 1
            await asyncio.sleep(0)
        for each in self._free:  # uvloop does not end while one is open
            each.close()
        await asyncio.sleep(_CLOSING)

    def answered(self, connection: _Connection, data: bytes, due: float) -> None:
        """Count an answer; the connection takes the call that has waited longest."""
        self.took.append(time.perf_counter() - self._began - due)
        self._left -= 1
        if not data.startswith(b"HTTP/1.1 200 ") or self._expect not in data:
            self.wrong += 1
        if self._waiting:
            at = self._waiting.popleft()
            connection.ask(self._requests[at], self._dues[at])
        else:
            self._free.append(connection)


def generate(port: int, path: str, expect: str, bodies: Path, rate: float, connections: int) -> str:
    """Ask all requests of the file at that rate. Returns Waits as JSON."""
    head = f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nContent-Type: application/json\r\n"
    requests = [
        f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        for body in bodies.read_bytes().splitlines()
    ]
    chance, at, dues = random.Random(1), 0.0, []
    for _ in requests:
        at += chance.expovariate(rate)
        dues.append(at)
    made = _Load(requests, dues, expect.encode())
    gc.disable()
    uvloop.run(made.run(port, connections))
    took, late = sorted(made.took), sorted(made.late)

    def part(values: list[float], share: float) -> float:
        return values[min(len(values) - 1, int(len(values) * share))] * 1000

    return msgspec.json.encode(
        Waits(
            calls=len(took),
            p50=part(took, 0.5),
            p99=part(took, 0.99),
            p999=part(took, 0.999),
            worst=took[-1] * 1000,
            late=part(late, 0.999),
            wrong=made.wrong,
        )
    ).decode()


def measure(
    contender: Contender, bodies: Path, *, rate: float, seconds: int, connections: int, cores: Cores
) -> Waits:
    """One run against a service. Raises BenchError."""
    route: Route = contender.route
    contender.prepare(bodies, int(rate * seconds))
    command = [sys.executable, "-m", "bench.openloop", "--generate", str(route.service.port)]
    command += [route.path, route.expect, str(bodies), str(rate), str(connections)]
    before = route.service.cpu_seconds()
    text = output(pinned(cores.load, command), seconds + SPARE_SECONDS)
    used = route.service.cpu_seconds() - before
    waits = msgspec.json.decode(text, type=Waits)
    if waits.wrong:
        raise BenchError(f"{waits.wrong} of {waits.calls} answers were not the right ones")
    return msgspec.structs.replace(waits, busy=used / (waits.calls / rate))


def capacity(contender: Contender, folder: Path, connections: int, cores: Cores) -> float:
    """Calls a second that one core answers, in a closed loop. Raises BenchError."""
    bodies = folder / "closed.jsonl"
    contender.prepare(bodies, FIRST_RATE * CLOSED_SECONDS)
    run = load.run(
        contender.route,
        bodies,
        folder / "wrk.lua",
        seconds=CLOSED_SECONDS,
        connections=connections,
        cores=cores,
    )
    return run.per_second


def measure_from_start(
    world: World, folder: Path, kind: str, *, share: float, seconds: int, connections: int
) -> dict[str, Any]:
    """What one kind of call waits at a share of the load, from the service's start on."""
    cores = choose_cores()
    most = _started(world, folder / "first", cores)
    with most as service:
        rate = capacity(_KINDS[kind](service, world), folder, connections, cores) * share
    with _started(world, folder / "second", cores) as service:
        contender = _KINDS[kind](service, world)
        contender.prepare(folder / "one.jsonl", 1)
        waits = measure(
            contender,
            folder / "open.jsonl",
            rate=rate,
            seconds=seconds,
            connections=connections,
            cores=cores,
        )
    return {"rate": rate, **msgspec.to_builtins(waits)}


def _started(world: World, folder: Path, cores: Cores) -> Service:
    folder.mkdir()
    return services.start_ours(world, cores.server, folder)


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", type=float, default=0.5, help="share of what a core answers")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--kinds", default="sign,verify")
    parser.add_argument("--generate", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.generate:
        port, path, expect, bodies, rate, connections = given.generate
        print(generate(int(port), path, expect, Path(bodies), float(rate), int(connections)))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-open-") as name:
        folder = Path(name)
        try:
            with make_world(folder / "world") as world:
                for kind in given.kinds.split(","):
                    place = folder / kind
                    place.mkdir()
                    found = measure_from_start(
                        world,
                        place,
                        kind,
                        share=given.load,
                        seconds=given.seconds,
                        connections=given.connections,
                    )
                    print(json.dumps({"kind": kind, **found}))
        except BenchError as error:
            sys.stderr.write(f"No measurement: {error}\n")
            return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
