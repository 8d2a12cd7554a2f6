"""The embedded engine: one file that this machine's processes read and write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from zhenxian.registry.journal import Change, Commit
from zhenxian.registry.model import Order
from zhenxian.registry.node_key import NodeKey
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.view import MAX_KEPT, RegistryView

REGISTRY_FILE: Final = "registry.db"  # below the data folder

_Value = TypeVar("_Value")


class EmbeddedRegistry(RegistryView):
    """The registry of one machine. Calls read it here; writes happen in a thread of their own.

    Several processes may do so with one file: a commit of one counts for all from their next
    batch of calls on.
    """

    def __init__(self, path: Path, node: NodeKey | None = None, *, limit: int = MAX_KEPT) -> None:
        """Raises StoreUnavailableError, or ConfigError for a file of a newer release.

        Args:
            node: signs acknowledgements of orders; without it none are made.
        """
        self._node = node
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="registry")
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
        dry_run: bool = False,
    ) -> Commit:
        """See RegistryFile.write. Acknowledged: on disk, and in force for the next call here."""

        def work(book: RegistryFile) -> Commit:
            return book.write(
                changes,
                author=author,
                reason=reason,
                now=now,
                request=request,
                fingerprint=fingerprint,
                dry_run=dry_run,
            )

        commit = await self.with_writer(work)
        self.refresh()
        node = self._node
        orders = [change.value for change in commit.changes if isinstance(change.value, Order)]
        if node is not None and orders and not dry_run:
            # In force from here on: every process asks for commits before it answers a call.
            since = time.time_ns() // 1_000_000
            await self.with_writer(lambda book: _acknowledge(book, node, orders, since))
        return commit

    async def acknowledgements(self, order: str) -> list[tuple[str, str, str]]:
        """Node, acknowledgement and the node's key (JWK) for an order."""
        return await self.read(lambda book: book.acknowledgements(order))

    async def nodes(self) -> list[dict[str, Any]]:
        """The nodes that answer calls: this one."""
        node = self._node
        return [
            {
                "node": node.name if node is not None else "",
                "seen": int(time.time()),
                "cursor": self.seq,
                "key": node.jwk if node is not None else "",
            }
        ]

    async def with_writer(self, work: Callable[[RegistryFile], _Value]) -> _Value:
        """Do something with the writing connection, in its thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writing, work, self._writer)

    async def read(self, work: Callable[[RegistryFile], _Value]) -> _Value:
        """Ask something that may take long, away from the calls."""
        return await self.with_writer(work)

    def close(self) -> None:
        """Finish the write under way and close the file."""
        self._writing.shutdown()
        self._writer.close()
        super().close()


def _acknowledge(book: RegistryFile, node: NodeKey, orders: Sequence[Order], since: int) -> None:
    seq, _ = book.last()
    for order in orders:
        book.acknowledge(order.id, node.name, node.acknowledge(order, since, seq), node.jwk)
