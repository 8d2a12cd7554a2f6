"""Tokens seen anywhere in a fleet: this node's memory first, then one round trip to Redis."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import structs
from redis.exceptions import ResponseError

from stores.redislink import UNREACHABLE, FleetOptions, Link, told, unwritable
from verifier.replay import Sighting

MAX_KEPT: Final = 500_000  # answers remembered; the oldest goes first, since Redis knows them too
_TIMEOUT: Final = 0.2  # seconds a call waits for Redis
_PAUSE: Final = 0.5  # seconds Redis is left alone after it did not answer
_NO_CALL: Final = b"-"  # stands for a token that came without a Call-ID

_logger = logging.getLogger(__name__)


class FleetReplayStore:
    """A verifier.replay.SharedReplayStore on Redis, for one event loop.

    Keys have no hash tag: a Cluster spreads them. A token counts as seen once Redis has
    recorded it; when Redis cannot be asked the answer is None and nothing is remembered here. What
    Redis forgets (a restart without persistence, a failover to a replica that lagged) is a replay
    that may pass on a node that has not seen the token itself.
    """

    def __init__(
        self,
        options: FleetOptions,
        *,
        timeout: float = _TIMEOUT,
        limit: int = MAX_KEPT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ConfigError; nothing is connected yet."""
        self._link = Link(structs.replace(options, timeout=timeout))
        self._prefix = f"{options.tag}:seen:".encode()
        self._timeout = timeout
        self._clock = clock
        self._known: dict[bytes, tuple[bytes, int]] = {}
        self._order: deque[tuple[bytes, int]] = deque()
        self._limit = limit
        self._rest_until = float("-inf")
        self.problem: str | None = None

    def __len__(self) -> int:
        return len(self._known)

    async def first_seen_all(self, sightings: Sequence[Sighting], now: int) -> list[bool | None]:
        """See SharedReplayStore. All are asked in one round trip; it takes `timeout` at most."""
        self._forget(now)
        answers: list[bool | None] = []
        asked: list[tuple[int, Sighting, bytes]] = []
        for index, sighting in enumerate(sightings):
            value = _value(sighting.call_id)
            known = self._known.get(sighting.key)
            answers.append(None if known is None else _same(known[0], value))
            if known is None:
                asked.append((index, sighting, value))
        if not asked or self._clock() < self._rest_until:
            return answers
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._ask(asked, now)
        except UNREACHABLE as error:
            await self._failed(f"Redis cannot be asked for replays: {told(error)}")
            return answers
        problem = None
        for (index, sighting, value), before in zip(asked, found, strict=True):
            if isinstance(before, Exception):
                problem = unwritable(before) or told(before)
                continue
            first = before is None
            answers[index] = first or _same(before, value)
            self._keep(sighting.key, value if first else before, sighting.until)
        if problem is not None:
            await self._failed(f"Redis does not record tokens: {problem}")
        else:
            self.problem = None
        return answers

    async def mend(self) -> None:
        """After a failure, see whether Redis answers again; a node without calls gets well too."""
        if self.problem is None or self._clock() < self._rest_until:
            return
        probe = [(0, Sighting(b"probe", None, 0), _NO_CALL)]
        try:
            async with asyncio.timeout(self._timeout):
                (found,) = await self._ask(probe, 0)
        except UNREACHABLE as error:
            await self._failed(f"Redis cannot be asked for replays: {told(error)}")
            return
        if isinstance(found, Exception):
            await self._failed(f"Redis does not record tokens: {unwritable(found) or told(found)}")
        else:
            self.problem = None

    async def close(self) -> None:
        """Close the connections."""
        await self._link.close()

    async def _ask(self, asked: Sequence[tuple[int, Sighting, bytes]], now: int) -> list[Any]:
        client: Any = await self._link.spread()
        pipe = client.pipeline(transaction=False)
        for _, sighting, value in asked:
            # One second longer than the token is fresh: Redis counts from its own instant.
            left = max(1, sighting.until - now + 1)
            pipe.set(self._prefix + sighting.key, value, ex=left, nx=True, get=True)
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

    def _keep(self, key: bytes, value: bytes, until: int) -> None:
        if key not in self._known:
            while len(self._known) >= self._limit:
                self._known.pop(self._order.popleft()[0], None)
            self._order.append((key, until))
        self._known[key] = (value, until)

    def _forget(self, now: int) -> None:
        while self._order and self._order[0][1] < now:
            self._known.pop(self._order.popleft()[0], None)


def _value(call_id: str | None) -> bytes:
    """What stands for a Call-ID: short, whatever its length."""
    if call_id is None:
        return _NO_CALL
    return hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).digest()[:16]


def _same(before: bytes, value: bytes) -> bool:
    """True when both times it was the same call; without a Call-ID nothing says that it was."""
    return value != _NO_CALL and before == value
