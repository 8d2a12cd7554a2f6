"""Four nodes and more on a real Redis: each key is counted by two of them, and found by all."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random

import pytest
from fleet_nodes import options
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from streams import ACCESS, ALONE, NOON, SIGNER, SPC, SUBJECT, calls, fed, pool
from test_fleet_conduct import AT, Clock, asked

from zhenxian.analytics import Detector, State
from zhenxian.stores.analytics.file import ConductFile
from zhenxian.stores.analytics.fleet import FleetExchange
from zhenxian.stores.analytics.sync import AnalyticsSync

KEYS = (ACCESS, SUBJECT, SIGNER, SPC)
NODES, STREAM, OWN = "{zx}:conduct:nodes", "{zx}:conduct", "{zx}:conduct:to:"


@pytest.fixture(params=["redis", "cluster"])
def server(request, monkeypatch):
    monkeypatch.setattr("zhenxian.stores.analytics.fleet.BEAT", 0.0)
    found = request.getfixturevalue(request.param)
    if request.param == "cluster":
        for one in found.servers:
            one.ask("FLUSHALL")
    return found


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    monkeypatch.setattr("zhenxian.stores.analytics.fleet.BEAT", 0.0)

    def made(server, **more):
        return Fleet(tmp_path, server.url, **more)

    return made


class Fleet:
    def __init__(self, folder, url, **more):
        self.folder, self.options, self.clock, self.boots = folder, options(url, **more), Clock(), 0

    def node(self, name):
        self.boots += 1
        file = ConductFile(self.folder / f"{name}.db")
        node, place = f"{name}/{self.boots}", f"{name}#{file.slot()}"
        exchange = FleetExchange(self.options, node, place)
        keeper = AnalyticsSync(
            Detector(ALONE, fleet=True, boot=self.boots), file, exchange, self.clock
        )
        keeper.restore()
        return keeper

    async def nodes(self, *names):
        made = [self.node(name) for name in names]
        await rounds(made)
        return made


async def rounds(keepers, times=3):
    for _ in range(times):
        for keeper in keepers:
            await keeper.look()


async def closed(keepers):
    for keeper in keepers:
        await keeper.close()


def counting(keepers, key=ACCESS):
    return [keeper for keeper in keepers if keeper.conduct.counts(key)]


def dealt(keepers, stream):
    for index, observation in enumerate(stream):
        keepers[index % len(keepers)].conduct.observe(observation)


async def killed(keeper):
    """As by kill -9: nothing is said, and its files are let go of."""
    await keeper._exchange._link.close()
    keeper._file.close()


def test_a_pool_spread_over_four_nodes_is_found_as_soon_and_refused_by_all(fleet, server):
    stream = list(calls(KEYS, pool(Random(5), 90)))
    needed = fed(Detector(ALONE), stream)

    async def work():
        nodes = await fleet(server).nodes(*"abcd")
        found = None
        for start in range(0, len(stream), 4):  # what half a second brings
            dealt(nodes, stream[start : start + 4])
            await rounds(nodes, 1)
            at = stream[start].at
            states = [keeper.conduct.finding(ACCESS, at) for keeper in nodes]
            if found is None and all(one and one.state is State.POOLED for one in states):
                found = start + 4
        assert found <= needed[ACCESS] + 12
        await rounds(nodes)
        for key in KEYS:
            assert len(counting(nodes, key)) == 2
            for keeper in nodes:
                assert keeper.problems() == []
                picture = await asked(keeper, key, nodes)
                assert picture.calls == len(stream)
        cases = {keeper.conduct.finding(ACCESS, AT).case for keeper in nodes}
        assert len(cases) == 1
        await closed(nodes)

    asyncio.run(work())


def test_what_goes_to_one_node_is_taken_from_redis_when_it_was_read(fleet, redis):
    async def work():
        nodes = await fleet(redis).nodes(*"abcd")
        for seed in range(20):
            dealt(nodes, calls(KEYS, pool(Random(seed), 40)))
            await rounds(nodes, 1)
        await rounds(nodes)
        for name in redis.ask("HKEYS", NODES).split():
            assert int(redis.ask("XLEN", OWN + name)) <= 1
        await closed(nodes)
        assert redis.ask("HKEYS", NODES).strip() == ""
        assert redis.ask("KEYS", OWN + "*").strip() == ""

    asyncio.run(work())


def test_a_node_that_dies_is_replaced_by_the_second_and_has_its_keys_again(
    fleet, redis, monkeypatch
):
    stream = list(calls(KEYS[:2], pool(Random(6), 40)))
    more = list(calls(KEYS[:2], pool(Random(7), 60), start=NOON + 1_000))

    async def work():
        made = fleet(redis)
        nodes = await made.nodes(*"abcde")
        dealt(nodes, stream[:16])
        await rounds(nodes)
        dead = counting(nodes)[0]
        name = dead._exchange._me.place.partition("#")[0]
        second = counting(nodes)[1]
        # what it had is on its disk within half a minute
        dead._save(dead.conduct.take_touched(100))
        await killed(dead)
        nodes.remove(dead)
        redis.ask("HSET", NODES, dead._exchange.name, "5 " + dead._exchange._me.place)  # long ago
        await rounds(nodes)
        assert second in counting(nodes)
        dealt(nodes, stream[16:])
        await rounds(nodes)
        assert second.conduct.picture(ACCESS, AT).calls == len(stream)
        for keeper in nodes:
            assert keeper.conduct.finding(ACCESS, AT).state is State.POOLED
        assert redis.ask("HEXISTS", NODES, dead._exchange.name).strip() == "0"
        # back again, it counts the same keys, on from what it had
        again = made.node(name)
        nodes.append(again)
        await rounds(nodes)
        assert counting(nodes) == [second, again]
        dealt(nodes, more)
        await rounds(nodes)
        assert again.conduct.picture(ACCESS, AT).calls == 16 + 60
        assert second.conduct.picture(ACCESS, AT).calls == 40 + 60
        assert again.conduct.finding(ACCESS, AT).state is State.POOLED
        await closed(nodes)

    asyncio.run(work())


def test_a_node_that_stops_in_order_leaves_at_once(fleet, redis):
    async def work():
        nodes = await fleet(redis).nodes(*"abcd")
        leaving = counting_after(nodes)
        await leaving.close()
        nodes.remove(leaving)
        await rounds(nodes, 1)
        dealt(nodes, calls(KEYS, pool(Random(6), 60)))
        await rounds(nodes)
        assert len(counting(nodes)) == 2
        for keeper in nodes:
            assert not keeper._exchange.mixed
            assert keeper.conduct.finding(ACCESS, AT).state is State.POOLED
        await closed(nodes)

    def counting_after(nodes):
        return nodes[0]

    asyncio.run(work())


def test_while_redis_is_away_each_counts_alone_and_afterwards_who_counts_the_key(fleet, serve):
    server = serve()
    stream = list(calls(KEYS[:2], pool(Random(9), 300)))

    async def work():
        nodes = await fleet(server, timeout=1.0).nodes(*"abcd")
        server.pause()
        try:
            dealt(nodes, stream)
            for keeper in nodes:
                await keeper.look()
                (problem,) = keeper.problems()
                assert "alone" in problem
                assert keeper.conduct.picture(ACCESS, AT).calls == 75
                assert keeper.conduct.finding(ACCESS, AT).state is State.POOLED
        finally:
            server.resume()
        await rounds(nodes, 4)
        assert len(counting(nodes)) == 2
        for keeper in nodes:
            assert keeper.problems() == []
            assert keeper.conduct.lost == 0
            there = keeper.conduct.counts(ACCESS)
            assert keeper.conduct.picture(ACCESS, AT).calls == (300 if there else 0)
            assert keeper.conduct.finding(ACCESS, AT).state is State.POOLED
        await closed(nodes)

    asyncio.run(work())


def test_a_redis_that_forgot_everything_parts_the_keys_again(fleet, serve):
    server = serve()

    async def work():
        nodes = await fleet(server).nodes(*"abcd")
        server.ask("FLUSHALL")
        await rounds(nodes)
        dealt(nodes, calls(KEYS[:2], pool(Random(6), 60)))
        await rounds(nodes)
        assert [keeper.conduct.picture(ACCESS, AT).calls for keeper in counting(nodes)] == [60, 60]
        await closed(nodes)

    asyncio.run(work())


class Before:
    """A node of the release before: it reads and writes the stream that all read."""

    def __init__(self, url, name):
        self.link = FleetExchange(options(url), name)._link
        self.name, self.conduct = name.encode(), Detector(ALONE, fleet=True, boot=99)
        self.heard = b"0-0"

    async def look(self):
        client = await self.link.client()
        for number, fields in await client.xrange(STREAM, min=b"(" + self.heard):
            self.heard = number
            if fields[b"n"] != self.name and b"d" in fields:
                self.conduct.merge(fields[b"n"].decode(), fields[b"d"])
        for delta in iter(self.conduct.take_delta, None):
            await client.xadd(STREAM, {"n": self.name, "d": delta})


def test_beside_a_node_of_the_release_before_all_calls_are_told_to_all(fleet, redis, monkeypatch):
    stream = list(calls(KEYS, pool(Random(6), 90)))

    async def work():
        nodes = await fleet(redis).nodes(*"abcd")
        before = Before(redis.url, "old/1")
        before.conduct.observe(stream[0])
        await before.look()
        await rounds(nodes)
        assert all(keeper._exchange.mixed for keeper in nodes)
        dealt([*nodes, before], stream[1:])
        await before.look()
        await rounds(nodes)
        await before.look()
        for key in KEYS:
            assert before.conduct.picture(key, AT).calls == len(stream)
            assert len(counting(nodes, key)) == 2
            for keeper in counting(nodes, key):
                assert keeper.conduct.picture(key, AT).calls == len(stream)
        for keeper in [*nodes, before]:
            assert keeper.conduct.finding(ACCESS, AT).state is State.POOLED
        # when nothing was heard of it for long, the keys are parted as before
        with monkeypatch.context() as patched:
            patched.setattr("zhenxian.stores.analytics.fleet._MIXED_FOR", 0.0)
            dealt(nodes, calls(KEYS, pool(Random(7), 20), start=AT))
            await rounds(nodes)
            assert before.conduct.picture(SIGNER, AT).calls == len(stream)
            heard = [keeper.conduct.picture(SIGNER, AT) for keeper in counting(nodes, SIGNER)]
            assert [one.calls for one in heard] == [len(stream) + 20] * 2
        await before.link.close()
        await closed(nodes)

    asyncio.run(work())


def test_workers_of_one_machine_each_save_what_they_count(fleet, redis, tmp_path):
    """And whoever is started in the place of one that was killed counts on from there."""

    async def work():
        made = fleet(redis)
        nodes = await made.nodes("a", "a", "b", "b")
        assert len({keeper._exchange._me.place for keeper in nodes}) == 4
        keys = [ACCESS, SIGNER, SPC]
        dealt(nodes, calls(KEYS, pool(Random(6), 40)))
        await rounds(nodes)
        for key in keys:
            machines = {one._exchange._me.machine for one in counting(nodes, key)}
            assert machines == {"a", "b"}
        for keeper in nodes:
            await keeper.look()  # saves
            await killed(keeper)
        with contextlib.closing(ConductFile(tmp_path / "a.db")) as file:
            saved, _ = file.load(0, 1_000)
        assert len(saved) == len(keys)  # an access and its only subject are one
        redis.ask("DEL", NODES)
        nodes = await made.nodes("a", "a", "b", "b")
        for key in keys:
            assert [one.conduct.picture(key, AT).calls for one in counting(nodes, key)] == [40, 40]
        await closed(nodes)

    asyncio.run(work())


@pytest.mark.parametrize("seed", range(3))
def test_whatever_redis_answers_in_vain_each_call_counts_once_with_both(
    fleet, redis, monkeypatch, seed
):
    """One command in ten is lost on its way there, or its answer on the way back."""
    random, faulty = Random(seed), [False]
    one, many = Redis.execute_command, Pipeline.execute

    async def lossy(command, *args, **kwargs):
        if faulty[0] and random.random() < 0.05:
            raise RedisConnectionError("lost on the way there")
        answer = await command(*args, **kwargs)
        if faulty[0] and random.random() < 0.05:
            raise RedisConnectionError("lost on the way back")
        return answer

    monkeypatch.setattr(Redis, "execute_command", lambda *a, **k: lossy(one, *a, **k))
    monkeypatch.setattr(Pipeline, "execute", lambda *a, **k: lossy(many, *a, **k))

    async def work():
        nodes = await fleet(redis).nodes(*"abcde")
        stream, faulty[0] = list(calls(KEYS, pool(Random(seed), 300))), True
        cut_off = 0
        for start in range(0, 300, 20):
            dealt(nodes, stream[start : start + 20])
            await rounds(nodes, 1)
            cut_off += sum(keeper.problems() != [] for keeper in nodes)
        assert cut_off > 10
        faulty[0] = False
        await rounds(nodes, 4)
        for key in KEYS:
            counts = [one.conduct.picture(key, AT).calls for one in counting(nodes, key)]
            assert counts == [300, 300]
        await closed(nodes)

    asyncio.run(work())


def test_a_question_of_whom_nobody_knows_anything_is_answered_as_soon_as_all_said_so(
    fleet, redis, monkeypatch
):
    monkeypatch.setattr("zhenxian.stores.analytics.fleet._ANSWERED_WITHIN", 600.0)

    async def work():
        nodes = await fleet(redis).nodes(*"abcd")
        for keeper in nodes:
            for key in (ACCESS, SIGNER):  # the former's subject nobody knows, who counts it
                picture = await asyncio.wait_for(asked(keeper, key, nodes), 60)
                assert (picture.key, picture.calls) == (key, 0)
        dealt(nodes, calls(KEYS, pool(Random(5), 40)))
        await rounds(nodes)
        for keeper in nodes:
            picture = await asyncio.wait_for(asked(keeper, ACCESS, nodes), 60)
            assert picture.calls == 40
        await closed(nodes)

    asyncio.run(work())


def test_a_question_that_nobody_answers_is_answered_with_what_is_known(fleet, redis, monkeypatch):
    monkeypatch.setattr("zhenxian.stores.analytics.fleet._ANSWERED_WITHIN", 0.2)

    async def work():
        nodes = await fleet(redis).nodes(*"abcd")
        picture = await nodes[0].picture(ACCESS, AT)  # nobody looks
        assert (picture.key, picture.calls) == (ACCESS, 0)
        redis.ask("XADD", STREAM, "*", "n", "x", "q", "no key", "a", "p")
        redis.ask("XADD", STREAM, "*", "n", "x", "q", str(ACCESS), "a", "p")
        await rounds(nodes)
        answers = redis.ask("LRANGE", "{zx}:conduct:answer:p", "0", "-1")
        assert answers.strip() == ""  # that there is nothing
        assert redis.ask("LLEN", "{zx}:conduct:answer:p").strip() == "8"
        assert int(redis.ask("TTL", "{zx}:conduct:answer:p")) > 0
        await closed(nodes)

    asyncio.run(work())


def test_a_sign_of_life_from_times_to_come_is_none(fleet, redis):
    """Redis' clock was set back since it was given."""

    async def work():
        nodes = await fleet(redis).nodes(*"abc")
        at = int(redis.ask("TIME").split()[0]) * 1_000
        redis.ask("HSET", NODES, "x/1", f"{at + 600_000} x#0", "y/1", f"{at} y#0")
        await rounds(nodes)
        for keeper in nodes:
            names = {one.name for one in keeper._exchange.members}
            assert names == {one._exchange.name for one in nodes} | {"y/1"}
        redis.ask("HSET", NODES, "x/1", f"{at + 7_200_000} x#0")
        await rounds(nodes)
        assert redis.ask("HEXISTS", NODES, "x/1").strip() == "0"
        await closed(nodes)

    asyncio.run(work())
