"""The registry of a fleet at scale, and what a verification waits for its one question to Redis.

A registry of millions comes into a fleet by its file: the first node gives it to Redis as a
checkpoint (`zhenxian fleet seed`), and each other node builds its copy from that.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from redis.asyncio import Redis

from bench.holdings import lookups
from bench.machine import BenchError
from bench.orders import redis_server
from zhenxian.registry.journal import put
from zhenxian.registry.model import Kind, Subject
from zhenxian.stores.fleet.importer import FleetImport
from zhenxian.stores.fleet.link import FleetOptions
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.replay.fleet import FleetReplayStore
from zhenxian.verifier.replay import NEW, Question, Sighting

TOGETHER: Final = 16  # calls a busy service finds waiting in one turn of its event loop
_FRESH: Final = 60  # seconds a token is remembered
_ANSWER: Final = bytes(250)  # octets, as of a call that passed


class Waits(Struct, frozen=True):
    """Milliseconds a call waits for Redis, over so many questions."""

    p50: float
    p99: float
    worst: float
    count: int


def measure_step(source: Path, count: int, folder: Path) -> dict[str, Any]:
    """Bring a registry of so many holdings into a new fleet, and measure a node that joins.

    Args:
        source: a registry file that nobody writes to.
        folder: where the two nodes' files and Redis' go; emptied again.

    Raises:
        BenchError: Redis is missing, or the node that joined has not what the first has.
    """
    place = folder / "fleet"
    place.mkdir()
    try:
        with redis_server(place) as url:
            first, second = place / "first.db", place / "second.db"
            shutil.copyfile(source, first)
            seeding, held = asyncio.run(_seed(first, url))
            joining = asyncio.run(_join(second, url, count))
            first.unlink()
            return {
                "holdings": count,
                "seed_rows_per_second": count / seeding,
                "join_rows_per_second": count / joining,
                "redis_bytes_per_holding": held / count,
                "file_bytes_per_holding": second.stat().st_size / count,
                **lookups(second, count),
            }
    finally:
        shutil.rmtree(place)


async def _seed(file: Path, url: str) -> tuple[float, int]:
    registry = FleetRegistry(file, FleetOptions(url=url))
    try:
        began = time.perf_counter()
        await registry.reseed()
        return time.perf_counter() - began, await _used(url)
    finally:
        await registry.aclose()


async def _used(url: str) -> int:
    client: Any = Redis.from_url(url)
    try:
        return int((await client.info("memory"))["used_memory_dataset"])
    finally:
        await client.aclose()


async def _join(file: Path, url: str, count: int) -> float:
    registry = FleetRegistry(file, FleetOptions(url=url))
    try:
        began = time.perf_counter()
        await registry.start()
        taken = time.perf_counter() - began
        ((held,),) = await registry.read(
            lambda file: file.connection.all("SELECT count(*) FROM holdings")
        )
        if held != count:
            raise BenchError(f"the node that joined has {held} of {count} holdings")
        return taken
    finally:
        await registry.aclose()


def measure_live(rows: int, folder: Path) -> float:
    """Rows a second of an import into a fleet that runs: commits of the journal."""
    place = folder / "live"
    place.mkdir()
    try:
        with redis_server(place) as url:
            return asyncio.run(_live(rows, place / "node.db", url))
    finally:
        shutil.rmtree(place)


async def _live(count: int, file: Path, url: str) -> float:
    registry = FleetRegistry(file, FleetOptions(url=url))
    now = int(time.time())
    try:
        await registry.start()
        await registry.write([put(Subject(id="s"))], author="bench", reason="bench", now=now)
        work = FleetImport(registry, Kind.HOLDING, author="bench", reason="bench", now=now)
        lines = [f"{8613000000000 + n},s,verified\n" for n in range(count)]
        began = time.perf_counter()
        report = await work.run(["first,subject,verification\n", *lines])
        if report.changed != count:
            raise BenchError(f"{report.rejections} rows refused: {report.rejected[:3]}")
        return count / (time.perf_counter() - began)
    finally:
        await registry.aclose()


def measure_questions(count: int, together: int, folder: Path) -> Waits:
    """How long calls wait for Redis to say whether their tokens were seen, so many at a time."""
    place = folder / "replay"
    place.mkdir()
    try:
        with redis_server(place) as url:
            return asyncio.run(_questions(count, together, url))
    finally:
        shutil.rmtree(place)


async def _questions(count: int, together: int, url: str) -> Waits:
    store = FleetReplayStore(FleetOptions(url=url))
    now = int(time.time())
    waits = []
    try:
        for number in range(count + 20):
            asked = [
                Sighting(os.urandom(16), now + _FRESH, Question(now, (b"proxy", b"call")), _ANSWER)
                for _ in range(together)
            ]
            began = time.perf_counter()
            answers = await store.sight_all(asked, now)
            waits.append((time.perf_counter() - began) * 1000)
            if answers != [NEW] * together:
                raise BenchError(f"question {number}: {answers} about new tokens")
    finally:
        await store.close()
    waits = sorted(waits[20:])  # the first connect
    return Waits(
        statistics.median(waits), waits[min(count - 1, int(count * 0.99))], waits[-1], count
    )
