"""Copies that differ find it out by digest; those that agree do, whatever was purged or ended."""

from __future__ import annotations

import asyncio
import time
from threading import Event

from fleet_nodes import Node, holding, options, privacy, subject, until, write

from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.journal import end, put
from zhenxian.registry.model import Binding, BindingModel, CalleeRefusal, Subject
from zhenxian.stores.fleet.digest import digest_of

NOW = int(time.time())


def binding(name, until=None):
    x, a = TN(f"17{name}"), TN(f"13{name}")
    return put(
        Binding(
            id=name, platform="bank", model=BindingModel.AX, x=x, a=a, since=NOW - 99, until=until
        )
    )


def spoil(registry, statement):
    """Change a copy past the journal."""
    return registry.with_writer(lambda replica: replica._file.connection.run(statement))


def test_copies_that_differ_are_told_and_those_that_agree_are_not(redis, tmp_path, monkeypatch):
    # A node that computed for long, as on a busy machine, would take part in few rounds.
    monkeypatch.setattr("zhenxian.stores.fleet.comparison._SHARE", 0)

    async def run():
        opts = options(redis.url, compare_every=1.0, version="1")
        async with (
            Node(tmp_path, "a", opts) as a,
            Node(tmp_path, "b", opts) as b,
            Node(tmp_path, "c", opts) as c,
        ):
            await write(a, subject("bank"), holding("100"), privacy("170"))
            await until(lambda: a.seq == b.seq == c.seq == 1)
            compared = [node._comparison for node in (a, b, c)]
            first = max(one._computed for one in compared)
            await until(lambda: all(one._computed > first + 1 for one in compared), 60)
            assert a.problems() == b.problems() == c.problems() == []
            await spoil(b, "UPDATE records SET body = x'81a26964a46c6f7374' WHERE kind = 'subject'")
            told = "differs from that of a, c"
            await until(lambda: any(told in text for text in b.faults()), 60)
            told = "the registry of b differs from that of most"
            for node in (a, c):
                await until(lambda node=node: any(told in text for text in node.remarks()), 60)
        (tmp_path / "b.db").unlink()
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            first = a._comparison._computed
            await until(lambda: a._comparison._computed > first and b._comparison._computed > 0, 60)
            await until(lambda: not a.problems() and not b.problems(), 60)
            await spoil(a, "DELETE FROM holdings WHERE lo % 1000 = 100")
            await until(lambda: a.faults() and b.faults(), 60)  # nobody knows which is right

    asyncio.run(run())


def test_a_digest_is_as_of_a_commit_and_of_what_is_in_force(redis, tmp_path):
    async def run():
        opts = options(redis.url, keep_commits=0)
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, subject("bank"), subject("shop"), holding("100", "169"))
            await write(a, *(privacy(f"17{number}") for number in range(5)))
            bound = (binding("1", NOW - 5), binding("2"), binding("3", NOW + 9999))
            await write(a, *bound, now=NOW - 10)
            await write(a, put(CalleeRefusal(numbers=TNRange(TN("500"), TN("500")), since=NOW)))
            seq = (await write(a, put(Subject(id="shop", name="Shop")))).seq
            before = digest_of(tmp_path / "a.db", seq, NOW, Event())
            await write(a, put(Subject(id="shop", name="Other")), subject("law"))
            await write(a, holding("150", of="shop"), binding("4"))
            await write(a, end(bound[1].value))
            await until(lambda: b.seq == a.seq)
            await b.with_writer(lambda replica: replica.purge(NOW))
            for name in ("a", "b"):
                assert digest_of(tmp_path / f"{name}.db", seq, NOW, Event()) == before
            latest = digest_of(tmp_path / "a.db", a.seq, NOW, Event())
            assert latest != before
            assert digest_of(tmp_path / "b.db", a.seq, NOW, Event()) == latest
            assert await a.checkpoint()
            async with Node(tmp_path, "d", opts) as d:  # from a checkpoint
                assert d.seq == a.seq
                assert digest_of(tmp_path / "d.db", a.seq, NOW, Event()) == latest
            # A clock that was ahead has purged what ends tomorrow.
            await b.with_writer(lambda replica: replica.purge(NOW + 99_999))
            assert digest_of(tmp_path / "b.db", a.seq, NOW, Event()) != latest
            stopped = Event()
            stopped.set()
            assert digest_of(tmp_path / "b.db", a.seq, NOW, stopped) is None

    asyncio.run(run())
