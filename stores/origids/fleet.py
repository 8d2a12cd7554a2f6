"""Origids of calls for a whole fleet: each node sends what it gave to Redis, behind the calls."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any, Final

import msgspec

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.signer.origids import Given
from zhenxian.stores.fleet.link import (
    UNANSWERED,
    FleetOptions,
    GarbledError,
    Link,
    reason_text,
    unwritable,
)
from zhenxian.stores.origids.file import Added, OrigidFile

_AT_ONCE: Final = 1_000  # sent in one round trip

_logger = logging.getLogger(__name__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Given).decode


class FleetOrigids:
    """Sends what a node's file was added to, and finds what others sent. For one event loop.

    What Redis did not take is sent again: the file says how far it was sent. Redis keeps each for
    as long as the file does, and forgets it by itself.
    """

    def __init__(self, options: FleetOptions, file: OrigidFile | None, keep: int) -> None:
        """Raises ConfigError; nothing is connected yet.

        Args:
            file: None for a node that gives none.
            keep: seconds.
        """
        self._link = Link(options)
        self._timeout = options.timeout
        self._prefix = f"{options.tag}:origid:".encode()
        self._file = file
        self._keep = keep
        self.problem: str | None = None

    async def send(self, now: int) -> None:
        """Send all that was not sent yet. Never raises."""
        file = self._file
        if file is None:
            return
        try:
            while rows := file.unsent(_AT_ONCE):
                async with asyncio.timeout(self._timeout):
                    await self._put(rows, now)
                file.sent(rows)
                if len(rows) < _AT_ONCE:
                    break
            self.problem = None  # also when another worker sent them
        except StoreUnavailableError as error:
            self._tell(str(error))
        except UNANSWERED as error:
            await self._link.lost()
            self._tell(unwritable(error) or reason_text(error))

    async def find(self, origid: str) -> Given | None:
        """What an origid was given for, on any node. Raises StoreUnavailableError."""
        try:
            key = self._prefix + str(uuid.UUID(origid)).encode()
        except ValueError:
            return None
        try:
            async with asyncio.timeout(self._timeout):
                client: Any = await self._link.spread()
                value = await client.get(key)
            return _decode(value) if value is not None else None
        except msgspec.MsgspecError as error:
            raise StoreUnavailableError(f"a damaged entry: {error}") from None
        except UNANSWERED as error:
            await self._link.lost()
            raise StoreUnavailableError(f"Redis cannot be asked: {reason_text(error)}") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._link.close()

    async def _put(self, rows: list[Added], now: int) -> None:
        client: Any = await self._link.spread()
        pipe = client.pipeline(transaction=False)
        for _, origid, given in rows:
            left = given.at + self._keep - now
            if left > 0:
                # Given once, and by nobody else: what stands there is this very entry.
                pipe.set(self._prefix + origid.encode(), _encode(given), ex=left, nx=True)
        # None for what stands there already. What Redis may not have is sent again.
        if any(done not in (True, None) for done in await pipe.execute()):
            raise GarbledError

    def _tell(self, problem: str) -> None:
        if self.problem != problem:
            _logger.warning("origids of calls are not sent to the fleet: %s", problem)
        self.problem = problem
