"""What the parts of a fleet's node share: Redis, the replica, the node's state and its remarks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import NoReturn, TypeVar

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.registry.node_key import NodeKey
from zhenxian.stores.clock import ClockGuard
from zhenxian.stores.fleet.entry import Mark
from zhenxian.stores.fleet.journal import Journal
from zhenxian.stores.fleet.link import FleetOptions, Link, reason_text, refused, unwritable
from zhenxian.stores.fleet.replica import Replica, Vet
from zhenxian.stores.fleet.states import Condition, Event

_Value = TypeVar("_Value")
_logger = logging.getLogger(__name__)


class Remark(Enum):
    """What an operator should know although no call feels it."""

    TWIN = "twin"
    ORDERS = "orders"
    WRITING = "writing"
    CHECKPOINT = "checkpoint"
    KEEPING = "keeping"
    COMPARING = "comparing"


class FleetNode:
    """One process of one node of a fleet; for one event loop.

    Attributes:
        key: signs acknowledgements of orders; without it none are made.
        vet: see Replica.follow: refuses orders that came by the journal.
        clock: seconds, as time.monotonic. guard: what doubts the wall clock.
        examined: whether the Redis that answers was seen to keep what it is given.
    """

    def __init__(
        self,
        path: Path,
        options: FleetOptions,
        key: NodeKey | None,
        vet: Vet | None,
        clock: Callable[[], float],
    ) -> None:
        """Opens the replica; nothing is connected yet.

        Raises:
            ConfigError: an option that cannot be, or a file of a newer release.
            StoreUnavailableError: the file cannot be opened.
        """
        self.path = path
        self.options = options
        self.key = key
        self.vet = vet
        self.clock = clock
        self.link = Link(options)
        self.journal = Journal(self.link, options)
        self.condition = Condition()
        self.guard = ClockGuard()
        self.examined = False
        self._differs: str | None = None
        self._remarks: dict[Remark, str] = {}
        self._complete_at = float("-inf")  # when the replica was last known to have everything
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="registry")
        # Durable enough: what a power cut takes is read again from the stream.
        self._replica = Replica(path, synchronous="NORMAL")

    def close(self) -> None:
        """Finish the write under way and close the replica."""
        self._thread.shutdown()
        self._replica.close()

    async def with_writer(self, work: Callable[[Replica], _Value]) -> _Value:
        """Do something with the replica, in its thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, self._replica)

    async def mark(self) -> Mark:
        """How far the replica is."""
        return await self.with_writer(Replica.mark)

    # How the replica stands ---------------------------------------------------------------------

    @property
    def lag(self) -> float:
        """Seconds for which commits may be missing here; infinite before the first ones."""
        return self.clock() - self._complete_at

    @property
    def current(self) -> bool:
        """False when a commit older than `lag_limit` seconds may be missing here."""
        return (
            self.condition.complete and self.clock() - self._complete_at <= self.options.lag_limit
        )

    def whole_since(self, moment: float) -> bool:
        """True when what was committed before that moment, on whichever node, is here."""
        return self.condition.complete and self._complete_at >= moment

    def caught_up(self, moment: float) -> None:
        """The replica has all that Redis had at that moment of the clock."""
        self.condition.learn(Event.CAUGHT_UP)
        self._complete_at = max(self._complete_at, moment)

    async def failed(self, error: BaseException) -> None:
        """Remember that Redis did not answer as asked, and look for it anew."""
        if unwritable(error) is not None:
            return
        text = refused(error) or f"Redis cannot be reached: {reason_text(error)}"
        self.condition.learn(Event.NO_ANSWER, text)
        self.examined = False  # what answers next may be another server
        await self.link.lost()

    def halt(self, event: Event, text: str) -> NoReturn:
        """Stop until somebody does something. Raises StoreUnavailableError."""
        self.condition.learn(event, text)
        raise StoreUnavailableError(text)

    # What operators are told ----------------------------------------------------------------------

    def remark(self, about: Remark, text: str | None) -> None:
        """Remember what operators should know, and log it when it is new; None takes it back."""
        if text is None:
            if self._remarks.pop(about, None) is not None:
                _logger.info("solved: %s", about.value)
        elif self._remarks.get(about) != text:
            self._remarks[about] = text
            _logger.warning("%s", text)

    def differ(self, text: str | None) -> None:
        """Remember that the copy here is not what others have; None takes it back."""
        if text is not None and text != self._differs:
            _logger.error("%s", text)
        self._differs = text

    def faults(self) -> list[str]:
        """What keeps calls from being answered as they should, one sentence each."""
        condition = self.condition
        listed = [condition.why] if condition.why else []
        if not self.current and not condition.halted:
            silent = self.lag
            listed.append(
                "the registry here has not caught up with Redis since start"
                if silent == float("inf")
                else f"the registry here may lack commits of the last {silent:.0f} s"
                f" (limit {self.options.lag_limit:g} s)"
            )
        if self._differs is not None:
            listed.append(self._differs)
        return listed

    def remarks(self) -> list[str]:
        """What concerns writes, acknowledgements, or what others put into Redis."""
        return list(self._remarks.values())
