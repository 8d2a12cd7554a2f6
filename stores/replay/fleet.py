"""Tokens seen anywhere in a fleet: this node's memory first, then one round trip to Redis."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

from msgspec import structs
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ResponseError

from zhenxian.stores.fleet.link import (
    UNREACHABLE,
    FleetOptions,
    GarbledError,
    Link,
    in_form,
    reason_text,
    unwritable,
)
from zhenxian.stores.replay.recent import Recent, marked, packed, unpacked
from zhenxian.verifier.replay import NEW, REPEAT_SECONDS, REPLAY, UNKNOWN, Sighted, Sighting, again

MAX_KEPT: Final = 500_000  # answers remembered; the oldest goes first, since Redis knows them too
_TIMEOUT: Final = 0.2  # seconds a call waits for Redis
_PAUSE: Final = 0.5  # seconds Redis is left alone after it did not answer
_PLAIN: Final = b"-"  # stands for a question that cannot be told from a replay
# All keys of a batch in one command. Each is told apart from the others, errors included.
_SIGHT: Final = """
local told = {}
for i, key in ipairs(KEYS) do
  told[i] = redis.pcall('SET', key, ARGV[2 * i - 1], 'EX', ARGV[2 * i], 'NX', 'GET')
end
return told
"""

_logger = logging.getLogger(__name__)


class FleetReplayStore:
    """A verifier.replay.SharedReplayStore on Redis, for one event loop.

    Keys have no hash tag: a Cluster spreads them. A token counts as seen once Redis has
    recorded it; when Redis cannot be asked the answer is UNKNOWN and nothing is remembered here.
    What Redis forgets (a restart without persistence, a failover to a replica that lagged) is a
    replay that may pass on a node that has not seen the token itself.

    The command that asks, one for a batch of calls, also carries the question and the answer it
    gets if the token is new, and brings back those of who asked first: a question that is asked
    again on another node, even while the first is being answered, takes no further round trip.
    """

    def __init__(
        self,
        options: FleetOptions,
        *,
        timeout: float = _TIMEOUT,
        limit: int = MAX_KEPT,
        window: float = REPEAT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigError; nothing is connected yet."""
        self._link = Link(structs.replace(options, timeout=timeout))
        self._prefix = f"{options.tag}:seen:".encode()
        self._timeout = timeout
        self._clock = clock
        self._window = window
        self._known: set[bytes] = set()
        self._recent = Recent(window)
        self._order: deque[tuple[bytes, int]] = deque()
        self._limit = limit
        self._rest_until = float("-inf")
        self.problem: str | None = None

    def __len__(self) -> int:
        return len(self._known)

    async def sight_all(self, sightings: Sequence[Sighting], now: int) -> list[Sighted]:
        """See SharedReplayStore. All are asked by one command; it takes `timeout` at most."""
        self._forget(now)
        answers: list[Sighted] = []
        asked: list[tuple[int, Sighting]] = []
        for index, sighting in enumerate(map(marked, sightings)):
            if sighting.key in self._known:
                answers.append(self._recent.again(sighting.key, sighting.question))
            else:
                answers.append(UNKNOWN)
                asked.append((index, sighting))
        if not asked or self._clock() < self._rest_until:
            return answers
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._ask([sighting for _, sighting in asked], now)
        except UNREACHABLE as error:
            await self._failed(f"Redis cannot be asked for replays: {reason_text(error)}")
            return answers
        problem = None
        for (index, sighting), before in zip(asked, found, strict=True):
            if isinstance(before, Exception):
                problem = problem or _hindrance(before)
            else:
                answers[index] = self._learned(sighting, before)
        if problem is not None:
            await self._failed(f"Redis does not record tokens: {problem}")
        else:
            self.problem = None
        return answers

    def _learned(self, sighting: Sighting, before: bytes | None) -> Sighted:
        """Keep what Redis knows of a token now, and tell what that makes of the question."""
        self._keep(sighting.key, sighting.until)
        if before is None:
            if sighting.question is not None:
                self._recent.keep(sighting.key, sighting.question, sighting.answer)
            return NEW
        first = unpacked(before)
        if first is None:
            return REPLAY
        self._recent.keep(sighting.key, *first)
        return again(*first, sighting.question, self._window)

    async def mend(self) -> None:
        """After a failure, see whether Redis answers again; a node without calls gets well too."""
        if self.problem is None or self._clock() < self._rest_until:
            return
        try:
            async with asyncio.timeout(self._timeout):
                (found,) = await self._ask([Sighting(b"probe", 0)], 0)
        except UNREACHABLE as error:
            await self._failed(f"Redis cannot be asked for replays: {reason_text(error)}")
            return
        problem = _hindrance(found) if isinstance(found, Exception) else None
        if problem is not None:
            await self._failed(f"Redis does not record tokens: {problem}")
        else:
            self.problem = None

    async def close(self) -> None:
        """Close the connections."""
        await self._link.close()

    @in_form
    async def _ask(self, asked: Sequence[Sighting], now: int) -> list[bytes | Exception | None]:
        """What Redis holds of each, None for a new one; or the error that its key met with."""
        found = await self._found(asked, now)
        known = (bytes, Exception, type(None))
        if len(found) != len(asked) or not all(isinstance(answer, known) for answer in found):
            raise GarbledError
        return found

    async def _found(self, asked: Sequence[Sighting], now: int) -> list[Any]:
        client: Any = await self._link.spread()
        keys = [self._prefix + sighting.key for sighting in asked]
        values = [packed(sighting) or _PLAIN for sighting in asked]
        # One second longer than the token is fresh: Redis counts from its own instant.
        left = [max(1, sighting.until - now + 1) for sighting in asked]
        if not isinstance(client, RedisCluster):
            pairs = chain.from_iterable(zip(values, left, strict=True))
            try:
                return list(await client.eval(_SIGHT, len(keys), *keys, *pairs))
            except ResponseError as error:
                return [error] * len(asked)
        # A script's keys must lie on one node of a Cluster: each gets the commands of its own.
        pipe = client.pipeline(transaction=False)
        for key, value, seconds in zip(keys, values, left, strict=True):
            pipe.set(key, value, ex=seconds, nx=True, get=True)
        found: list[Any] = await pipe.execute(raise_on_error=False)
        for answer in found:
            if isinstance(answer, UNREACHABLE) and not isinstance(answer, ResponseError):
                raise answer
        return found

    async def _failed(self, text: str) -> None:
        if self.problem != text:
            _logger.warning("%s", text)
        self.problem = text
        self._rest_until = self._clock() + _PAUSE
        await self._link.lost()

    def _keep(self, key: bytes, until: int) -> None:
        if key not in self._known:
            while len(self._known) >= self._limit:
                self._known.discard(self._order.popleft()[0])
            self._order.append((key, until))
            self._known.add(key)

    def _forget(self, now: int) -> None:
        while self._order and self._order[0][1] < now:
            self._known.discard(self._order.popleft()[0])


def _hindrance(error: Exception) -> str | None:
    """What keeps tokens from being recorded; None when it is only what stands at one key."""
    return None if "WRONGTYPE" in str(error) else unwritable(error) or reason_text(error)
