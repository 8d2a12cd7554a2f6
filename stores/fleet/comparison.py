"""How the nodes of a fleet find out that their copies differ: in rounds, by digest.

The first node of a round says as of which commit; each puts its digest beside the others' on Redis.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping
from threading import Event
from typing import Final

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.stores.ending import ended
from zhenxian.stores.fleet.digest import digest_of
from zhenxian.stores.fleet.link import UNREACHABLE, reason_text
from zhenxian.stores.fleet.node import FleetNode, Remark

_SHARE: Final = 20  # a node computes for one part of so many of its time

_logger = logging.getLogger(__name__)


class Comparison:
    """One node's part in comparing."""

    def __init__(self, node: FleetNode) -> None:
        self._node = node
        self._task: asyncio.Task[None] | None = None
        self._stop = Event()
        self._computed = -1  # the last round that this node has computed its digest for
        self._every = 1  # so many rounds: the more, the longer one takes; a power of two

    def consider(self, moment: float, seq: int) -> None:
        """Take part in the round of that moment, of Redis' time, beside everything else.

        Args:
            seq: the last commit here.
        """
        if self._node.key is None or not self._node.current:
            return
        if self._task is None or self._task.done():
            loop = asyncio.get_running_loop()
            self._task = loop.create_task(self._take_part(moment, seq))

    async def close(self) -> None:
        """End what is under way."""
        self._stop.set()
        if self._task is not None:
            await ended([self._task])

    async def _take_part(self, moment: float, seq: int) -> None:
        node, every = self._node, self._node.options.compare_every
        this = int(moment // every)
        try:
            if this == self._computed or this % self._every:
                return
            before, self._computed = self._computed, -1
            if before >= 0:  # all have had the time since then to say theirs
                as_of, _, found = await node.journal.comparison(before, seq, int(moment))
                self._judge(as_of, found)
            as_of, until, found = await node.journal.comparison(this, seq, int(moment))
            if as_of <= seq and await self._publish(this, as_of, until, found):
                self._computed = this
        except UNREACHABLE as error:
            _logger.info("the copies cannot be compared: %s", reason_text(error))
        except StoreUnavailableError as error:
            node.remark(Remark.COMPARING, f"this node's copy cannot be compared: {error}")

    async def _publish(self, this: int, as_of: int, until: int, found: Mapping[str, str]) -> bool:
        """Compute and publish, unless another process of this node did so; False when stopped."""
        node = self._node
        if node.key is None or node.key.name in found:
            return node.key is not None
        begun = time.monotonic()
        digest = await asyncio.to_thread(digest_of, node.path, as_of, until, self._stop)
        if digest is None:
            return False
        took, self._every = time.monotonic() - begun, 1
        while took * _SHARE > node.options.compare_every * self._every:
            self._every *= 2
        # Releases may write one record in two ways.
        await node.journal.compare(this, node.key.name, f"{node.options.version} {digest}")
        return True

    def _judge(self, seq: int, found: Mapping[str, str]) -> None:
        node = self._node
        mine = found.get(node.key.name) if node.key is not None else None
        if mine is None:
            return
        release = mine.partition(" ")[0]
        same = {name: one for name, one in found.items() if one.partition(" ")[0] == release}
        if len(same) < 2:
            return
        others = sorted(name for name, one in same.items() if one != mine)
        text = None
        if 2 * Counter(same.values())[mine] > len(same):
            node.differ(None)
            if others:
                text = (
                    f"the registry of {', '.join(others)} differs from that of most (commit {seq})"
                )
        else:
            node.differ(
                f"the registry here differs from that of {', '.join(others)} (commit {seq}): a copy"
                " was changed, or lost something. Stop the node whose copy is wrong, move its"
                " registry.db away, and start it again: it is made anew"
            )
        node.remark(Remark.COMPARING, text)
