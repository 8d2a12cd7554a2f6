"""The embedded engine: one file that this machine's processes read and write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from zhenxian.core.errors import StoreBusyError, StoreUnavailableError
from zhenxian.core.pace import Pace
from zhenxian.registry.journal import Change, Commit, Nested
from zhenxian.registry.model import Order
from zhenxian.registry.node_key import NodeKey
from zhenxian.registry.stricter import NONE_LOST, Losses
from zhenxian.stores.clock import ClockGuard
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.view import MAX_KEPT, RegistryView

REGISTRY_FILE: Final = "registry.db"  # below the data folder

_Value = TypeVar("_Value")


class EmbeddedRegistry(RegistryView):
    """The registry of one machine. Calls read it here; writes happen in a thread of their own.

    Several processes may do so with one file: a commit of one counts for all from their next
    batch of calls on.

    Attributes:
        problem: why the file takes nothing, since a write failed; None when it does.
    """

    def __init__(
        self,
        path: Path,
        node: NodeKey | None = None,
        *,
        limit: int = MAX_KEPT,
        guard: ClockGuard | None = None,
        version: str = "",
    ) -> None:
        """Raises StoreUnavailableError, or ConfigError for a file of a newer release.

        Args:
            node: signs acknowledgements of orders; without it none are made.
            guard: what doubts the clock; one of its own when left out.
            version: of the program, as `nodes` tells it.
        """
        self._node = node
        self._version = version
        self._failed = False  # and whether it takes something was not seen since
        self.problem: str | None = None
        self.guard = guard if guard is not None else ClockGuard()
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="registry")
        self._writing.submit(int)  # its thread is there before a limit of threads is reached
        self._writer = RegistryFile(path, writer=True)
        super().__init__(path, limit=limit)

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
        """See RegistryFile.write. Acknowledged: on disk, and in force for the next call here.

        Raises:
            StoreUnavailableError: the clock is in doubt, or the disk does not take it.
        """
        if not dry_run:
            self.guard.check(self.records)

        def work(file: RegistryFile) -> Commit:
            return file.write(
                changes,
                author=author,
                reason=reason,
                now=now,
                request=request,
                fingerprint=fingerprint,
                nested=nested,
                dry_run=dry_run,
                pace=Pace(time.perf_counter, time.sleep).through,
            )

        commit = await self.with_writer(work)
        self.refresh()
        node = self._node
        orders = [change.value for change in commit.changes if isinstance(change.value, Order)]
        if node is not None and orders and not dry_run:
            # In force from here on: every process asks for commits before it answers a call.
            since = time.time_ns() // 1_000_000
            await self.with_writer(lambda file: _acknowledge(file, node, orders, since))
        return commit

    async def acknowledgements(self, order: str) -> list[tuple[str, str, str]]:
        """Node, acknowledgement and the node's key (JWK) for an order."""
        return await self.read(lambda file: file.acknowledgements(order))

    async def nodes(self) -> list[dict[str, Any]]:
        """The nodes that answer calls: this one."""
        node = self._node
        return [
            {
                "node": node.name if node is not None else "",
                "seen": int(time.time()),
                "cursor": self.seq,
                "version": self._version,
                "key": node.jwk if node is not None else "",
            }
        ]

    def clock_doubts(self) -> list[str]:
        """See RegistryStore."""
        return self.guard.doubts(self.records)

    async def accept_clock(self) -> None:
        """See RegistryStore."""
        await self.with_writer(self.guard.accept)

    @property
    def losses(self) -> Losses:
        """None: what is acknowledged is in the file."""
        return NONE_LOST

    async def acknowledge_losses(self) -> Losses:
        """See RegistryStore."""
        return NONE_LOST

    async def with_writer(self, work: Callable[[RegistryFile], _Value]) -> _Value:
        """Do something with the writing connection, in its thread."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._writing, work, self._writer)
        except StoreBusyError:  # the file takes what somebody else writes
            raise
        except StoreUnavailableError:
            self._failed = True
            raise

    async def mend(self) -> None:
        """After a write that failed: see whether the file takes something again."""
        if not self._failed:
            return
        try:
            await self.with_writer(RegistryFile.probe)
        except StoreBusyError:
            return  # the next look finds out
        except StoreUnavailableError as error:
            self.problem = f"nothing can be registered: {error}"
        else:
            self._failed, self.problem = False, None

    async def read(self, work: Callable[[RegistryFile], _Value]) -> _Value:
        """Ask something that may take long, away from the calls."""
        return await self.with_writer(work)

    def close(self) -> None:
        """Finish the write under way and close the file."""
        self._writing.shutdown()
        self._writer.close()
        super().close()


def _acknowledge(file: RegistryFile, node: NodeKey, orders: Sequence[Order], since: int) -> None:
    seq, _ = file.last()
    for order in orders:
        file.acknowledge(order.id, node.name, node.acknowledge(order, since, seq), node.jwk)
