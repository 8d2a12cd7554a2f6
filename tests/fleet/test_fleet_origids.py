"""Origids of calls are found on every node of a fleet, and no call waits for that."""

from __future__ import annotations

import asyncio
import time

import pytest
from fleet_nodes import options, until

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.signer.origids import Given
from zhenxian.stores.origids.file import OrigidFile
from zhenxian.stores.origids.fleet import FleetOrigids

STABLE = "b0000000-0000-4000-8000-000000000001"
DAY = 86_400


@pytest.fixture
def file(tmp_path):
    opened = OrigidFile(tmp_path / "origids.db", "north")
    yield opened
    opened.close()


def test_what_another_worker_sent_is_no_worry_any_more(redis, file):
    async def run():
        now = int(time.time())
        one = FleetOrigids(options("redis://127.0.0.1:1/0"), file, DAY)  # nobody is there
        other = FleetOrigids(options(redis.url), file, DAY)
        file.give("trunk", STABLE, now)
        await one.send(now)
        assert one.problem is not None
        await other.send(now)
        await one.send(now)
        assert one.problem is None
        await one.close()
        await other.close()

    asyncio.run(run())


@pytest.mark.parametrize("where", ["redis", "cluster"])
def test_what_one_node_gave_another_finds(where, request, file):
    url = request.getfixturevalue(where).url

    async def run():
        north, south = FleetOrigids(options(url), file, DAY), FleetOrigids(options(url), None, DAY)
        now = int(time.time())
        given = [file.give("trunk", STABLE, now) for _ in range(1_500)]
        await north.send(now)
        await south.send(now)
        assert file.waiting() == 0
        for origid in (given[0], given[-1], given[700].upper()):
            assert await south.find(origid) == Given("trunk", STABLE, now, "north")
        assert await south.find(STABLE) is None
        assert await south.find("no uuid") is None
        await north.close()
        await south.close()

    asyncio.run(run())


def test_what_is_older_than_is_kept_is_not_sent_and_the_rest_ends_by_itself(redis, file):
    async def run():
        north = FleetOrigids(options(redis.url), file, 100)
        now = int(time.time())
        old, young = file.give("trunk", STABLE, now - 100), file.give("trunk", STABLE, now - 40)
        begun = time.monotonic()
        await north.send(now)
        assert await north.find(old) is None
        assert await north.find(young) is not None
        left = int(redis.ask("TTL", f"zx:origid:{young}"))
        assert 59 - (time.monotonic() - begun) <= left <= 60
        await north.close()

    asyncio.run(run())


def test_what_redis_did_not_take_is_sent_later(serve, file):
    server = serve()

    async def run():
        north = FleetOrigids(options(server.url, timeout=1.0), file, DAY)
        now = int(time.time())
        await north.send(now)
        server.pause()
        given = [file.give("trunk", STABLE, now) for _ in range(20)]
        begun = time.monotonic()
        await north.send(now)
        assert time.monotonic() - begun < 20  # of one command, not of twenty
        assert north.problem
        assert file.waiting() == 20
        with pytest.raises(StoreUnavailableError, match="Redis cannot be asked"):
            await north.find(given[0])
        server.resume()

        async def sent():
            await north.send(now)
            return file.waiting() == 0

        await until(sent)
        assert north.problem is None
        assert await north.find(given[-1]) is not None
        await north.close()

    asyncio.run(run())
