"""What the nodes of a fleet saw of conduct, exchanged over Redis in the background.

A stream that all read carries for two minutes what all have to know, a hash the findings that
stand, for nodes that come later or were away for longer. Calls go by a stream of each node's own,
from which it takes what it has read; a hash tells who is there, by the time of Redis. No call waits
for any of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import Sequence
from typing import Any, Final

from zhenxian.analytics.codec import Saved
from zhenxian.analytics.shares import Member
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.stores.fleet.link import (
    UNANSWERED,
    FleetOptions,
    GarbledError,
    Link,
    reason_text,
)

DELTAS_FOR: Final = 120  # seconds that a delta stays in the stream
BEAT: Final = 5.0  # seconds between two signs of life
LIVE_FOR: Final = 20_000  # milliseconds after a sign of life for which a node is taken to live
_FORGOTTEN_AFTER: Final = 3_600_000  # milliseconds
_STREAM_FOR: Final = 600  # seconds for which a node's own stream outlives it
_MIXED_FOR: Final = 120.0  # seconds; nodes of the release before say nothing while they see nothing
_AT_ONCE: Final = 64  # deltas read in one round trip
_ANSWERED_WITHIN: Final = 2.0  # seconds; others look twice a second
_ASKED_EVERY: Final = 0.05  # seconds
_ANSWER_FOR: Final = 10  # seconds
_MOST_NAMES: Final = 4_096
_MOST_ASKED: Final = 100  # questions between two looks
_NUMBER: Final = re.compile(rb"[0-9]{1,20}-[0-9]{1,20}")


class FleetExchange:
    """A stores.analytics.file.PartedExchange on Redis; for one event loop.

    A node that was away for longer than the stream reaches back has missed calls that others
    counted, and no findings.
    """

    def __init__(self, options: FleetOptions, node: str, place: str = "") -> None:
        """Connect to nothing yet.

        Args:
            node: another one at each start. place: the same after a restart; see Member.

        Raises:
            ConfigError: the options cannot be used.
        """
        self._link = Link(options)
        self._me = Member(node, place or node)
        self._node = node.encode()
        self._stream = f"{{{options.tag}}}:conduct"
        self._findings = f"{{{options.tag}}}:conduct:findings"
        self._nodes = f"{{{options.tag}}}:conduct:nodes"
        self._to = f"{{{options.tag}}}:conduct:to:"
        self._answers = f"{{{options.tag}}}:conduct:answer:"
        self._heard = b""
        self._own = b"0-0"  # read up to there, of what is for this node alone
        self._heard_at = 0
        self._gap = True
        self._beaten = -BEAT
        self._members: tuple[Member, ...] = ()
        self._names: set[bytes] = set()
        self._strange: float | None = None  # when somebody was heard who is no member
        self._asked: list[tuple[str, str]] = []

    @property
    def name(self) -> str:
        """See PartedExchange."""
        return self._me.name

    @property
    def members(self) -> tuple[Member, ...]:
        """See PartedExchange."""
        return self._members

    @property
    def mixed(self) -> bool:
        """See PartedExchange."""
        return self._strange is not None and time.monotonic() - self._strange < _MIXED_FOR

    async def send(self, deltas: Sequence[bytes], findings: Sequence[Saved], now: int) -> None:
        """See Exchange."""
        put = {one.key: one.content for one in findings if one.content is not None}
        gone = [one.key for one in findings if one.content is None]
        if not (deltas or put or gone):
            return
        del now  # a clock that is ahead would take from the others what they have not read
        oldest = _oldest(self._heard)
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
            made = await pipe.execute()
            for number in made[: len(deltas)]:
                _number(number)
            if not all(isinstance(count, int) for count in made[len(deltas) :]):
                raise GarbledError
        except UNANSWERED as error:
            raise await self._failed(error) from None

    async def deliver(self, parcels: Sequence[tuple[str, bytes]]) -> None:
        """See PartedExchange. Whoever is gone has no stream any more, and none is made for it."""
        if not parcels:
            return
        oldest = _oldest(max(self._heard, self._own, key=_milliseconds))
        try:
            client: Any = await self._link.client()
            pipe = client.pipeline(transaction=False)
            for name, delta in parcels:
                pipe.xadd(
                    self._to + name,
                    {"n": self._node, "d": delta},
                    minid=oldest,
                    approximate=True,
                    nomkstream=True,
                )
            for number in await pipe.execute():
                if number is not None:  # there is no such stream
                    _number(number)
        except UNANSWERED as error:
            raise await self._failed(error) from None

    async def receive(self, now: int) -> list[tuple[str, bytes]]:
        """See Exchange."""
        heard = self._heard
        try:
            client: Any = await self._link.client()
            if time.monotonic() - self._beaten >= BEAT:
                await self._beat(client)
            if not heard:
                newest = await client.xrevrange(self._stream, count=1)
                heard = _number(newest[0][0]) if newest else b"0-0"
            elif now - self._heard_at > DELTAS_FOR // 2:
                self._gap = True
            common, heard = await _read(client, self._stream, heard)
            own, read = await _read(client, self._to + self._me.name, self._own)
            if read != self._own:
                await client.xtrim(self._to + self._me.name, minid=self._own, approximate=False)
            strange = [one[b"n"] for one in common if b"d" in one and self._unknown(one)]
            if strange:
                await self._beat(client)  # it may just have come
            if any(node not in self._names for node in strange):
                self._strange = time.monotonic()
        except UNANSWERED as error:
            raise await self._failed(error) from None
        # Only now: else what was read would be lost.
        self._heard, self._heard_at, self._own = heard, now, read
        found: list[tuple[str, bytes]] = []
        for fields in common:
            node = fields.get(b"n", self._node)
            if node == self._node:
                continue
            if b"q" in fields and len(self._asked) < _MOST_ASKED:
                question = fields[b"q"].decode("utf-8", "replace")
                self._asked.append((fields.get(b"a", b"").decode("ascii", "replace"), question))
            elif b"d" in fields:
                found.append((node.decode("utf-8", "replace"), fields[b"d"]))
        found += [
            (one[b"n"].decode("utf-8", "replace"), one[b"d"])
            for one in own
            if b"d" in one and b"n" in one
        ]
        return found

    def _unknown(self, fields: dict[bytes, bytes]) -> bool:
        node = fields.get(b"n", self._node)
        return node != self._node and node not in self._names

    async def _beat(self, client: Any) -> None:
        """Give a sign of life, and learn who else did."""
        seconds, micros = await client.time()
        at = seconds * 1_000 + micros // 1_000
        own = self._to + self._me.name
        pipe = client.pipeline(transaction=False)
        pipe.hset(self._nodes, self._me.name, f"{at} {self._me.place}")
        pipe.hgetall(self._nodes)
        pipe.xtrim(own, minid=self._own, approximate=False)
        if not await client.exists(own):
            pipe.xadd(own, {"n": self._node})
        pipe.expire(own, _STREAM_FOR)
        _, told, *_ = await pipe.execute()
        live, gone = [], []
        for name, content in told.items():
            since, _, place = content.decode("utf-8", "replace").partition(" ")
            # A sign from times to come is of before Redis' clock was set back.
            silent = abs(at - int(since)) if since.isdecimal() else _FORGOTTEN_AFTER
            if silent < LIVE_FOR:
                live.append(Member(name.decode("utf-8", "replace"), place))
            elif silent >= _FORGOTTEN_AFTER:
                gone.append(name)
        if gone:
            await client.hdel(self._nodes, *gone)
        self._members = tuple(sorted(live))
        # Also those that have just gone: what they left in the stream is of this release.
        self._names = told.keys() | (self._names if len(self._names) < _MOST_NAMES else set())
        self._beaten = time.monotonic()

    async def standing(self) -> list[bytes]:
        """See Exchange. To be asked after `receive`, so that nothing comes between."""
        if not self._gap:
            return []
        try:
            client: Any = await self._link.client()
            found = _texts(await client.hvals(self._findings))
        except UNANSWERED as error:
            raise await self._failed(error) from None
        self._gap = False
        return found

    async def ask(self, question: str) -> bytes | None:
        """See PartedExchange."""
        place = secrets.token_hex(8)
        try:
            client: Any = await self._link.client()
            asked = await client.xadd(
                self._stream,
                {"n": self._node, "q": question, "a": place},
                minid=_oldest(self._heard),
                approximate=True,
            )
            _number(asked)
            until = time.monotonic() + _ANSWERED_WITHIN
            others = len(self._members) - 1
            while others > 0 and time.monotonic() < until:
                answers = _texts(await client.lpop(self._answers + place, _MOST_NAMES) or [])
                for answer in answers:
                    if answer:
                        return answer
                others -= len(answers)
                await asyncio.sleep(_ASKED_EVERY if others > 0 else 0)
        except UNANSWERED as error:
            raise await self._failed(error) from None
        return None

    def asked(self) -> list[tuple[str, str]]:
        """See PartedExchange."""
        asked, self._asked = self._asked, []
        return asked

    async def answer(self, place: str, content: bytes | None) -> None:
        """See PartedExchange."""
        try:
            client: Any = await self._link.client()
            pipe = client.pipeline(transaction=False)
            pipe.rpush(self._answers + place, content or b"")
            pipe.expire(self._answers + place, _ANSWER_FOR)
            await pipe.execute()
        except UNANSWERED as error:
            raise await self._failed(error) from None

    async def _failed(self, error: BaseException) -> StoreUnavailableError:
        self._gap = True
        self._beaten = -BEAT  # others may have gone meanwhile, or taken this one for gone
        await self._link.lost()
        return StoreUnavailableError(f"Redis cannot be asked ({reason_text(error)})")

    async def close(self) -> None:
        """Leave the fleet, if Redis answers, and close the connections."""
        try:
            if not self._gap:
                with contextlib.suppress(*UNANSWERED):  # the others find out
                    await self._leave()
        finally:
            await self._link.close()

    async def _leave(self) -> None:
        client: Any = await self._link.client()
        pipe = client.pipeline(transaction=False)
        pipe.hdel(self._nodes, self._me.name)
        pipe.delete(self._to + self._me.name)
        await pipe.execute()


def _texts(answer: Any) -> list[bytes]:
    """An answer that is a list of texts. Raises GarbledError for another."""
    if isinstance(answer, list) and all(isinstance(text, bytes) for text in answer):
        return answer
    raise GarbledError


async def _read(client: Any, stream: str, after: bytes) -> tuple[list[dict[bytes, bytes]], bytes]:
    """What came into a stream after an entry, and the number of the last one."""
    found: list[dict[bytes, bytes]] = []
    while True:
        entries = await client.xrange(stream, min=b"(" + after, count=_AT_ONCE)
        for number, fields in entries:
            if not isinstance(fields, dict):
                raise GarbledError
            after = _number(number)
            found.append(fields)
        if len(entries) < _AT_ONCE:
            return found, after


def _number(answer: Any) -> bytes:
    """The number of a stream's entry. Raises GarbledError for another answer."""
    if isinstance(answer, bytes) and _NUMBER.fullmatch(answer):
        return answer
    raise GarbledError


def _milliseconds(number: bytes) -> int:
    """When an entry of a stream was made, by the time of Redis."""
    first, _, _ = number.partition(b"-")
    return int(first or 0)


def _oldest(newest: bytes) -> int:
    return max(0, _milliseconds(newest) - DELTAS_FOR * 1_000)
