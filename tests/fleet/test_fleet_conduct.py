"""Conduct that nodes and workers count together: through a file, a Redis, a Cluster."""

from __future__ import annotations

import asyncio
import itertools
from random import Random

import pytest
from fleet_nodes import options
from streams import ACCESS, ALONE, NOON, SIGNER, SPC, SUBJECT, calls, fed, pool

from zhenxian.analytics import Detector, Policy, State
from zhenxian.stores.analytics.file import ConductFile, WorkerExchange
from zhenxian.stores.analytics.fleet import FleetExchange
from zhenxian.stores.analytics.sync import AnalyticsSync

AT = NOON + 3_000
KEYS = (ACCESS, SUBJECT, SIGNER, SPC)


class Clock:
    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now


class Together:
    """Nodes that exchange by one of the ways; each its own file unless they are workers."""

    def __init__(self, way, folder, url, **more):
        self.way, self.folder = way, folder
        self.options = options(url, **more) if url is not None else None
        self.numbers = itertools.count()
        self.clock = Clock()

    def node(self, name=None, *, policy=None):
        number = next(self.numbers)
        name = name or f"n{number}"
        shared = self.way == "file"
        file = ConductFile(self.folder / ("conduct.db" if shared else f"{name}.db"))
        exchange = WorkerExchange(file, name) if shared else FleetExchange(self.options, name)
        conduct = Detector(policy or ALONE, fleet=True, boot=number)
        return AnalyticsSync(conduct, file, exchange, self.clock)


@pytest.fixture(params=["file", "redis", "cluster"])
def together(request, tmp_path):
    way = request.param
    url = None if way == "file" else request.getfixturevalue(way).url
    if way == "cluster":
        for server in request.getfixturevalue("cluster").servers:
            server.ask("FLUSHALL")
    return Together(way, tmp_path, url)


def run(work):
    return asyncio.run(work)


async def closed(*keepers):
    for keeper in keepers:
        await keeper.close()


async def asked(keeper, key, others):
    """A key's figures, wherever they are asked for; the others look as ever."""
    asking = asyncio.create_task(keeper.picture(key, AT))
    while not asking.done():
        for other in others:
            if other is not keeper:
                await other.look()
        await asyncio.sleep(0)
    return await asking


def test_what_nodes_see_apart_they_find_together(together, monkeypatch):
    """No node alone sees enough of a pool that is dealt out among three; each finds it.

    Three nodes of a fleet part the keys, and each has the figures from one that counts the key.
    """
    monkeypatch.setattr("zhenxian.stores.analytics.fleet.BEAT", 0.0)
    stream = list(calls(KEYS[:3], pool(Random(5), 54)))
    whole = Detector(ALONE)
    fed(whole, stream)

    async def work():
        nodes = [together.node() for _ in range(3)]
        for keeper in nodes:
            await keeper.look()
        for index, observation in enumerate(stream):
            nodes[index % 3].conduct.observe(observation)
        assert all(keeper.conduct.finding(ACCESS, AT) is None for keeper in nodes)
        for _ in range(3):
            for keeper in nodes:
                await keeper.look()
        for keeper in nodes:
            assert keeper.problems() == []
            assert keeper.conduct.finding(ACCESS, AT).state is State.POOLED
            for key in KEYS[:3]:
                picture = await asked(keeper, key, nodes)
                assert picture.calls == whole.picture(key, AT).calls
                assert picture.state == keeper.conduct.picture(key, AT).state
        await closed(*nodes)

    run(work())


def test_a_node_that_comes_later_learns_who_was_found(together):
    async def work():
        first = together.node()
        await first.look()
        fed(first.conduct, calls(ACCESS, pool(Random(6), 100)))
        await first.look()
        later = together.node()
        later.restore()
        await later.look()
        assert later.conduct.finding(ACCESS, AT) == first.conduct.finding(ACCESS, AT) is not None
        await closed(first, later)

    run(work())


def test_what_a_registrar_clears_is_cleared_everywhere(together):
    async def work():
        one, two = together.node(), together.node()
        for keeper in (one, two):
            await keeper.look()
        fed(one.conduct, calls(ACCESS, pool(Random(7), 100)))
        await one.look()
        await two.look()
        assert two.conduct.finding(ACCESS, AT) is not None
        two.conduct.clear(ACCESS)
        await two.look()
        await one.look()
        assert one.conduct.finding(ACCESS, AT) is None
        third = together.node()
        third.restore()
        await third.look()
        assert third.conduct.finding(ACCESS, AT) is None
        await closed(one, two, third)

    run(work())


def test_a_node_with_another_key_is_told_of_and_not_counted(together):
    async def work():
        one, other = (
            together.node("one"),
            together.node("other", policy=Policy(structure_alone=True, salt=9)),
        )
        for keeper in (one, other):
            await keeper.look()
        fed(other.conduct, calls(ACCESS, pool(Random(8), 100)))
        await other.look()
        await one.look()
        assert one.conduct.picture(ACCESS, AT).calls == 0
        (problem,) = one.problems()
        assert "other" in problem
        assert "identity_key" in problem
        await closed(one, other)

    run(work())


# -- a Redis that is away


def test_a_node_cut_off_goes_on_alone_and_merges_after(serve, tmp_path):
    server = serve()
    nodes = Together("redis", tmp_path, server.url, timeout=1.0)
    stream = list(calls(KEYS[:3], pool(Random(9), 300)))

    async def work():
        one, two = nodes.node(), nodes.node()
        for keeper in (one, two):
            await keeper.look()
        server.pause()
        try:
            for observation in stream[:150]:
                one.conduct.observe(observation)
            for observation in stream[150:]:
                two.conduct.observe(observation)
            for keeper in (one, two):
                await keeper.look()
                (problem,) = keeper.problems()
                assert "alone" in problem
            # with its own figures it finds what it sees
            assert one.conduct.finding(ACCESS, AT).state is State.POOLED
            assert one.conduct.picture(ACCESS, AT).calls == 150
        finally:
            server.resume()
        for _ in range(3):
            for keeper in (one, two):
                await keeper.look()
        for keeper in (one, two):
            assert keeper.problems() == []
            assert keeper.conduct.picture(ACCESS, AT).calls == 300
            assert keeper.conduct.lost == 0
        await closed(one, two)

    run(work())


def test_what_a_node_cut_off_cannot_keep_is_counted_as_lost(serve, tmp_path):
    server = serve()
    nodes = Together("redis", tmp_path, server.url)

    async def work():
        one = nodes.node(policy=Policy(structure_alone=True, max_backlog=50))
        await one.look()
        fed(one.conduct, calls(ACCESS, pool(Random(10), 80)))
        assert one.conduct.lost == 30
        await closed(one)

    run(work())


def test_a_redis_that_forgot_everything_is_taught_by_deltas_again(serve, tmp_path):
    server = serve()
    nodes = Together("redis", tmp_path, server.url)

    async def work():
        one, two = nodes.node(), nodes.node()
        for keeper in (one, two):
            await keeper.look()
        server.ask("FLUSHALL")
        fed(one.conduct, calls(ACCESS, pool(Random(11), 100)))
        await one.look()
        await two.look()
        assert two.conduct.finding(ACCESS, AT) is not None
        await closed(one, two)

    run(work())


def test_findings_missed_in_a_gap_are_read_when_it_ends(serve, tmp_path):
    server = serve()
    nodes = Together("redis", tmp_path, server.url)

    async def work():
        one, two = nodes.node(), nodes.node()
        for keeper in (one, two):
            await keeper.look()
        fed(one.conduct, calls(ACCESS, pool(Random(12), 100)))
        await one.look()
        server.ask("XTRIM", "{zx}:conduct", "MAXLEN", "0")
        nodes.clock.now += 300
        await two.look()
        assert two.conduct.picture(ACCESS, AT).calls == 0
        assert two.conduct.finding(ACCESS, AT) is not None
        await closed(one, two)

    run(work())


def test_a_node_whose_clock_is_ahead_takes_nothing_from_the_others(serve, tmp_path):
    server = serve()
    nodes = Together("redis", tmp_path, server.url)
    ahead = Together("redis", tmp_path, server.url)
    ahead.clock.now += 100 * 365 * 86_400

    async def work():
        one, two, wrong = nodes.node("one"), nodes.node("two"), ahead.node("wrong")
        for keeper in (one, two, wrong):
            await keeper.look()
        fed(one.conduct, calls(ACCESS, pool(Random(13), 100)))
        await one.look()
        for number in range(200):  # Redis drops whole blocks of entries
            fed(wrong.conduct, calls(SIGNER, pool(Random(number), 1)))
            await wrong.look()
        await two.look()
        assert two.conduct.picture(ACCESS, AT).calls == 100
        await closed(one, two, wrong)

    run(work())


class Breaks:
    """A client whose connection breaks at the second reading."""

    def __init__(self, client):
        self.client, self.left = client, 1

    def __getattr__(self, name):
        return getattr(self.client, name)

    async def xrange(self, *args, **more):
        if not self.left:
            raise ConnectionError("gone")
        self.left -= 1
        return await self.client.xrange(*args, **more)


def test_what_was_read_before_the_connection_broke_is_read_again(serve, tmp_path, monkeypatch):
    server = serve()
    nodes = Together("redis", tmp_path, server.url)
    monkeypatch.setattr("zhenxian.stores.analytics.fleet._AT_ONCE", 1)

    async def work():
        one, two = nodes.node(), nodes.node()
        for keeper in (one, two):
            await keeper.look()
        stream = list(calls(ACCESS, pool(Random(14), 60)))
        for part in (stream[:30], stream[30:]):
            fed(one.conduct, part)
            await one.look()
        link = two._exchange._link
        whole = link.client
        breaking = Breaks(await whole())

        async def broken():
            return breaking

        link.client = broken
        await two.look()
        (problem,) = two.problems()
        assert "alone" in problem
        link.client = whole
        await two.look()
        assert two.conduct.picture(ACCESS, AT).calls == 60
        await closed(one, two)

    run(work())
