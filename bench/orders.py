"""How long an order takes to be in force on every node of a fleet.

Each node is a process of its own with its own file and key; Redis is a real one on loopback. The
figure is what the nodes sign: the instant in each acknowledgement, less the instant at which the
order was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from bench.machine import LOOPBACK, BenchError, free_port, listens
from zhenxian.passport.jws import SigningKey
from zhenxian.registry.journal import Change, put
from zhenxian.registry.model import Order, Subject, TargetKind
from zhenxian.registry.node_key import public_key
from zhenxian.registry.orders import (
    Action,
    Instruction,
    order_of,
    read_acknowledgement,
    sign_instruction,
)
from zhenxian.stores.fleet.link import FleetOptions
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.key_file import load_node_key

_PATIENCE: Final = 30.0  # seconds for nodes to start, and for all to acknowledge
_BETWEEN: Final = 0.02  # seconds between two orders


class Delays(Struct, frozen=True):
    """Milliseconds from giving an order to its being in force, over all nodes and orders."""

    p50: float
    p99: float
    worst: float
    count: int


def measure(nodes: int = 4, orders: int = 50, url: str | None = None) -> Delays:
    """Give orders to a fleet of processes and read what they acknowledge.

    Args:
        url: of a Redis that is running; None starts one with an append-only file.

    Raises:
        BenchError: a node did not start, or did not acknowledge.
    """
    with tempfile.TemporaryDirectory(prefix="zhenxian-orders-") as name:
        folder = Path(name)
        with contextlib.ExitStack() as stack:
            at = url if url is not None else stack.enter_context(redis_server(folder))
            for number in range(nodes):
                stack.enter_context(_node(at, folder, f"node{number}"))
            return asyncio.run(_measure(at, folder, nodes, orders))


async def _measure(url: str, folder: Path, nodes: int, count: int) -> Delays:
    issuer = SigningKey(ec.generate_private_key(ec.SECP256R1()))
    registry = FleetRegistry(folder / "issuer.db", FleetOptions(url=url))
    await registry.start()
    following = asyncio.create_task(registry.follow())
    try:
        await _write(registry, *(put(Subject(id=f"subject{n}")) for n in range(count)))
        await _until(lambda: _caught_up(registry, nodes), "the nodes did not start")
        given: list[tuple[Order, float]] = []
        for number in range(1, count + 1):
            order = _order(number, issuer)
            begun = time.time()
            await _write(registry, put(order))
            given.append((order, begun))
            await asyncio.sleep(_BETWEEN)
        delays: list[float] = []
        for order, begun in given:
            delays += await _delays(registry, order, begun, nodes)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await registry.aclose()
    delays.sort()
    return Delays(
        statistics.median(delays),
        delays[min(len(delays) - 1, int(len(delays) * 0.99))],
        delays[-1],
        len(delays),
    )


async def _caught_up(registry: FleetRegistry, nodes: int) -> bool:
    found = await registry.nodes()
    return len([node for node in found if node["cursor"] >= registry.seq]) >= nodes


async def _delays(registry: FleetRegistry, order: Order, begun: float, nodes: int) -> list[float]:
    async def all_said() -> bool:
        return len(await registry.acknowledgements(order.id)) >= nodes

    await _until(all_said, f"order {order.id} was not acknowledged by {nodes} nodes")
    return [
        read_acknowledgement(token, order, public_key(jwk)).since - begun * 1000
        for _, token, jwk in await registry.acknowledgements(order.id)
    ]


async def _until(condition: Callable[[], Awaitable[bool]], failure: str) -> None:
    end = time.monotonic() + _PATIENCE
    while not await condition():
        if time.monotonic() > end:
            raise BenchError(failure)
        await asyncio.sleep(0.02)


async def _write(registry: FleetRegistry, *changes: Change) -> None:
    await registry.write(changes, author="bench", reason="measurement", now=int(time.time()))


def _order(number: int, issuer: SigningKey) -> Order:
    now = int(time.time())
    instruction = Instruction(
        action=Action.STOP,
        order=f"order{number}",
        issuer="bench",
        number=number,
        reference="measurement",
        kind=TargetKind.SUBJECT,
        target=f"subject{number - 1}",
        since=now,
        iat=now,
    )
    return order_of(instruction, sign_instruction(instruction, issuer, "bench"))


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis with an append-only file in the folder; its URL. Raises BenchError without one."""
    binary = shutil.which("redis-server")
    if binary is None:
        raise BenchError("redis-server is missing: apt-get install redis-server")
    port = free_port()
    settings = f"--port {port} --bind {LOOPBACK} --dir {folder} --appendonly yes --save"
    process = subprocess.Popen(
        [binary, *settings.split(), ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + _PATIENCE
        while process.poll() is None and not listens(port):
            if time.monotonic() > end:
                raise BenchError("redis-server does not listen")
            time.sleep(0.02)
        yield f"redis://{LOOPBACK}:{port}/0"
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _node(url: str, folder: Path, name: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "bench.orders", url, str(folder), name])
    try:
        yield
        if process.poll() is not None:
            raise BenchError(f"{name} ended by itself with {process.returncode}")
    finally:
        process.terminate()
        process.wait()


async def _be_a_node(url: str, folder: Path, name: str) -> None:
    key = load_node_key(folder / f"{name}.key", name)
    registry = FleetRegistry(folder / f"{name}.db", FleetOptions(url=url), key)
    await registry.start()
    following = asyncio.create_task(registry.follow())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, following.cancel)
    await asyncio.gather(following, return_exceptions=True)
    await registry.aclose()


if __name__ == "__main__":
    if len(sys.argv) == 4:
        asyncio.run(_be_a_node(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
    else:
        print(measure())
