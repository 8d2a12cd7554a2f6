"""Redis that is rearranged while a fleet writes: a planned failover."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fleet_nodes import Node, holding, options, state, subject, until, write

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.tn import TN


class Load:
    """Holdings that two nodes write in turn, as fast as they are taken."""

    def __init__(self, *nodes):
        self.nodes = nodes
        self.taken, self.refused = [], 0
        self._ended = False

    async def run(self):
        number = 1000
        while not self._ended:
            number += 1
            try:
                await write(self.nodes[number % len(self.nodes)], holding(str(number)))
                self.taken.append(str(number))
            except StoreUnavailableError:
                self.refused += 1
                await asyncio.sleep(0.02)

    async def more(self, count=10):
        """So many are taken from now on."""
        goal = len(self.taken) + count
        await until(lambda: len(self.taken) >= goal, 30)

    def end(self):
        self._ended = True


async def _none_is_lost(load, a, b):
    await until(lambda: a.current and b.current and a.seq == b.seq, 25, "agreement")
    assert state(a) == state(b)
    lost = [number for number in load.taken if a.holding(TN(number)) is None]
    assert not lost


async def _under(load, work):
    task = asyncio.create_task(load.run())
    try:
        await load.more()
        await work()
        await load.more()
    finally:
        load.end()
        with suppress(asyncio.CancelledError):
            await task


def test_a_planned_failover_under_load_loses_nothing_acknowledged(watched, tmp_path):
    async def run():
        opts = options(watched.url, wait_replicas=1, timeout=2.0, wait_ms=1_500)
        first, second = watched.servers
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, subject("bank"))
            load = Load(a, b)

            async def fail_over():
                assert "OK" in watched.sentinel.ask("SENTINEL", "FAILOVER", "fleet")
                await until(lambda: "role:master" in second.ask("INFO", "replication"), 20)
                await until(lambda: "role:slave" in first.ask("INFO", "replication"), 20)

            await _under(load, fail_over)
            await _none_is_lost(load, a, b)

    asyncio.run(run())
