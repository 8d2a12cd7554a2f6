"""Real processes: how long an order takes to reach every node, and nodes that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time

from fleet_nodes import Node, holding, options, order, state, subject, until, write

from bench.orders import measure
from zhenxian.registry.journal import put
from zhenxian.registry.model import Who


@contextlib.contextmanager
def lateness():
    """Milliseconds by which the machine itself was late meanwhile, at most: [so many]."""
    worst, ended = [0.0], threading.Event()

    def look():
        while not ended.is_set():
            begun = time.monotonic()
            time.sleep(0.01)
            worst[0] = max(worst[0], (time.monotonic() - begun - 0.01) * 1_000)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield worst
    finally:
        ended.set()
        looking.join()


def test_an_order_is_in_force_on_every_node_within_a_second(redis):
    with lateness() as late:
        delays = measure(nodes=3, orders=25, url=redis.url)
    assert delays.count == 75
    assert 0 <= delays.p50 <= delays.p99 <= delays.worst
    assert delays.p50 < 1_000
    assert delays.p99 < 1_000 + late[0]


def test_a_node_killed_while_it_follows_misses_nothing(redis, tmp_path):
    async def run():
        async with Node(tmp_path, "a", options(redis.url)) as a:
            await write(a, subject("bank"), subject("shop"))
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.orders", redis.url, str(tmp_path), "victim"
            )
            try:

                async def following():
                    return any(node["node"] == "victim" for node in await a.nodes())

                await until(following)
                for number in range(80):
                    await write(a, holding(str(1000 + number)))
                    if number == 40:
                        await write(a, put(order("o1", 1, "shop")))
            finally:
                child.kill()
                await child.wait()
            await write(a, holding("500"))
            async with Node(tmp_path, "victim", options(redis.url)) as again:
                assert again.current
                assert state(again) == state(a)
                assert again.order(Who(subjects=("shop",)), 2**40).id == "o1"
                await until(lambda: not again.problems())

                async def said():
                    words = await a.acknowledgements("o1")
                    return [node for node, _, _ in words] == ["a", "victim"]

                await until(said)

    asyncio.run(run())
