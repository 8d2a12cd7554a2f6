"""What the nodes of a fleet saw of conduct, exchanged over Redis in the background.

A stream carries deltas for two minutes, a hash the findings that stand, for nodes that come later
or were away for longer. No call waits for any of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from zhenxian.analytics.codec import Saved
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.stores.fleet.link import UNREACHABLE, FleetOptions, Link, reason_text

DELTAS_FOR: Final = 120  # seconds that a delta stays in the stream
_AT_ONCE: Final = 64  # deltas read in one round trip


class FleetExchange:
    """A stores.analytics.file.Exchange on Redis; for one event loop.

    A node that was away for longer than the stream reaches back has missed calls that others
    counted, and no findings.
    """

    def __init__(self, options: FleetOptions, node: str) -> None:
        """Raises ConfigError; nothing is connected yet."""
        self._link = Link(options)
        self._node = node.encode()
        self._stream = f"{{{options.tag}}}:conduct"
        self._findings = f"{{{options.tag}}}:conduct:findings"
        self._heard = b""
        self._heard_at = 0
        self._gap = True

    async def send(self, deltas: Sequence[bytes], findings: Sequence[Saved], now: int) -> None:
        """See Exchange."""
        put = {one.key: one.content for one in findings if one.content is not None}
        gone = [one.key for one in findings if one.content is None]
        if not (deltas or put or gone):
            return
        del now  # a clock that is ahead would take from the others what they have not read
        heard, _, _ = self._heard.partition(b"-")
        oldest = max(0, int(heard or 0) - DELTAS_FOR * 1_000)
        try:
            client: Any = await self._link.client()
            pipe = client.pipeline(transaction=False)
            for delta in deltas:
                pipe.xadd(
                    self._stream,
                    {"n": self._node, "d": delta},
                    minid=oldest,
                    approximate=True,
                )
            if put:
                pipe.hset(self._findings, mapping=put)
            if gone:
                pipe.hdel(self._findings, *gone)
            await pipe.execute()
        except UNREACHABLE as error:
            raise await self._failed(error) from None

    async def receive(self, now: int) -> list[tuple[str, bytes]]:
        """See Exchange."""
        found: list[tuple[str, bytes]] = []
        heard = self._heard
        try:
            client: Any = await self._link.client()
            if not heard:
                newest = await client.xrevrange(self._stream, count=1)
                heard = newest[0][0] if newest else b"0-0"
            elif now - self._heard_at > DELTAS_FOR // 2:
                self._gap = True
            while True:
                entries = await client.xrange(self._stream, min=b"(" + heard, count=_AT_ONCE)
                for number, fields in entries:
                    heard = number
                    if fields.get(b"n", self._node) != self._node and b"d" in fields:
                        found.append((fields[b"n"].decode("utf-8", "replace"), fields[b"d"]))
                if len(entries) < _AT_ONCE:
                    break
        except UNREACHABLE as error:
            raise await self._failed(error) from None
        self._heard, self._heard_at = heard, now  # only now: else what was read would be lost
        return found

    async def standing(self) -> list[bytes]:
        """See Exchange. To be asked after `receive`, so that nothing comes between."""
        if not self._gap:
            return []
        try:
            client: Any = await self._link.client()
            found: list[bytes] = await client.hvals(self._findings)
        except UNREACHABLE as error:
            raise await self._failed(error) from None
        self._gap = False
        return found

    async def _failed(self, error: BaseException) -> StoreUnavailableError:
        self._gap = True
        await self._link.lost()
        return StoreUnavailableError(f"Redis cannot be asked ({reason_text(error)})")

    async def close(self) -> None:
        """Close the connections."""
        await self._link.close()
