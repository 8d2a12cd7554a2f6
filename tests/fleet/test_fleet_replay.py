"""Tokens seen by one node are known to the others."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time

import pytest
from fleet_nodes import options, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stores.fleetreplay import FleetReplayStore
from stores.memory import MemoryReplayStore
from verifier.replay import Sighting


def seen(key: bytes | str, call_id: str | None = None, until_: int = 160) -> Sighting:
    return Sighting(key.encode() if isinstance(key, str) else key, call_id, until_)


@contextlib.asynccontextmanager
async def stores(url, count=2, **more):
    opened = [FleetReplayStore(options(url), **({"timeout": 1.0} | more)) for _ in range(count)]
    try:
        yield opened
    finally:
        for store in opened:
            await store.close()


@pytest.mark.parametrize("where", ["redis", "cluster"])
def test_a_token_is_new_once_in_the_fleet(where, request):
    url = request.getfixturevalue(where).url

    async def run():
        async with stores(url) as (one, two):
            keys = [secrets.token_bytes(16) for _ in range(40)]
            first = await one.first_seen_all([seen(key, "c1") for key in keys], 100)
            assert first == [True] * 40
            assert await two.first_seen_all([seen(key, "c1") for key in keys], 100) == [True] * 40
            assert await two.first_seen_all([seen(key, "c2") for key in keys], 100) == [False] * 40
            assert await one.first_seen_all([seen(key) for key in keys], 100) == [False] * 40
            fresh, twice = secrets.token_bytes(16), [secrets.token_bytes(16)] * 2
            asked = [seen(fresh), *(seen(key) for key in twice), seen(keys[0], "c1")]
            assert await one.first_seen_all(asked, 100) == [True, True, False, True]
            assert await one.first_seen_all([], 100) == []
            assert one.problem is two.problem is None

    asyncio.run(run())


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    asked=st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from("abc"), st.sampled_from([None, "x", "y"])),
        max_size=12,
    )
)
def test_two_nodes_answer_as_one_memory_would(redis, asked):
    redis.ask("FLUSHALL")

    async def run():
        model = MemoryReplayStore()
        async with stores(redis.url) as nodes:
            for node, key, call_id in asked:
                expected = model.first_seen(key.encode(), call_id, 160, 100)
                answer = await nodes[node].first_seen_all([seen(key, call_id)], 100)
                assert answer == [expected]

    asyncio.run(run())


def test_what_is_known_here_needs_no_redis(serve):
    server = serve()

    async def run():
        async with stores(server.url, 1, timeout=0.3) as (store,):
            assert await store.first_seen_all([seen("k", "c")], 100) == [True]
            server.kill()
            assert await store.first_seen_all([seen("k", "d"), seen("k", "c")], 100) == [
                False,
                True,
            ]
            assert store.problem is None

    asyncio.run(run())


def test_a_silent_redis_is_waited_for_shortly_and_nothing_passes(serve):
    server = serve()

    async def run():
        async with stores(server.url, 1, timeout=0.2) as (store,):
            assert await store.first_seen_all([seen("a")], 100) == [True]
            server.pause()
            begun = time.monotonic()
            assert await store.first_seen_all([seen("b", "c"), seen("a")], 100) == [None, False]
            assert time.monotonic() - begun < 0.4
            begun = time.monotonic()
            assert await store.first_seen_all([seen("b", "c")], 100) == [None]
            assert time.monotonic() - begun < 0.1  # left alone for a moment
            assert "cannot be asked" in store.problem
            server.resume()
            # What was not answered was not remembered as new; the same call may ask again.
            answers = []

            async def answered():
                answers.append((await store.first_seen_all([seen("b", "c")], 100))[0])
                return answers[-1] is not None

            await until(answered)
            assert answers[-1] is True
            assert store.problem is None

    asyncio.run(run())


def test_a_redis_without_memory_answers_none(serve):
    server = serve()

    async def run():
        async with stores(server.url, 1) as (store,):
            server.ask("CONFIG", "SET", "maxmemory", "100kb")
            assert await store.first_seen_all([seen("a")], 100) == [None]
            assert "out of memory" in store.problem

    asyncio.run(run())


def test_tokens_are_forgotten_after_their_time(redis):
    async def run():
        async with stores(redis.url) as (one, two):
            now = int(time.time())
            assert await one.first_seen_all([seen("k", "c", now + 1)], now) == [True]
            assert 0 < int(redis.ask("TTL", "zx:seen:k")) <= 2
            await until(lambda: redis.ask("EXISTS", "zx:seen:k").strip() == "0")
            assert await two.first_seen_all([seen("k", "d", now + 60)], now + 3) == [True]
            assert await one.first_seen_all([seen("k", "d", now + 60)], now + 3) == [True]

    asyncio.run(run())


def test_memory_here_is_bounded(redis):
    async def run():
        async with stores(redis.url, 1, limit=10) as (store,):
            asked = [seen(secrets.token_bytes(16)) for _ in range(50)]
            assert await store.first_seen_all(asked, 100) == [True] * 50
            assert len(store) == 10
            assert await store.first_seen_all(asked, 100) == [False] * 50

    asyncio.run(run())
