"""Nodes of a fleet in one process, each with its own file and key, and what they write."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from zhenxian.core.tn import TN, TNRange
from zhenxian.passport.jws import SigningKey
from zhenxian.registry.journal import Change, put
from zhenxian.registry.model import Holding, Order, Subject, TargetKind, Use, Verification
from zhenxian.registry.orders import Action, Instruction, order_of, sign_instruction
from zhenxian.stores.fleet.link import FleetOptions
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.key_file import load_node_key

ISSUER = SigningKey(ec.generate_private_key(ec.SECP256R1()))
# Tables that all nodes must agree on; holdings have numbers of each file's own.
COMMON = (
    "records",
    "records_past",
    "documents",
    "origids",
    "issuers",
    "bindings",
    "ways",
    "children",
    "access_subjects",
    "exempted",
    "refusals",
    "refusals_past",
    "refusal_classes",
)
LAG = 1.0  # seconds; short, for tests that wait until a copy is not current
HURRIED = {"lag_limit": LAG, "timeout": 1.0}  # for tests in which Redis is away, or silent


def options(url: str, **more) -> FleetOptions:
    """A node's; where Redis stays, a busy machine has its time to answer."""
    settings = {"lag_limit": 15.0, "timeout": 10.0, "wait_ms": 300} | more
    return FleetOptions(url=url, **settings)


class Node:
    """One process of one node: a registry that follows while the node is open."""

    def __init__(self, folder: Path, name: str, opts: FleetOptions, file: str | None = None):
        folder.mkdir(exist_ok=True)
        self.path = folder / f"{file or name}.db"
        self.key = load_node_key(folder / f"{name}.key", name)
        self.registry = FleetRegistry(self.path, opts, self.key)
        self._task: asyncio.Task | None = None

    async def __aenter__(self) -> FleetRegistry:
        await self.registry.start()
        self._task = asyncio.create_task(self.registry.follow())
        return self.registry

    async def __aexit__(self, *_) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self.registry.aclose()


def subject(name: str) -> Change:
    return put(Subject(id=name))


def holding(first: str, last: str | None = None, of: str = "bank", **more) -> Change:
    more.setdefault("verification", Verification.VERIFIED)
    return put(Holding(numbers=TNRange(TN(first), TN(last or first)), subject=of, **more))


def privacy(first: str, of: str = "bank") -> Change:
    return holding(first, of=of, use=Use.PRIVACY)


def order(name: str, number: int, target: str = "bank") -> Order:
    instruction = Instruction(
        action=Action.STOP,
        order=name,
        issuer="regulator",
        number=number,
        reference=f"ref {name}",
        kind=TargetKind.SUBJECT,
        target=target,
        since=int(time.time()),
        iat=int(time.time()),
    )
    return order_of(instruction, sign_instruction(instruction, ISSUER, "k"))


async def write(registry: FleetRegistry, *changes: Change, **more):
    settings = {"author": "tests", "reason": "test", "now": int(time.time())} | more
    return await registry.write(changes, **settings)


async def until(condition, seconds: float = 40.0, what: str = "the condition") -> float:
    """Wait for it; the seconds that it took."""
    begun = time.monotonic()
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return time.monotonic() - begun
        assert time.monotonic() < begun + seconds, f"{what} did not come about"
        await asyncio.sleep(0.02)


def state(registry: FleetRegistry) -> dict:
    """What a copy holds, as all nodes must have it."""
    book = registry.records
    tables = {
        name: sorted(book.connection.all(f"SELECT * FROM {name}"), key=repr) for name in COMMON
    }
    tables["holdings"] = sorted(book.holdings(), key=repr)
    tables["seq"] = book.last()
    return tables
