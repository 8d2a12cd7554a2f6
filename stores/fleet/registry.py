"""The fleet engine: a journal on Redis, and a replica of the registry on every node.

Calls are answered from the replica alone. A background task follows the journal; a write is tried
on the replica, then appended to the journal by compare-and-append, then taken over like any other
commit. What can go wrong, and what then happens:

- Redis is away, paused or loading: reading goes on; `current` turns False after `lag_limit`;
  writes are refused. When it answers again, what was missed is read from the stream.
- The stream no longer reaches back to the replica (a checkpoint trimmed it): the replica is rebuilt
  from checkpoint and stream in a file beside it and replaced in one transaction.
- Redis lost acknowledged commits (an old backup, a failover to a replica that lagged), shown by
  the journal's numbers and the digest that every commit carries: the copy is set aside as
  `<name>.lost-<seconds>.db` and rebuilt as Redis has it. Orders that only the copy knew stay in
  force here, and `problems` names them, until the journal has them again; so does what else was
  stricter in the copy (stores.fleet.losses), until somebody has looked.
- Redis holds no journal, or another one: nothing is replaced; `reseed` gives Redis this copy,
  `take_over_foreign` takes what Redis has.

The states that a node can be in are in stores.fleet.states. The parts, each built on those before:
node, view, acknowledgements, checkpoints, rebuild, follower, writer.

Several processes of one machine share one file: each follows, and the first takes over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import asdict

from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.registry.journal import Change, Commit, Nested, Proposal
from zhenxian.registry.model import Kind, Order
from zhenxian.registry.node_key import NodeKey
from zhenxian.registry.orders import order_digest
from zhenxian.registry.stricter import Losses
from zhenxian.stores.clock import ClockGuard
from zhenxian.stores.fleet.acknowledgements import Acknowledgements
from zhenxian.stores.fleet.checkpoints import Checkpoints
from zhenxian.stores.fleet.comparison import Comparison
from zhenxian.stores.fleet.follower import Follower
from zhenxian.stores.fleet.link import UNREACHABLE, FleetOptions, reason_text
from zhenxian.stores.fleet.node import FleetNode
from zhenxian.stores.fleet.replica import Replica, Vet
from zhenxian.stores.fleet.states import NodeState
from zhenxian.stores.fleet.view import FleetView
from zhenxian.stores.fleet.writer import Writer
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.view import MAX_KEPT

_Value = TypeVar("_Value")


class FleetRegistry(FleetView):
    """The registry of a fleet, as one process of one node sees it; for one event loop.

    `start` once, then `follow` as a task. Without it writes still work, each catching up first.
    """

    def __init__(
        self,
        path: Path,
        options: FleetOptions,
        node: NodeKey | None = None,
        *,
        limit: int = MAX_KEPT,
        vet: Vet | None = None,
        clock: Callable[[], float] = time.monotonic,
        guard: ClockGuard | None = None,
    ) -> None:
        """Opens the replica; nothing is connected yet.

        Args:
            node: signs acknowledgements of orders; without it none are made.
            vet: see Replica.follow: refuses orders that came by the journal.
            guard: what doubts the clock; one of its own when left out.

        Raises:
            ConfigError: an option that cannot be, or a file of a newer release.
            StoreUnavailableError: the file cannot be opened.
        """
        if options.lag_limit <= 0 or options.timeout <= 0:
            raise ConfigError("lag_limit and timeout of the fleet are seconds above 0")
        if options.wait_replicas and options.wait_ms / 1000 >= options.timeout:
            raise ConfigError("the fleet's timeout must be longer than wait_ms")
        self.node = FleetNode(path, options, node, vet, clock)
        if guard is not None:
            self.node.guard = guard
        self.node.guard.apart = self.node.link.apart
        # Apart from the writer: a long question does not keep an order waiting.
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="registry-reader")
        self._reading.submit(int)  # its thread is there before a limit of threads is reached
        self._reader = RegistryFile(path)
        super().__init__(path, limit=limit)
        acknowledgements = Acknowledgements(self.node)
        self._checkpoints = Checkpoints(self.node)
        self._comparison = Comparison(self.node)
        self._follower = Follower(
            self.node, self, acknowledgements, self._checkpoints, self._comparison
        )
        self._writer = Writer(self.node, self._follower, self._checkpoints)

    # What calls ask ---------------------------------------------------------------------------

    @property
    def current(self) -> bool:
        """False when a commit older than `lag_limit` seconds may be missing here."""
        return self.node.current and not self._losses.beyond

    @property
    def lag(self) -> float:
        """Seconds for which commits may be missing here; infinite before the first ones."""
        return self.node.lag

    def whole_since(self, moment: float) -> bool:
        """See RegistryView: what was committed before that moment, on whichever node, is here."""
        return self.node.whole_since(moment)

    # What operators ask -----------------------------------------------------------------------

    @property
    def state(self) -> NodeState:
        """How the replica stands to the journal."""
        return self.node.condition.state

    def problems(self) -> list[str]:
        """What an operator should know, one sentence each; empty when all is well."""
        return [*self.faults(), *self.remarks()]

    def faults(self) -> list[str]:
        """Of these, what keeps calls from being answered as they should."""
        return self.node.faults()

    def remarks(self) -> list[str]:
        """The others: they concern writes, acknowledgements, or what others put into Redis."""
        return [*self.node.remarks(), *self.kept_remarks()]

    # Life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Reach Redis and catch up, if it can be reached; otherwise the replica serves as it is.

        Raises:
            ConfigError: Redis refuses the credentials, or keeps nothing on disk.
        """
        await self._follower.start()

    async def follow(self) -> None:
        """Take over commits as they come, for ever; every failure is told and tried again."""
        await self._follower.run()

    async def sync(self) -> None:
        """Bring the replica to where the journal is now; see Follower.sync."""
        await self._follower.sync()

    async def aclose(self) -> None:
        """Close the connections; then the rest as `close`. End `follow` before."""
        await self._checkpoints.close()
        await self._comparison.close()
        await self.node.link.close()
        self.close()

    def close(self) -> None:
        """Finish the write under way and close the file; connections die with the process."""
        self._reading.shutdown()
        self.node.close()
        self._reader.close()
        super().close()

    # Reading and writing ----------------------------------------------------------------------

    async def with_writer(self, work: Callable[[Replica], _Value]) -> _Value:
        """Do something with the replica, in the thread of its writing connection."""
        return await self.node.with_writer(work)

    async def read(self, work: Callable[[RegistryFile], _Value]) -> _Value:
        """Ask something that may take long, away from the calls."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reading, work, self._reader)

    async def write(
        self,
        changes: Sequence[Change],
        *,
        author: str,
        reason: str,
        now: int,
        request: bytes = b"",
        fingerprint: bytes = b"",
        nested: Nested = Nested.TAKEN,
        dry_run: bool = False,
    ) -> Commit:
        """See RegistryFile.write. Acknowledged means in the journal on Redis, and in force here.

        Raises:
            RegistryConflictError, VersionConflictError, ConfigError: see registry.rules.check; the
                answer rests on all commits up to now.
            StoreUnavailableError: not acknowledged; the text says when it may stand all the same.
        """
        if not dry_run:
            self.node.guard.check(self.records)
        proposal = Proposal(
            changes=changes,
            author=author,
            reason=reason,
            now=now,
            request=request,
            fingerprint=fingerprint,
            nested=nested,
        )
        return await self._writer.write(proposal, dry_run=dry_run)

    @property
    def guard(self) -> ClockGuard:
        """What doubts the clock."""
        return self.node.guard

    def clock_doubts(self) -> list[str]:
        """See RegistryStore."""
        return self.guard.doubts(self.records)

    async def accept_clock(self) -> None:
        """See RegistryStore."""
        await self.node.with_writer(lambda replica: replica.accept_clock(self.guard))

    async def acknowledge_losses(self) -> Losses:
        """Somebody has looked at what Redis lost: let what it has be in force. What was lost."""
        losses = await self.node.with_writer(Replica.acknowledge_losses)
        self.refresh()
        return losses

    async def checkpoint(self) -> bool:
        """Store an image of the replica and trim the stream; see Checkpoints.make."""
        return await self._checkpoints.make()

    async def reseed(self) -> None:
        """Give a Redis that holds no journal this node's replica; see Writer.reseed."""
        await self._writer.reseed()

    # The other nodes --------------------------------------------------------------------------

    async def acknowledgements(self, order: str) -> list[tuple[str, str, str]]:
        """Node, acknowledgement and the node's key (JWK) for an order as it now is.

        Raises:
            StoreUnavailableError: Redis cannot be asked.
        """
        found = await self.read(lambda file: file.get(Kind.ORDER, order))
        if found is None or not isinstance(found[1], Order):
            return []
        try:
            return await self.node.journal.acknowledgements(order, order_digest(found[1]))
        except UNREACHABLE as error:
            await self.node.failed(error)
            raise StoreUnavailableError(f"Redis cannot be reached ({reason_text(error)})") from None

    async def nodes(self) -> list[dict[str, Any]]:
        """The nodes that ever took part: node, seen, cursor, version, key.

        Raises:
            StoreUnavailableError: Redis cannot be asked.
        """
        try:
            found = await self.node.journal.nodes()
        except UNREACHABLE as error:
            await self.node.failed(error)
            raise StoreUnavailableError(f"Redis cannot be reached ({reason_text(error)})") from None
        return [asdict(entry) for entry in found]
