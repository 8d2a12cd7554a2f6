"""How much administration slows calls: `make bench-stalls`.

Calls come at a moderate rate from a process of their own while one piece of administration after
the other is done. It reports how long calls took, and how long the service's event loop was held
at most (bench.held), both beside the figures without any administration; of several rounds, for
which each time a service is begun anew, the median of each figure. What else ran meanwhile is told
beside: how long the event loop's thread waited for a processor, and what other programs took.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from bench.machine import LOOPBACK, BenchError, answers, free_port
from zhenxian.certs import ca
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE, prepare

RATE: Final = 200  # calls a second
CONNECTIONS: Final = 8
ROWS: Final = 100_000  # of an import
BATCH: Final = 5_000
LISTED: Final = 150_000  # serial numbers of the large revocation list
IDLE_SECONDS: Final = 8.0
AT_LEAST: Final = 4.0  # seconds for which something is done again and again
GOAL: Final = 2.0  # times the p99 of calls when nothing else is done
ROUNDS: Final = 1
_READY_SECONDS: Final = 60
_TICK: Final = os.sysconf("SC_CLK_TCK")
_FIRST: Final = 8613000000000
_DAY: Final = 86_400
_BODIES: Final = 20  # made before they are sent; more than are sent within AT_LEAST
_SHEETS: Final = 8  # likewise; while one is imported there are too few calls for a p99


class Held(Struct, frozen=True):
    """How long the event loop was held: at most; and of those who come, one in a hundred longer."""

    longest: float
    p99: float


class Times(Struct, frozen=True, kw_only=True):
    """What calls took, in seconds, while something was done; and how long the loop was held.

    Attributes:
        queued: seconds of each second in which the event loop's thread waited for a processor.
        others: processors that programs had which are no part of the measurement.
    """

    name: str
    calls: int
    p50: float
    p99: float
    longest: float
    held: Held
    queued: float
    others: float


class _Used(Struct, frozen=True):
    """Seconds so far: the clock, the thread's waiting, all processors' work, and ours of it."""

    clock: float
    queued: float
    all: float
    ours: float

    @classmethod
    def read(cls, service: int, calling: int) -> _Used:
        """As it is now, of a service and the process that calls it."""
        queued = Path(f"/proc/{service}/schedstat").read_text("ascii").split()[1]
        first = Path("/proc/stat").read_text("ascii").splitlines()[0].split()
        busy = sum(int(first[at]) for at in (1, 2, 3, 6, 7))  # neither idle nor waiting for a disk
        begun = Path(f"/proc/{service}/task").glob("*/children")
        children = [int(pid) for each in begun for pid in each.read_text("ascii").split()]
        ours = sum(os.times()[:4]) + sum(map(_processor_seconds, (service, calling, *children)))
        return cls(time.perf_counter(), int(queued) / 1e9, busy / _TICK, ours)


def _processor_seconds(pid: int) -> float:
    """Of a process, and of those it has waited for; 0 of one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICK


class Watched:
    """A service whose event loop is watched, on a folder with the demonstration's registry."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.port = free_port()
        self.world = prepare(folder, f"{LOOPBACK}:{self.port}", int(time.time()))
        self.folder = folder
        kept = {name: v for name, v in os.environ.items() if not name.startswith("ZHENXIAN_")}
        with (folder / "service.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.held", str(self.world.config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=kept | {f"ZHENXIAN_{name.upper()}": str(v) for name, v in settings.items()},
                cwd=Path(__file__).parent.parent,
            )
        deadline = time.monotonic() + _READY_SECONDS
        while not answers(self.port, "/healthz", 200):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise BenchError((folder / "service.log").read_text("utf-8")[-1500:])
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def held(self) -> Held:
        """For how long the event loop was held since this was last asked."""
        if self._process.stdin is None or self._process.stdout is None:
            raise BenchError("not started")
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        return Held(*map(float, self._process.stdout.readline().split()))

    def stop(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for end in (self._process.stdin, self._process.stdout):
            if end is not None:
                end.close()

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> bytes:
        """Ask the service. Raises BenchError when it does not answer 200."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=300)
        try:
            connection.request(method, path, body or None, {"content-type": kind} if kind else {})
            answer = connection.getresponse()
            read = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise BenchError(f"{method} {path}: {answer.status} {read[:500]!r}")
        return read


@contextmanager
def watched(folder: Path, **settings: object) -> Iterator[Watched]:
    """A service, ended at the end."""
    service = Watched(folder, **settings)
    try:
        yield service
    finally:
        service.stop()


# Calls --------------------------------------------------------------------------------------------


def signing_request(number: int) -> bytes:
    """A call to sign, from the demonstration's bank."""
    body = json.dumps(
        {
            "signingRequest": {
                "attest": "A",
                "orig": {"tn": BANK},
                "dest": {"tn": [str(int(CALLEE) + number % 1_000)]},
                "iat": int(time.time()),
                "origid": BANK_ORIGID,
            }
        }
    ).encode()
    head = (
        f"POST /stir/v1/signing HTTP/1.1\r\nhost: {LOOPBACK}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _call(port: int, rate: float, connections: int, pipe: Connection) -> None:
    """Call at that rate until something is said on `pipe`; then say what calls took."""
    took: list[tuple[float, float]] = []  # when it was made, what it took
    begin = time.perf_counter()
    numbers = iter(range(10**9))

    async def caller() -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        for number in numbers:
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sent = time.perf_counter()
            writer.write(signing_request(number))
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            took.append((sent, time.perf_counter() - sent))
            if pipe.poll():
                break
        writer.close()

    await asyncio.gather(*(caller() for _ in range(connections)))
    pipe.recv()
    pipe.send(took)


def _calling(port: int, rate: float, connections: int, pipe: Connection) -> None:
    asyncio.run(_call(port, rate, connections, pipe))


def during(
    service: Watched,
    name: str,
    work: Callable[[], object],
    *,
    rate: float = RATE,
    connections: int = CONNECTIONS,
) -> Times:
    """What calls take while something is done."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_calling, args=(service.port, rate, connections, there)
    )
    process.start()
    time.sleep(1.5)  # it starts, and its first calls are over
    service.held()
    began = _Used.read(service.pid, process.pid or 0)
    try:
        work()
        held = service.held()
        ended = _Used.read(service.pid, process.pid or 0)
        here.send(None)
        if not here.poll(60):
            raise BenchError("callers have no answers")
        took = sorted(each for sent, each in here.recv() if began.clock <= sent < ended.clock)
    finally:
        process.join(10)
        process.kill()
    at, lasted = len(took), ended.clock - began.clock
    return Times(
        name=name,
        calls=at,
        p50=took[at // 2],
        p99=took[int(at * 0.99)],
        longest=took[-1],
        held=held,
        queued=(ended.queued - began.queued) / lasted,
        others=max(0.0, ended.all - began.all - (ended.ours - began.ours)) / lasted,
    )


def median(rows: Sequence[Times]) -> Times:
    """Of each figure, over rounds of the same."""

    def of(figure: Callable[[Times], float]) -> float:
        return statistics.median(map(figure, rows))

    return Times(
        name=rows[0].name,
        calls=sum(row.calls for row in rows),
        p50=of(lambda row: row.p50),
        p99=of(lambda row: row.p99),
        longest=of(lambda row: row.longest),
        held=Held(of(lambda row: row.held.longest), of(lambda row: row.held.p99)),
        queued=of(lambda row: row.queued),
        others=of(lambda row: row.others),
    )


# Administration -----------------------------------------------------------------------------------


def _again(work: Callable[[], object]) -> Callable[[], None]:
    def again() -> None:
        until = time.monotonic() + AT_LEAST
        while time.monotonic() < until:
            work()

    return again


def holdings(rows: int, first: int = _FIRST) -> bytes:
    """A file of single numbers, all of one holder."""
    lines = ["first,last,subject,verification,spcs"]
    lines += [f"{first + n},{first + n},courier,verified,N001" for n in range(rows)]
    return ("\n".join(lines) + "\n").encode()


def bindings(rows: int, batch: int) -> bytes:
    """A batch of bindings."""
    now = int(time.time())
    found = [
        {
            "id": f"b{batch}-{n}",
            "platform": "platform",
            "model": "axb",
            "x": str(700100020001000 + n),
            "a": str(_FIRST + batch * rows + n),
            "b": str(_FIRST + 500_000_000 + batch * rows + n),
            "since": now,
            "until": now + _DAY,
        }
        for n in range(rows)
    ]
    return json.dumps(found).encode()


def revocation_list(length: int) -> bytes:
    """A list of some CA's, of that many certificates."""
    now = datetime.now(UTC).replace(microsecond=0)
    entries = [
        x509.RevokedCertificateBuilder()
        .serial_number((1 << 80) + number)
        .revocation_date(now)
        .build()
        for number in range(length)
    ]
    # The builder copies all that were added before when one is added.
    builder = x509.CertificateRevocationListBuilder(
        ca.name("Elsewhere"), now, now + timedelta(days=1), [], entries
    )
    return builder.sign(ca.new_key(), hashes.SHA256()).public_bytes(Encoding.DER)


def _tasks(service: Watched) -> dict[str, Callable[[], Callable[[], object]]]:
    """What is done, by its name: what prepares it, unmeasured, and gives what does it."""
    csv, json_ = "text/csv", "application/json"
    batches = iter(range(10**6))

    def import_() -> Callable[[], object]:
        sheets = [holdings(ROWS, _FIRST + number * ROWS) for number in range(_SHEETS)]

        def put() -> None:
            rows = sheets.pop() if len(sheets) > 1 else sheets[0]
            service.ask("POST", "/v1/imports/holdings?reason=bench", rows, csv)

        return _again(put)

    def refused() -> Callable[[], object]:
        rows = holdings(ROWS).replace(b",courier,", b",nobody,")
        asked = f"/v1/imports/holdings?reason=bench&told={ROWS}"
        return lambda: service.ask("POST", asked, rows, csv)

    def batch() -> Callable[[], object]:
        bodies = [bindings(BATCH, next(batches)) for _ in range(_BODIES)]

        def put() -> None:
            body = bodies.pop() if bodies else bindings(BATCH, next(batches))
            service.ask("POST", "/v1/bindings/batch?reason=bench", body, json_)

        return _again(put)

    def drop_list() -> Callable[[], object]:
        fresh = service.folder / "fresh"
        fresh.write_bytes(revocation_list(LISTED))

        def drop() -> None:
            fresh.replace(service.world.pki.crl_folder / "large.crl")
            time.sleep(AT_LEAST)

        return drop

    def asked(path: str) -> Callable[[], Callable[[], object]]:
        return lambda: _again(lambda: service.ask("GET", path))

    return {
        "idle": lambda: lambda: time.sleep(IDLE_SECONDS),
        "import": import_,
        "refused import": refused,
        "export": asked("/v1/exports/holdings"),
        "batch": batch,
        "pages": asked("/v1/holdings?limit=1000"),
        "changes": asked("/v1/changes?limit=1000"),
        "metrics": asked("/metrics"),
        "revocation list": drop_list,
    }


def measure(folder: Path, names: Sequence[str] = ()) -> list[Times]:
    """Idle first, then each piece of administration; all, or those that are named."""
    with watched(folder) as service:
        return [
            during(service, name, prepare())
            for name, prepare in _tasks(service).items()
            if name == "idle" or not names or name in names
        ]


def main(arguments: Sequence[str]) -> int:
    """Measure and tell; 1 when the goal is missed."""
    parser = argparse.ArgumentParser("python -m bench.stalls", description=__doc__)
    parser.add_argument("names", nargs="*", help="of what is done, as the table has them")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of which the median is told")
    options = parser.parse_args(arguments)
    rounds = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="zhenxian-stalls-") as folder:
            rounds.append(measure(Path(folder) / "service", options.names))
        if options.rounds > 1:
            _print(f"round {number + 1}", rounds[-1])
    table = [median(same) for same in zip(*rounds, strict=True)]
    _print("" if options.rounds == 1 else "median", table)
    return int(any(row.p99 > GOAL * table[0].p99 for row in table))


def _print(title: str, table: Sequence[Times]) -> None:
    print(
        f"{title:>16} {'calls':>6} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'held max':>8}"
        f" {'held p99':>8} {'queued/s':>8} {'others':>7}  p99/idle"
    )
    for row in table:
        told = (row.p50, row.p99, row.longest, row.held.longest, row.held.p99, row.queued)
        figures = " ".join(f"{x * 1e3:8.1f}" for x in told)
        share = row.p99 / table[0].p99
        print(f"{row.name:>16} {row.calls:6} {figures} {row.others:7.2f}  {share:8.2f}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
