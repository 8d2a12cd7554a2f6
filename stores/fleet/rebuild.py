"""A replica made anew from checkpoint and stream, in a file beside it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeAlias

from zhenxian.stores.fleet.acknowledgements import Acknowledgements
from zhenxian.stores.fleet.entry import DivergedError, GapError, Mark, UnreadableError
from zhenxian.stores.fleet.image import check_image
from zhenxian.stores.fleet.node import FleetNode
from zhenxian.stores.fleet.replica import Replica
from zhenxian.stores.fleet.states import Event
from zhenxian.stores.fleet.view import FleetView
from zhenxian.stores.private import bound_aside

_Run: TypeAlias = Callable[[Callable[[], object]], Awaitable[object]]  # in the file's thread
_logger = logging.getLogger(__name__)


class Rebuild:
    """How one node's replica is made anew; calls are answered from it as it was meanwhile."""

    def __init__(
        self, node: FleetNode, view: FleetView, acknowledgements: Acknowledgements
    ) -> None:
        self._node = node
        self._view = view
        self._acknowledgements = acknowledgements

    async def run(self, why: GapError | DivergedError) -> None:
        """Replace the replica, in one transaction, by what Redis has.

        Raises:
            StoreUnavailableError: it cannot be, and the node's state says why.
        """
        node, path = self._node, self._node.path
        node.condition.learn(Event.NOT_FOLLOWING, f"the registry here is being rebuilt: {why}")
        expected = await node.mark()
        folder = Path(tempfile.mkdtemp(prefix=".fleet-", dir=path.parent))
        try:
            image = folder / "image.db"
            found, continues = await self._build(image, expected)
            self._see_whose(found, expected)
            # What was missed is of an earlier time, when less may have been here or more in Redis.
            diverged = isinstance(why, DivergedError) if continues is None else not continues
            has_more = diverged and bool(expected.seq)
            aside = path.with_name(f"{path.stem}.lost-{time.time_ns()}.db") if has_more else None
            made = await node.with_writer(
                lambda replica: replica.make_anew(
                    image,
                    expected,
                    secrets.token_hex(8),
                    aside=aside,
                    diverged=diverged,
                    lost=has_more and found == expected.journal,
                )
            )
            if made and aside is not None:
                self._tell(aside)
        except UnreadableError as error:
            node.halt(Event.NOT_READABLE, f"the registry here cannot be rebuilt ({why}): {error}")
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        self._view.refresh()
        self._acknowledgements.read_again()
        node.condition.learn(Event.REBUILT)
        for order in self._view.kept:
            _logger.error("order %s was lost by Redis; it stays in force here", order.id)

    def _see_whose(self, found: str, expected: Mark) -> None:
        """Replace nothing by a journal that came into Redis since the replica was compared.

        Raises:
            UnreadableError: Redis was emptied meanwhile, or holds another journal now.
        """
        foreign = bool(expected.seq) and found != expected.journal
        if not found or (foreign and not self._node.options.take_over_foreign):
            raise UnreadableError("Redis lost or replaced its journal meanwhile")

    def _tell(self, aside: Path) -> None:
        _logger.error("Redis lost commits; the copy before is kept as %s", aside.name)
        for name in bound_aside(aside.parent, f"{self._node.path.stem}.lost-*.db"):
            _logger.warning("%s, a copy kept before, was removed", name)

    async def _build(self, image: Path, ours: Mark) -> tuple[str, bool | None]:
        """Write the registry as Redis has it to a new file.

        Returns the id of its journal, and whether it continues what this node has; None where that
        cannot be told, since the checkpoint is of later.

        Raises:
            UnreadableError: it cannot be written from what is there.
        """
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="rebuild") as thread:
            run = partial(loop.run_in_executor, thread)
            mark = await self._node.journal.fetch(image)
            if mark is not None:
                await run(lambda: check_image(image))
            replica = await run(lambda: Replica(image, synchronous="OFF"))
            try:
                return await self._fill(replica, mark, ours, run)
            except (GapError, DivergedError) as error:
                raise UnreadableError(
                    f"stream and checkpoint contradict each other: {error}"
                ) from None
            finally:
                await run(replica.close)

    async def _fill(
        self, replica: Replica, mark: Mark | None, ours: Mark, run: _Run
    ) -> tuple[str, bool | None]:
        """Bring the checkpoint at `mark`, or an empty replica, to the stream's end."""
        journal, vet = self._node.journal, self._node.vet
        state = await journal.state()
        start = mark if mark is not None else Mark(state.journal)
        await run(lambda: replica.check_orders(vet))
        await run(lambda: replica.reconsider(vet, ""))
        await run(lambda: replica.belong_to(start.journal, start.head))
        seq, continues = start.seq, None if start.seq > ours.seq else start == ours
        while seq < state.last:
            entries = await journal.range(seq + 1)
            if not entries or entries[0].seq > seq + 1:
                raise UnreadableError(f"neither the stream nor a checkpoint has commit {seq + 1}")
            known = [entry for entry in entries if entry.seq <= ours.seq]
            if known:
                await run(partial(replica.follow, start.journal, known, vet))
                continues = await run(replica.mark) == ours
            if entries[len(known) :]:
                await run(partial(replica.follow, start.journal, entries[len(known) :], vet))
            seq = entries[-1].seq
        return start.journal, continues
