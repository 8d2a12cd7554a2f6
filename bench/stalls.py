"""How much administration slows calls: `make bench-stalls`.

Calls come at a moderate rate from a process of their own while one piece of administration after
the other is done. It reports how long calls took, and how long the service's event loop was held
at most (bench.held), both beside the figures without any administration.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import os
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
_READY_SECONDS: Final = 60
_FIRST: Final = 8613000000000
_DAY: Final = 86_400


class Held(Struct, frozen=True):
    """How long the event loop was held: at most; and of those who come, one in a hundred longer."""

    longest: float
    p99: float


class Times(Struct, frozen=True, kw_only=True):
    """What calls took, in seconds, while something was done; and how long the loop was held."""

    name: str
    calls: int
    p50: float
    p99: float
    longest: float
    held: Held


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
    began = time.perf_counter()
    try:
        work()
        held = service.held()
        here.send(None)
        if not here.poll(60):
            raise BenchError("callers have no answers")
        took = sorted(each for sent, each in here.recv() if sent >= began)
    finally:
        process.join(10)
        process.kill()
    at = len(took)
    return Times(
        name=name,
        calls=at,
        p50=took[at // 2],
        p99=took[int(at * 0.99)],
        longest=took[-1],
        held=held,
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


def tasks(
    service: Watched, names: Sequence[str] = ()
) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is done: each with its name; all, or those that are named."""
    csv = "text/csv"
    refused = holdings(ROWS).replace(b",courier,", b",nobody,")
    batches = iter(range(10**6))

    def put_batch() -> None:
        body = bindings(BATCH, next(batches))
        service.ask("POST", "/v1/bindings/batch?reason=bench", body, "application/json")

    def drop_list() -> None:
        fresh = service.folder / "fresh"
        fresh.write_bytes(revocation_list(LISTED))
        service.held()
        fresh.replace(service.world.pki.crl_folder / "large.crl")
        time.sleep(AT_LEAST)

    found: dict[str, Callable[[], object]] = {
        "import": lambda: service.ask(
            "POST", "/v1/imports/holdings?reason=bench", holdings(ROWS), csv
        ),
        "refused import": lambda: service.ask(
            "POST", f"/v1/imports/holdings?reason=bench&told={ROWS}", refused, csv
        ),
        "export": _again(lambda: service.ask("GET", "/v1/exports/holdings")),
        "batch": _again(put_batch),
        "pages": _again(lambda: service.ask("GET", "/v1/holdings?limit=1000")),
        "changes": _again(lambda: service.ask("GET", "/v1/changes?limit=1000")),
        "metrics": _again(lambda: service.ask("GET", "/metrics")),
        "revocation list": drop_list,
    }
    yield from ((name, work) for name, work in found.items() if not names or name in names)


def measure(folder: Path, names: Sequence[str] = ()) -> list[Times]:
    """Idle first, then each piece of administration."""
    with watched(folder) as service:
        table = [during(service, "idle", lambda: time.sleep(IDLE_SECONDS))]
        table += [during(service, name, work) for name, work in tasks(service, names)]
        return table


def main(names: Sequence[str]) -> int:
    """Measure and tell; 1 when the goal is missed."""
    with tempfile.TemporaryDirectory(prefix="zhenxian-stalls-") as folder:
        table = measure(Path(folder) / "service", names)
    idle = table[0]
    print(
        f"{'':>16} {'calls':>6} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'held max':>8}"
        f" {'held p99':>8}  p99/idle"
    )
    for row in table:
        told = (row.p50, row.p99, row.longest, row.held.longest, row.held.p99)
        figures = " ".join(f"{x * 1e3:8.1f}" for x in told)
        print(f"{row.name:>16} {row.calls:6} {figures}  {row.p99 / idle.p99:8.2f}")
    return int(any(row.p99 > GOAL * idle.p99 for row in table))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
