"""How a node follows the journal: compare, catch up, listen, and give signs of life."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Sequence
from typing import Final

from redis.exceptions import ResponseError

from zhenxian.core.errors import ConfigError, StoreUnavailableError, ZhenxianError
from zhenxian.registry.orders import OrderFault
from zhenxian.stores.fleet.acknowledgements import Acknowledgements
from zhenxian.stores.fleet.checkpoints import Checkpoints
from zhenxian.stores.fleet.comparison import Comparison
from zhenxian.stores.fleet.entry import DivergedError, Entry, GapError, Mark
from zhenxian.stores.fleet.journal import MAX_RANGE, NodeEntry, State
from zhenxian.stores.fleet.link import UNREACHABLE, reason_text, refused, unwritable
from zhenxian.stores.fleet.node import FleetNode, Remark
from zhenxian.stores.fleet.rebuild import Rebuild
from zhenxian.stores.fleet.states import Event
from zhenxian.stores.fleet.view import FleetView

PAUSE: Final = 0.5  # seconds, at most, before Redis is tried again
_LONG_PAUSE: Final = 2.0  # likewise, when somebody must do something first
_RESYNCS: Final = 3  # times a sync that was overtaken is begun again
_HEARTBEAT_EVERY: Final = 1.0  # seconds between two signs of life of a node
_TWIN_SECONDS: Final = 10  # a node of the same name with another key that was seen since then

_logger = logging.getLogger(__name__)


class Follower:
    """What keeps one node's replica as the journal has it."""

    def __init__(
        self,
        node: FleetNode,
        view: FleetView,
        acknowledgements: Acknowledgements,
        checkpoints: Checkpoints,
        comparison: Comparison,
    ) -> None:
        self._node = node
        self._comparison = comparison
        self._view = view
        self._acknowledgements = acknowledgements
        self._checkpoints = checkpoints
        self._rebuild = Rebuild(node, view, acknowledgements)
        self._syncing = asyncio.Lock()
        self._beat = float("-inf")  # when the last sign of life was given

    # Life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Reach Redis and catch up, if it can be reached; otherwise the replica serves as it is.

        Raises:
            ConfigError: Redis refuses the credentials, or keeps nothing on disk.
        """
        await self._reconsider(())
        try:
            await self._examine()
            await self.sync()
            await self._heartbeat()
        except StoreUnavailableError as error:
            _logger.warning("the fleet's Redis: %s", error)
        except UNREACHABLE as error:
            await self._node.failed(error)
            text = refused(error)
            if text is not None:
                raise ConfigError(text) from None
            _logger.warning("Redis cannot be reached: %s", reason_text(error))

    async def run(self) -> None:
        """Take over commits as they come, for ever; every failure is told and tried again."""
        condition = self._node.condition
        while True:
            try:
                await self.sync()
                await self._heartbeat()
                await self._listen()
            except UNREACHABLE as error:
                await self._node.failed(error)
            except (ZhenxianError, ValueError) as error:
                text = f"the registry cannot be followed: {error}"
                condition.learn(Event.NOT_TAKEN, text)
            _end_if_cancelled()
            pause = _LONG_PAUSE if condition.halted else PAUSE
            await asyncio.sleep(pause * random.random())  # noqa: S311 -- spreads nodes in time

    async def _listen(self) -> None:
        """Take over commits while they follow from one another."""
        node, options = self._node, self._node.options
        wait = min(1.0, options.lag_limit / 3, options.timeout / 2)
        while True:
            mark = await node.mark()
            entries, more = await node.journal.listen(mark.seq, wait)
            heard = node.clock()
            _end_if_cancelled()
            if entries and mark.journal:
                await self._hear(mark.journal, entries, more=more, heard=heard)
            else:
                # Silence is also what a journal that went back, or away, sounds like.
                await self.sync()
            if node.clock() - self._beat >= _HEARTBEAT_EVERY:
                await self._heartbeat()

    async def _hear(
        self, journal: str, entries: Sequence[Entry], *, more: bool, heard: float
    ) -> None:
        node = self._node
        try:
            await self.apply(journal, entries)
        except (GapError, DivergedError):
            node.condition.learn(Event.LACKING)
            await self.sync()
            return
        if more:
            node.condition.learn(Event.LACKING)
        else:
            node.caught_up(heard)

    async def _heartbeat(self) -> None:
        """What is done now and then: a sign of life, acknowledgements owed, checkpoints."""
        node = self._node
        self._beat = node.clock()
        await node.link.confirm()
        await self._examine()
        await self._compare_clocks()
        try:
            if node.key is not None:
                await self._sign_of_life(node.key.name, node.key.jwk)
                await self._acknowledgements.send()
            node.remark(Remark.WRITING, None)
        except ResponseError as error:
            text = unwritable(error)
            if text is None and "WRONGTYPE" in str(error):
                text = "a key of this fleet holds something else in Redis; delete it there"
            if text is None:
                raise
            node.remark(Remark.WRITING, text)  # the replica is as current as before
        self._checkpoints.consider()

    async def _compare_clocks(self) -> None:
        node = self._node
        moment, nodes = await node.journal.clocks()
        node.guard.redis_says(moment)
        self._comparison.consider(moment, self._view.seq)
        own = node.key.name if node.key is not None else ""
        node.guard.nodes_say((one.node, one.seen) for one in nodes if one.node != own)

    async def _sign_of_life(self, name: str, key: str) -> None:
        node, now = self._node, int(self._node.guard.wall())
        before = await node.journal.greet(
            NodeEntry(
                node=name, seen=now, cursor=self._view.seq, version=node.options.version, key=key
            )
        )
        twin = before is not None and before.key != key and now - before.seen < _TWIN_SECONDS
        node.remark(
            Remark.TWIN,
            f"another node calls itself {name}: give each its own name" if twin else None,
        )

    # Commits ------------------------------------------------------------------------------------

    async def sync(self) -> None:
        """Compare the replica with the journal and bring it to where that is.

        Raises:
            StoreUnavailableError: it cannot be, and the node's state says why.
            UNREACHABLE: Redis does not answer; tell FleetNode.failed.
        """
        async with self._syncing:
            if not self._node.examined:
                try:
                    await self._examine()
                except ConfigError as error:
                    raise StoreUnavailableError(str(error)) from None
            for _ in range(_RESYNCS):
                try:
                    await self._catch_up()
                except (GapError, DivergedError) as error:
                    await self._rebuild.run(error)
                else:
                    return
            raise StoreUnavailableError("the copy was overtaken while it was being rebuilt")

    async def _examine(self) -> None:
        """See that Redis keeps what it is given; its settings may change while it runs."""
        node = self._node
        node.examined = False
        try:
            warnings = await node.journal.examine()
        except ConfigError as error:
            node.condition.learn(Event.NOT_SAFE, str(error))
            raise
        node.examined = True
        meant = node.options.allow_volatile
        node.remark(Remark.KEEPING, "; ".join(warnings) if warnings and not meant else None)

    async def _catch_up(self) -> None:
        """Read what follows, until there is no more."""
        node = self._node
        while True:
            asked = node.clock()
            # In this order: writes here, and other processes of this file, go on meanwhile.
            mark = await node.mark()
            state = await node.journal.state()
            mark = await self._match_journal(mark, state)
            if state.last < mark.seq:
                raise DivergedError(f"Redis ends at commit {state.last}, this node at {mark.seq}")
            if state.last == mark.seq:
                if state.head != mark.head:
                    raise DivergedError(f"Redis has another commit {mark.seq} than this node")
                node.caught_up(asked)
                return
            # A few that are on their way are what lag_limit allows for; many are a known lack.
            if state.last - mark.seq > MAX_RANGE:
                node.condition.learn(Event.LACKING)
            entries = await node.journal.range(mark.seq + 1)
            if not entries or entries[0].seq > mark.seq + 1:
                raise GapError(f"commits after {mark.seq} are no longer in the stream")
            await self.apply(mark.journal, entries)

    async def _match_journal(self, mark: Mark, state: State) -> Mark:
        """See that replica and Redis speak of one journal; the mark, of that journal."""
        node = self._node
        if mark.seq == 0 and mark.journal != state.journal and (state.journal or not state.last):
            await node.with_writer(lambda replica: replica.begin(state.journal))
            return Mark(state.journal)
        if state.last and not state.journal:
            node.halt(
                Event.NOT_OURS,
                "Redis holds a stream of commits without the journal's id: keys were lost",
            )
        if mark.journal == state.journal:
            if mark.journal or mark.seq == 0:
                return mark
            node.halt(
                Event.NOT_OURS,
                f"this node's copy has {mark.seq} commits of no fleet, and Redis has no journal;"
                " `zhenxian fleet seed` gives Redis this copy",
            )
        if not state.journal:
            node.halt(
                Event.NOT_OURS,
                f"Redis holds no journal, and this node has {mark.seq} commits: Redis lost its"
                " data. Restore it from its own backup, or run `zhenxian fleet seed` on the node"
                " that has most",
            )
        if not node.options.take_over_foreign:
            node.halt(
                Event.NOT_OURS,
                f"Redis holds another journal than this node's copy of {mark.seq} commits: it is"
                " another fleet's, or was begun anew. Correct the URL, or set take_over_foreign"
                " to replace the copy",
            )
        raise DivergedError("Redis holds another journal")

    async def apply(self, journal: str, entries: Sequence[Entry]) -> None:
        """Take over commits. Raises GapError or DivergedError when they do not follow."""
        vet = self._node.vet
        orders, refusals = await self._node.with_writer(
            lambda replica: replica.follow(journal, entries, vet)
        )
        self._view.refresh()
        if refusals:
            await self._reconsider(refusals)
        await self._acknowledgements.sign(orders)

    async def _reconsider(self, fresh: Sequence[str]) -> None:
        """Judge the orders anew that were refused here, and tell which still are.

        Those of an issuer that nobody here knows are told for as long as that is so; others, which
        nobody may ever have signed, when they come (`fresh`).
        """
        epoch, vet = secrets.token_hex(8), self._node.vet
        left = await self._node.with_writer(lambda replica: replica.reconsider(vet, epoch))
        self._view.refresh()
        listed = [text for text in left if OrderFault.UNKNOWN_ISSUER.value in text]
        listed += [text for text in fresh if text not in listed]
        self._node.remark(
            Remark.ORDERS,
            f"orders in the journal are refused here: {'; '.join(listed)}; if their issuer is"
            " missing in registry.issuers, add it and restart this node"
            if listed
            else None,
        )


def _end_if_cancelled() -> None:
    """Python 3.11's asyncio.wait_for, which the client uses, now and then swallows it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
