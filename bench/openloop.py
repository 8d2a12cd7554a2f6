"""An open loop: calls come when they come, whether the service has answered those before or not.

wrk asks again when it has its answer, so that a service that stops for a moment is asked nothing
meanwhile, and the moment counts once. Here calls have their times beforehand, at random (Poisson),
and what a call took is counted from its time on, its wait for a free connection included.

    python -m bench.openloop --load 0.5 --connections 64 --seconds 20

measures how many calls a second the service answers on one core (wrk, closed loop), then asks for
that share of it, from a start of the service on, each round from another. With --keys the same for
a nation (bench.nation) whose service had counted the conduct of so many callers before it started.
The generator has a core of its own and spins; it says how late it was itself, and how long the
service's main thread stood ready and had no core, and what other programs used of that core. Writes
build/bench-openloop.json; --update-docs puts it into the page.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, cast

import msgspec
import uvloop
from msgspec import Struct

from bench import load, services
from bench.exchange import SUBJECTS, Population
from bench.load import Route
from bench.machine import (
    LOOPBACK,
    BenchError,
    Cores,
    CoreUse,
    Service,
    choose_cores,
    output,
    pinned,
)
from bench.measure import Contender
from bench.nation import Nation, make_nation, settled
from bench.table import Line, Measurement
from bench.world import World, make_world
from zhenxian.service.build import build
from zhenxian.service.settings import load_settings

GOALS: Final = {"sign": {"p99": 5.0, "p999": 12.0}, "verify": {"p99": 8.0, "p999": 20.0}}
WITH_KEYS: Final = {"p999": 25.0}
EACH: Final = (
    "Milliseconds from the time at which a call was to come, at random, to its answer, with the"
    " wait for a free connection; everything counted, answers looked at.",
    "From the start of the service on: each round another service, whose first calls are these."
    " Beside the p999 stands that of the calls after the first second, the median of the rounds.",
    "Ready without the core: the service's main thread, by the kernel's account; other programs had"
    " it, or the service's other threads.",
    "A nation's calls: 10,000 accesses, 1 million holdings, random numbers, 1,000 signers; after"
    " the first seconds, with the conduct of as many keys in memory as it says.",
)
SPARE_SECONDS: Final = 60
CLOSED_SECONDS: Final = 3
FIRST_RATE: Final = 15_000  # more than any core answered so far
_BEFORE: Final = 60  # seconds, that conduct was counted before the calls
_ROOM: Final = 4  # times as many keys may be remembered as there are
_MOST: Final = 8  # calls for each of them, until they are many enough
_TOGETHER: Final = 1_000
_CLOSING: Final = 0.1  # seconds for connections to close
_LOOK: Final = 0.001  # seconds between two looks at the service's core
_FIGURES: Final = 100  # octets of /proc/PID/schedstat
_FIRST: Final = 1.0  # seconds that count as the start
_KINDS: Final = {"sign": services.our_signing, "verify": services.our_verifying}


class Waits(Struct, frozen=True, kw_only=True):
    """Milliseconds from a call's time to its answer.

    Attributes:
        afterwards: p999 of the calls that came after the first second.
        late: how late the generator was, in 999 of 1,000 calls that found a connection free.
        wrong: answers that were not the right ones.
        kept: for how long of a second the service's main thread had no core and was ready to run:
            other programs had it, or the service's other threads.
        longest: of these, at once.
        others: what other programs used of a second of that core, needed by the service or not.
        busy: share of the service's core.
    """

    calls: int
    p50: float
    p99: float
    p999: float
    afterwards: float
    worst: float
    late: float
    wrong: int
    kept: float
    longest: float
    others: float = 0.0
    busy: float = 0.0


class Core:
    """How long a process's main thread waited for its core, by the kernel's account.

    /proc/PID/schedstat has nanoseconds: those that it ran, and those that it stood ready without
    running. The latter are added when it runs again, so that what is added between two looks that
    lie close together is one wait.
    """

    def __init__(self, pid: int) -> None:
        self._file = os.open(f"/proc/{pid}/schedstat", os.O_RDONLY)
        self.kept = self._read()
        self.longest = 0

    def look(self) -> None:
        """Take what was added since the last look."""
        before = self.kept
        self.kept = self._read()
        self.longest = max(self.longest, self.kept - before)

    def _read(self) -> int:
        return int(os.pread(self._file, _FIGURES, 0).split()[1])


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

    def __init__(
        self, requests: Sequence[bytes], dues: Sequence[float], expect: bytes, core: Core
    ) -> None:
        self._requests, self._dues, self._expect = requests, dues, expect
        self._core, self._look_at = core, 0.0
        self._free: list[_Connection] = []
        self._waiting: deque[int] = deque()
        self._left = len(dues)
        self._began = 0.0
        self.took: list[tuple[float, float]] = []  # when a call was to come, and its time
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
            if now >= self._look_at:
                self._look_at = now + _LOOK
                self._core.look()
            await asyncio.sleep(0)
        for each in self._free:  # uvloop does not end while one is open
            each.close()
        await asyncio.sleep(_CLOSING)

    def answered(self, connection: _Connection, data: bytes, due: float) -> None:
        """Count an answer; the connection takes the call that has waited longest."""
        self.took.append((due, time.perf_counter() - self._began - due))
        self._left -= 1
        if not data.startswith(b"HTTP/1.1 200 ") or self._expect not in data:
            self.wrong += 1
        if self._waiting:
            at = self._waiting.popleft()
            connection.ask(self._requests[at], self._dues[at])
        else:
            self._free.append(connection)


def generate(
    port: int, pid: int, path: str, expect: str, bodies: Path, rate: float, connections: int
) -> str:
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
    core = Core(pid)
    made, before = _Load(requests, dues, expect.encode(), core), core.kept
    gc.disable()
    began = time.perf_counter()
    uvloop.run(made.run(port, connections))
    seconds = time.perf_counter() - began
    core.look()
    took, late = sorted(each for _, each in made.took), sorted(made.late)
    afterwards = sorted(each for due, each in made.took if due >= _FIRST) or took

    def part(values: list[float], share: float) -> float:
        return values[min(len(values) - 1, int(len(values) * share))] * 1000

    return msgspec.json.encode(
        Waits(
            calls=len(took),
            p50=part(took, 0.5),
            p99=part(took, 0.99),
            p999=part(took, 0.999),
            afterwards=part(afterwards, 0.999),
            worst=took[-1] * 1000,
            late=part(late, 0.999),
            wrong=made.wrong,
            kept=(core.kept - before) / 1e6 / seconds,
            longest=core.longest / 1e6,
        )
    ).decode()


def measure(
    contender: Contender, bodies: Path, *, rate: float, seconds: int, connections: int, cores: Cores
) -> Waits:
    """One run against a service. Raises BenchError."""
    route: Route = contender.route
    contender.prepare(bodies, int(rate * seconds))
    service = route.service
    command = [sys.executable, "-m", "bench.openloop", "--generate", str(service.port)]
    command += [str(service.pid), route.path, route.expect, str(bodies), str(rate)]
    core, before = CoreUse.read(cores.server), service.cpu_seconds()
    text = output(pinned(cores.load, [*command, str(connections)]), seconds + SPARE_SECONDS)
    used, after = service.cpu_seconds() - before, CoreUse.read(cores.server)
    waits = msgspec.json.decode(text, type=Waits)
    if waits.wrong:
        raise BenchError(f"{waits.wrong} of {waits.calls} answers were not the right ones")
    took = waits.calls / rate
    others = max(0.0, after.busy - core.busy - used) + after.stolen - core.stolen
    return msgspec.structs.replace(waits, busy=used / took, others=others / took * 1000)


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


class Measured(Struct, frozen=True, kw_only=True):
    """One round of one kind of calls. Attributes: keys: whose conduct had been counted before."""

    kind: str
    keys: int
    rate: float
    waits: Waits


def from_start(world: World, folder: Path, given: argparse.Namespace) -> Iterator[Measured]:
    """The best case: one access, one signer, and nothing counted before. Raises BenchError."""
    cores = choose_cores()
    for kind in given.kinds.split(","):
        with _started(world, folder / f"{kind}-first", cores) as service:
            most = capacity(_KINDS[kind](service, world), folder, given.connections, cores)
        for turn in range(given.rounds):
            with _started(world, folder / f"{kind}-{turn}", cores) as service:
                yield _measured(service, world, folder, kind, most * given.load, given)


def with_keys(nation: Nation, folder: Path, given: argparse.Namespace) -> Iterator[Measured]:
    """A nation's calls, and so many callers counted before. Raises BenchError."""
    cores = choose_cores()
    for kind in given.kinds.split(","):
        place = folder / f"{kind}-keys"
        with _started(nation, place, cores, given.keys) as service:
            settled(service, nation, place)
            most = capacity(_KINDS[kind](service, nation), folder, given.connections, cores)
            for _ in range(given.rounds):
                rate = most * given.load
                yield _measured(service, nation, folder, kind, rate, given, given.keys)


def _measured(
    service: Service,
    world: World,
    folder: Path,
    kind: str,
    rate: float,
    given: argparse.Namespace,
    keys: int = 0,
) -> Measured:
    waits = measure(
        _KINDS[kind](service, world),
        folder / "open.jsonl",
        rate=rate,
        seconds=given.seconds,
        connections=given.connections,
        cores=choose_cores(),
    )
    return Measured(kind=kind, keys=keys, rate=rate, waits=waits)


def _started(world: World, folder: Path, cores: Cores, keys: int = 0) -> Service:
    folder.mkdir()
    if not keys:
        return services.start_ours(world, cores.server, folder)
    return services.start_ours(
        world,
        cores.server,
        folder,
        environment={"ZHENXIAN_DISPLAYS__MAX_KEYS": str(_ROOM * keys)},
        before=lambda settings, _: counted(settings, keys),
    )


def counted(settings: Path, keys: int) -> None:
    """Have the data folder remember the conduct of that many callers.

    Raises:
        BenchError: not as many are remembered.
    """
    service = build(load_settings(settings, displays={"max_keys": _ROOM * keys}))
    keeper = service.keeper
    if keeper is None:
        raise BenchError("nothing is counted")
    at = int(time.time()) - _BEFORE
    people = Population(keys * 5 // 4 // SUBJECTS + 1)
    for _ in range(_MOST * keys // _TOGETHER):
        for one in people.calls(_TOGETHER, at):
            keeper.conduct.observe(one)
        if len(keeper.conduct) >= keys:
            break
    found = len(keeper.conduct)
    asyncio.run(service.close())
    if found < keys:
        raise BenchError(f"conduct of {found} keys is kept where {keys} are wanted")


def lines(found: Sequence[Measured]) -> list[Line]:
    """The rows of the table."""
    made = []
    for kind, keys in dict.fromkeys((one.kind, one.keys) for one in found):
        these = [one.waits for one in found if (one.kind, one.keys) == (kind, keys)]
        rate = next(one.rate for one in found if (one.kind, one.keys) == (kind, keys))
        late = max(one.late for one in these)
        busy = median(one.busy for one in these)
        who = f", a nation's calls, {keys:,} keys" if keys else ""
        goals = WITH_KEYS if keys else GOALS[kind]
        kept, others = median(one.kept for one in these), median(one.others for one in these)
        longest = max(one.longest for one in these)
        afterwards = median(one.afterwards for one in these)
        beside = {
            "p50": f"{rate:,.0f} calls/s, core busy {busy:.0%},"
            f" generator late {late:.1f} ms (its p999)",
            "p99": f"others had the core {others:.0f} ms a second; ready without it {kept:.0f} ms a"
            f" second, at most {longest:.1f} at once",
            "p999": f"after the first second {afterwards:.1f}",
        }
        for name in ("p50", "p99", "p999"):
            waits = tuple(getattr(one, name) for one in these)
            made.append(
                Line(
                    figure=f"{kind}{who}: {name}, ms",
                    found=waits,
                    goal=goals.get(name),
                    beside=beside[name],
                )
            )
    return made


def _measure(given: argparse.Namespace) -> tuple[Sequence[Line], str, Any]:
    found: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="bench-open-") as name:
        folder = Path(name)
        with make_world(folder / "world") as world:
            found += from_start(world, folder, given)
        if given.keys:
            with make_nation(folder / "nation") as nation:
                found += with_keys(nation, folder, given)
    how = (
        f"{given.rounds} rounds of {given.seconds} s, {given.load:.0%} of what a core answers,"
        f" {given.connections} connections"
    )
    return lines(found), how, found


MEASUREMENT: Final = Measurement(
    name="openloop", title="calls in an open loop", each=EACH, measure=_measure
)


def main() -> int:
    """Measure, and print the table."""
    generating = argparse.ArgumentParser(add_help=False)
    generating.add_argument("--generate", nargs=7)
    given, _ = generating.parse_known_args()
    if given.generate:
        port, pid, path, expect, bodies, rate, many = given.generate
        asked = (Path(bodies), float(rate), int(many))
        print(generate(int(port), int(pid), path, expect, *asked))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--load", type=float, default=0.5, help="share of what a core answers")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--kinds", default="sign,verify")
    parser.add_argument("--keys", type=int, default=100_000, help="0: not with a nation's")
    return MEASUREMENT.run(parser)


if __name__ == "__main__":
    raise SystemExit(main())
