"""Checkpoints: an image of the replica on Redis, so that the stream need not keep everything.

After so many commits or octets one node stores an image and trims the stream. Ended bindings are
not in the image; their history is in the files of the nodes that saw them.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from zhenxian.core.errors import ZhenxianError
from zhenxian.stores.clock import LATE
from zhenxian.stores.ending import ended
from zhenxian.stores.fleet.image import make_image
from zhenxian.stores.fleet.link import UNREACHABLE, reason_text
from zhenxian.stores.fleet.node import FleetNode, Remark


class Checkpoints:
    """The checkpoints that one node makes."""

    def __init__(self, node: FleetNode) -> None:
        self._node = node
        self._considering: asyncio.Task[None] | None = None

    def consider(self) -> None:
        """Begin to make one when the stream has grown enough, beside everything else."""
        if self._considering is None or self._considering.done():
            self._considering = asyncio.get_running_loop().create_task(self._consider())

    async def close(self) -> None:
        """End the one under way."""
        if self._considering is not None:
            await ended([self._considering])

    async def _consider(self) -> None:
        node, options = self._node, self._node.options
        text = None
        try:
            state = await node.journal.state()
            grown = state.last - state.checkpoint >= options.checkpoint_commits
            if grown or state.grown >= max(options.checkpoint_bytes, state.size):
                await self.make()
        except UNREACHABLE as error:
            text = f"no checkpoint could be stored: {reason_text(error)}"
        except ZhenxianError as error:
            text = f"no checkpoint could be stored: {error}"
        node.remark(Remark.CHECKPOINT, text)

    async def make(self) -> bool:
        """Store an image of the replica and trim the stream; False when another node is at it.

        Raises:
            StoreUnavailableError: no disk for the image, or what Redis says (or UNREACHABLE).
        """
        if not await self._node.journal.lock():
            return False
        try:
            return await self.publish(reseed=False)
        finally:
            await self._node.journal.unlock()

    async def publish(self, *, reseed: bool) -> bool:
        """Store an image of the replica; False when it does not belong to what Redis holds.

        Args:
            reseed: there is no journal: this is to be it.
        """
        path = self._node.path
        folder = Path(tempfile.mkdtemp(prefix=".fleet-", dir=path.parent))
        try:
            image = folder / "image.db"
            moment, _ = await self._node.journal.clocks()
            # By the clock that is behind, and late: what it leaves out is gone for who reads it.
            now = int(min(moment, self._node.guard.wall())) - LATE
            mark = await asyncio.to_thread(make_image, path, image, now)
            return await self._node.journal.publish(image, mark, reseed=reseed)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
