"""A clearing reaches everybody: a node cut off, one started later, another worker, a restart."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random

import pytest
from fleet_nodes import Node, options, until
from streams import ACCESS, ALONE, NOON, SIGNER, calls, fed, people, pool

import zhenxian.stores.analytics.file
from zhenxian.analytics import Detector, State
from zhenxian.api.management.analytics import clearing_of
from zhenxian.registry.journal import put
from zhenxian.stores.analytics.file import ConductFile, WorkerExchange
from zhenxian.stores.analytics.fleet import FleetExchange
from zhenxian.stores.analytics.sync import AnalyticsSync
from zhenxian.stores.sqlite.registry import EmbeddedRegistry

STREAM, FINDINGS = "{zx}:conduct", "{zx}:conduct:findings"


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


class Member:
    """One process that answers calls: its registry and its keeper, on files of its own."""

    def __init__(self, name, registry, exchange, file, clock, boot):
        self.name, self.registry, self.clock = name, registry, clock
        conduct = Detector(ALONE, fleet=True, boot=boot)
        self.keeper = AnalyticsSync(conduct, file, exchange, clock, registry)
        self.conduct = conduct
        self._exchange = exchange
        self._links = {}

    def state(self, key=ACCESS):
        found = self.conduct.finding(key, int(self.clock()))
        return found.state if found is not None else None

    def pool(self, seed, count, key=ACCESS):
        """Calls of a pool, the latest of them now."""
        self.calls(pool(Random(seed), count), count, key)

    def calls(self, pairs, count, key=ACCESS):
        every = 2
        self.clock.now += count * every
        start = int(self.clock.now) - (count - 1) * every
        fed(self.conduct, calls(key, pairs, start=start, every=every))

    async def clear(self, key=ACCESS):
        """As the API does."""
        clearing = await self.commit(key)
        self.keeper.clear(clearing)

    async def commit(self, key=ACCESS):
        now = int(self.clock())
        found = self.conduct.finding(key, now)
        clearing = clearing_of(found, self.conduct.confirmed(found), "desk", "audited", now)
        await self.registry.write([put(clearing, 0)], author="desk", reason="audited", now=now)
        return clearing

    async def cut(self):
        """From now on nothing of this member reaches Redis, or comes from there."""

        async def gone():
            raise ConnectionError("cut off")

        for link in (self.registry.node.link, self._exchange._link):
            self._links[link] = link.client
            link.client = gone
            await link.lost()

    def mend_exchange(self):
        link = self._exchange._link
        link.client = self._links.pop(link)

    def mend_registry(self):
        link = self.registry.node.link
        link.client = self._links.pop(link)

    async def looks(self, times=2):
        for _ in range(times):
            await self.keeper.look()


class Fleet:
    def __init__(self, url, folder, **more):
        self.options = options(url, **more)
        self.folder, self.clock, self.boots = folder, Clock(), 0

    @contextlib.asynccontextmanager
    async def node(self, name):
        """Started on what it left when it ran before."""
        self.boots += 1
        node = Node(self.folder, name, self.options)
        file = ConductFile(self.folder / f"{name}.conduct.db")
        exchange = FleetExchange(self.options, name)
        member = Member(name, node.registry, exchange, file, self.clock, self.boots)
        member.keeper.restore()
        async with node:
            await member.looks(1)
            try:
                yield member
            finally:
                await member.keeper.close()


async def round_of(*members, times=3):
    for _ in range(times):
        for member in members:
            await member.keeper.look()


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_node_cut_off_while_it_was_cleared_learns_it_and_brings_nothing_back(
    redis, tmp_path, rebuilt, monkeypatch
):
    """Longer than deltas are kept, and in one case longer than commits are."""

    async def work():
        fleet = Fleet(redis.url, tmp_path, **({"keep_commits": 0} if rebuilt else {}))
        async with fleet.node("a") as a, fleet.node("b") as b:
            a.pool(1, 100)
            await round_of(a, b)
            assert a.state() is b.state() is State.POOLED
            await b.cut()
            await b.looks()
            await a.clear()
            await a.looks()
            assert a.state() is None
            # b goes on with what it has, and confirms its finding after the clearing
            before = b.conduct.finding(ACCESS, fleet.clock.now)
            b.calls(people(Random(2), 20), 20)
            with monkeypatch.context() as patched:  # it tries again now and then
                patched.setattr("zhenxian.stores.analytics.sync._UNINFORMED_FOR", 0.0)
                await b.looks()
            assert b.state() is State.POOLED
            assert b.conduct.finding(ACCESS, fleet.clock.now).until > before.until
            assert "alone" in " ".join(b.keeper.problems())
            redis.ask("XTRIM", STREAM, "MAXLEN", "0")
            if rebuilt:
                assert await a.registry.checkpoint()
                assert redis.ask("XLEN", "{zx}:journal").strip() == "0"
            fleet.clock.now += 300
            # reached again, but not told yet what was cleared: it keeps its findings to itself
            b.mend_exchange()
            await round_of(b, a)
            assert redis.ask("HKEYS", FINDINGS).strip() == ""
            assert a.state() is None
            b.mend_registry()
            await until(lambda: b.registry.seq == a.registry.seq and b.keeper._informed())
            b.keeper.catch_up()  # as before each batch of calls
            assert b.state() is None
            await round_of(b, a)
            for member in (a, b):
                assert member.state() is None
                assert member.keeper.problems() == []
            # its calls since then count where it was known that they came after
            assert a.conduct.picture(ACCESS, fleet.clock.now).calls == 20
            assert b.conduct.picture(ACCESS, fleet.clock.now).calls == 0
            assert redis.ask("HKEYS", FINDINGS).strip() == ""
            async with fleet.node("c") as c:
                assert c.state() is None
            # the same conduct is found again, everywhere
            b.pool(3, 100)
            await round_of(b, a)
            assert a.state() is b.state() is State.POOLED

    asyncio.run(work())


def test_what_was_found_anew_meanwhile_stands_for_a_node_that_was_cut_off(redis, tmp_path):
    async def work():
        fleet = Fleet(redis.url, tmp_path)
        async with fleet.node("a") as a, fleet.node("b") as b:
            a.pool(1, 100)
            await round_of(a, b)
            await b.cut()
            await b.looks()
            await a.clear()
            fleet.clock.now += 100
            a.pool(2, 100)
            assert a.state() is State.POOLED
            await a.looks()
            redis.ask("XTRIM", STREAM, "MAXLEN", "0")
            fleet.clock.now += 300
            b.mend_registry()
            b.mend_exchange()
            await until(
                lambda: (
                    b.registry.seq == a.registry.seq and b.registry.current and b.keeper._informed()
                )
            )
            await round_of(b, a)
            now = fleet.clock.now
            assert a.state() is State.POOLED
            assert b.conduct.finding(ACCESS, now) == a.conduct.finding(ACCESS, now)
            assert sorted(redis.ask("HKEYS", FINDINGS).splitlines()) == [
                str(ACCESS),
                f"mark {ACCESS}",
            ]

    asyncio.run(work())


def test_a_node_that_was_down_while_it_was_cleared_starts_without_it(redis, tmp_path):
    async def work():
        fleet = Fleet(redis.url, tmp_path)
        async with fleet.node("a") as a:
            async with fleet.node("b") as b:
                for seed, key in enumerate((ACCESS, SIGNER)):
                    a.pool(seed, 100, key)
                await round_of(a, b)
                assert b.state() is b.state(SIGNER) is State.POOLED
            await a.clear()
            await a.looks()
            redis.ask("XTRIM", STREAM, "MAXLEN", "0")
            fleet.clock.now += 300
            async with fleet.node("b") as b:
                await round_of(b, a)
                for member in (a, b):
                    assert member.state() is None
                    assert member.state(SIGNER) is State.POOLED

    asyncio.run(work())


def test_a_crash_between_the_record_and_its_effect_loses_nothing(redis, tmp_path):
    """Nothing but the journal knows of it; findings in Redis and on disk are those of before."""

    async def work():
        fleet = Fleet(redis.url, tmp_path)
        async with fleet.node("a") as a:
            a.pool(1, 100)
            await a.looks()
            await a.commit()
            a.keeper._clearings = None  # it gets no further
            await a.looks()
            assert a.state() is State.POOLED
        assert sorted(redis.ask("HKEYS", FINDINGS).splitlines()) == [str(ACCESS), f"mark {ACCESS}"]
        async with fleet.node("a") as a, fleet.node("b") as b:
            await round_of(a, b)
            assert a.state() is b.state() is None
            assert a.conduct.picture(ACCESS, fleet.clock.now).calls == 0
        assert redis.ask("HKEYS", FINDINGS).strip() == ""

    asyncio.run(work())


def test_a_registry_that_stays_behind_does_not_end_the_exchange_for_ever(
    redis, tmp_path, monkeypatch
):
    async def work():
        fleet = Fleet(redis.url, tmp_path)
        async with fleet.node("a") as a, fleet.node("b") as b:
            await b.cut()
            await b.looks()
            b.pool(1, 100)
            b.mend_exchange()
            await round_of(b, a)
            assert a.state() is None
            monkeypatch.setattr("zhenxian.stores.analytics.sync._UNINFORMED_FOR", 0.0)
            await round_of(b, a)
            assert a.state() is State.POOLED
            b.mend_registry()

    asyncio.run(work())


# -- workers of one machine


@contextlib.contextmanager
def workers(folder, clock, *names):
    made = []
    for boot, name in enumerate(names):
        registry = EmbeddedRegistry(folder / "registry.db")
        file = ConductFile(folder / "conduct.db")
        member = Member(name, registry, WorkerExchange(file, name), file, clock, boot)
        member.keeper.restore()
        made.append(member)
    yield made
    for member in made:
        asyncio.run(member.keeper.close())
        member.registry.close()


def test_another_worker_takes_it_over_before_its_next_call(tmp_path):
    clock = Clock()
    with workers(tmp_path, clock, "one", "two") as (one, two):
        one.pool(1, 100)
        asyncio.run(round_of(one, two))
        assert two.state() is State.POOLED
        asyncio.run(one.clear())
        assert one.state() is None
        two.registry.refresh()  # as before each batch of calls, by Service
        two.keeper.catch_up()
        assert two.state() is None
        two.conduct.observe(next(calls(ACCESS, people(Random(1), 1), start=clock.now)))
        asyncio.run(round_of(two, one))
        assert one.state() is two.state() is None
        with workers(tmp_path, clock, "three") as (three,):
            assert three.state() is None
        two.pool(2, 100)
        asyncio.run(round_of(two, one))
        assert one.state() is two.state() is State.POOLED


def test_a_worker_that_was_busy_for_longer_than_deltas_are_kept_learns_it_too(
    tmp_path, monkeypatch
):
    clock = Clock()
    monkeypatch.setattr(zhenxian.stores.analytics.file, "since_boot", clock)
    with workers(tmp_path, clock, "one", "two") as (one, two):
        one.pool(1, 100)
        asyncio.run(round_of(one, two))
        asyncio.run(one.clear())
        asyncio.run(one.looks())
        clock.now += 1_000
        one.pool(1, 1, SIGNER)
        asyncio.run(one.looks())  # this drops what is too old from the file
        with contextlib.closing(one.keeper._file._db.cursor()) as rows:
            assert rows.execute("SELECT min(at) FROM deltas").fetchone()[0] >= clock.now - 120
        assert two.state() is State.POOLED
        two.registry.refresh()
        asyncio.run(round_of(two, one))
        assert one.state() is two.state() is None


def test_a_registry_that_cannot_be_read_is_told_and_asked_again(tmp_path):
    clock = Clock()
    with workers(tmp_path, clock, "one", "two") as (one, two):
        one.pool(1, 100)
        asyncio.run(round_of(one, two))
        asyncio.run(one.clear())
        two.registry.refresh()
        connection = two.registry.records.connection
        whole = connection.db
        connection.db = ConductFile(tmp_path / "other.db")._db  # without these tables
        asyncio.run(two.looks())
        assert "cleared cannot be read" in " ".join(two.keeper.problems())
        connection.db.close()
        connection.db = whole
        asyncio.run(two.looks())
        assert two.keeper.problems() == []
        assert two.state() is None
