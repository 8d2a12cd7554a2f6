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
from redis_server import Move

from zhenxian.stores.replay.fleet import FleetReplayStore
from zhenxian.stores.replay.memory import MemoryReplayStore
from zhenxian.verifier.replay import CALL, NEW, REPLAY, UNKNOWN, Question, Sight, Sighted, Sighting


def seen(
    key: bytes | str,
    call: str | None = None,
    until_: int = 160,
    *,
    request: bytes | None = None,
    asker: bytes = b"proxy",
    at: float = 100.0,
    answer: bytes = b"",
) -> Sighting:
    """A sighting as the front end makes them."""
    question = Question(
        at,
        (asker, call.encode()) if call is not None else None,
        (asker, b"id", request) if request is not None else None,
    )
    return Sighting(key.encode() if isinstance(key, str) else key, until_, question, answer)


@contextlib.asynccontextmanager
async def stores(url, count=2, **more):
    opened = [FleetReplayStore(options(url), **({"timeout": 10.0} | more)) for _ in range(count)]
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
            first = await one.sight_all([seen(key, "c1") for key in keys], 100)
            assert first == [NEW] * 40
            assert await two.sight_all([seen(key, "c1") for key in keys], 100) == [CALL] * 40
            assert await two.sight_all([seen(key, "c2") for key in keys], 100) == [REPLAY] * 40
            assert await one.sight_all([seen(key) for key in keys], 100) == [REPLAY] * 40
            fresh, other = secrets.token_bytes(16), secrets.token_bytes(16)
            asked = [seen(fresh), seen(other), seen(keys[0], "c1")]
            assert await one.sight_all(asked, 100) == [NEW, NEW, CALL]
            assert await one.sight_all([], 100) == []
            assert one.problem is two.problem is None

    asyncio.run(run())


def test_a_token_whose_slot_is_moved_is_new_once(cluster):
    async def run():
        token = secrets.token_hex(8)
        async with stores(cluster.url, 6) as nodes:
            others = iter(nodes)

            async def asked():
                """By a node that does not know the token itself."""
                return (await next(others).sight_all([seen(token)], 100))[0]

            assert await asked() == NEW
            places = [each.ask("KEYS", f"*{token}*").split() for each in cluster.servers]
            ((key,),) = filter(None, places)
            moving = Move(cluster, key)
            moving.begin()
            assert await asked() in (REPLAY, UNKNOWN)
            moving.carry(key)
            assert await asked() in (REPLAY, UNKNOWN)
            moving.end()
            assert await asked() in (REPLAY, UNKNOWN)
            last = next(others)

            async def known():
                return await last.sight_all([seen(token)], 100) == [REPLAY]

            await until(known, 20)

    asyncio.run(run())


def test_a_batch_is_one_command(serve):
    server = serve()

    async def run():
        async with stores(server.url, 1) as (store,):
            await store.sight_all([seen("warm")], 100)
            server.ask("CONFIG", "RESETSTAT")
            asked = [seen(secrets.token_bytes(16)) for _ in range(64)]
            assert await store.sight_all(asked, 100) == [NEW] * 64
            stats = server.ask("INFO", "commandstats")
            assert "cmdstat_eval:calls=1," in stats
            assert "cmdstat_set:calls=64," in stats  # those of the script

    asyncio.run(run())


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    asked=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from("abc"),
            st.sampled_from([None, "x", "y"]),
            st.sampled_from([None, b"x", b"y"]),
            st.sampled_from([b"p", b"q"]),
            st.sampled_from([0.0, 0.5, 1.5]),
        ),
        max_size=12,
    )
)
def test_two_nodes_answer_as_one_memory_would(redis, asked):
    redis.ask("FLUSHALL")

    async def run():
        model, at = MemoryReplayStore(), 100.0
        async with stores(redis.url) as nodes:
            for number, (node, key, call, request, asker, later) in enumerate(asked):
                at += later
                one = seen(key, call, request=request, asker=asker, at=at, answer=b"%d" % number)
                expected = model.sight(one, int(at))
                assert await nodes[node].sight_all([one], int(at)) == [expected]

    asyncio.run(run())


def test_a_repeated_request_gets_the_first_answer_on_another_node_in_the_same_command(serve):
    server = serve()

    async def run():
        async with stores(server.url, 3) as (one, two, three):
            asked = [seen("k", request=b"body", answer=name) for name in (b"one", b"two")]
            # At the same instant: whoever Redis hears first has the word.
            told = await asyncio.gather(one.sight_all([asked[0]], 100),
                                        two.sight_all([asked[1]], 100))  # fmt: skip
            (first,) = [index for index, (sighted,) in enumerate(told) if sighted is NEW]
            answer = asked[first].answer
            assert told[1 - first] == [Sighted(Sight.REQUEST, answer)]
            server.ask("CONFIG", "RESETSTAT")
            assert await three.sight_all([asked[0]], 101) == [Sighted(Sight.REQUEST, answer)]
            commands = server.ask("INFO", "commandstats")
            assert "cmdstat_set:calls=1," in commands
            assert "cmdstat_get" not in commands
            # From then on it is known here, too.
            assert await three.sight_all([asked[0]], 101) == [Sighted(Sight.REQUEST, answer)]
            late = seen("k", request=b"body", at=102.0)
            other = seen("k", request=b"body", asker=b"another", at=100.5)
            for node in (one, two, three):
                assert await node.sight_all([late], 102) == [REPLAY]
                assert await node.sight_all([other], 100) == [REPLAY]

    asyncio.run(run())


def test_a_request_whose_first_answer_was_lost_on_the_way_is_asked_again(serve):
    server = serve()

    async def run():
        async with stores(server.url, 2, timeout=1.0) as (one, two):
            asked = seen("k", request=b"body", answer=b"yes")
            assert await one.sight_all([seen("warm")], 100) == [NEW]
            server.pause()
            assert await one.sight_all([asked], 100) == [UNKNOWN]
            server.resume()
            answers = []

            async def answered():
                answers.append((await two.sight_all([asked], 100))[0])
                return answers[-1] is not UNKNOWN

            await until(answered)
            # Redis may have recorded what it could not answer: either way it is no replay.
            assert answers[-1] in (NEW, Sighted(Sight.REQUEST, b"yes"))

    asyncio.run(run())


@pytest.mark.parametrize("value", ["-", "0123456789abcdef", ""])
def test_what_an_earlier_release_wrote_is_a_replay(redis, value):
    redis.ask("SET", "zx:seen:old", value)

    async def run():
        async with stores(redis.url, 1) as (store,):
            asked = seen("old", "c", request=b"body")
            assert await store.sight_all([asked, asked], 100) == [REPLAY, REPLAY]

    asyncio.run(run())


def test_a_body_and_a_call_id_of_any_length_take_a_fixed_place(redis):
    async def run():
        async with stores(redis.url, 1) as (store,):
            await store.sight_all(
                [seen("long", "c" * 100_000, request=b"b" * 100_000), seen("short", "c")], 100
            )
            sizes = {redis.ask("STRLEN", f"zx:seen:{key}").strip() for key in ("long", "short")}
            assert sizes == {"41"}

    asyncio.run(run())


def test_what_is_known_here_needs_no_redis(serve):
    server = serve()

    async def run():
        async with stores(server.url, 1) as (store,):
            assert await store.sight_all([seen("k", "c")], 100) == [NEW]
            server.kill()
            asked = [seen("k", "d"), seen("k", "c")]
            assert await store.sight_all(asked, 100) == [REPLAY, CALL]
            assert store.problem is None

    asyncio.run(run())


def test_a_silent_redis_is_waited_for_shortly_and_nothing_passes(serve, monkeypatch):
    server = serve()

    async def run():
        async with stores(server.url, 1, timeout=1.0) as (store,):
            assert await store.sight_all([seen("a")], 100) == [NEW]
            server.pause()
            assert await store.sight_all([seen("b", "c"), seen("a")], 100) == [UNKNOWN, REPLAY]
            asked = store._ask
            monkeypatch.setattr(store, "_ask", None)  # left alone for a moment
            monkeypatch.setattr(store, "_clock", lambda: store._rest_until - 0.01)
            assert await store.sight_all([seen("b", "c")], 100) == [UNKNOWN]
            monkeypatch.setattr(store, "_clock", time.monotonic)
            monkeypatch.setattr(store, "_ask", asked)
            assert "cannot be asked" in store.problem
            server.resume()
            # What was not answered was not remembered as new; the same call may ask again.
            answers = []

            async def answered():
                answers.append((await store.sight_all([seen("b", "c")], 100))[0])
                return answers[-1] is not UNKNOWN

            await until(answered)
            assert answers[-1] in (NEW, CALL)
            assert store.problem is None

    asyncio.run(run())


def test_a_redis_without_memory_answers_none(serve):
    server = serve()

    async def run():
        async with stores(server.url, 1) as (store,):
            server.ask("CONFIG", "SET", "maxmemory", "100kb")
            assert await store.sight_all([seen("a")], 100) == [UNKNOWN]
            assert "out of memory" in store.problem

    asyncio.run(run())


def test_tokens_are_forgotten_after_their_time(redis):
    async def run():
        async with stores(redis.url) as (one, two):
            now = int(time.time())
            assert await two.sight_all([seen("long", "c", now + 1000)], now) == [NEW]
            assert 900 < int(redis.ask("TTL", "zx:seen:long")) <= 1001
            assert await one.sight_all([seen("k", "c", now + 1)], now) == [NEW]
            await until(lambda: redis.ask("EXISTS", "zx:seen:k").strip() == "0")
            asked = seen("k", "d", now + 60, at=now + 3.0)
            assert await two.sight_all([asked], now + 3) == [NEW]
            assert await one.sight_all([asked], now + 3) == [CALL]

    asyncio.run(run())


def test_memory_here_is_bounded(redis):
    async def run():
        async with stores(redis.url, 1, limit=10) as (store,):
            asked = [seen(secrets.token_bytes(16)) for _ in range(50)]
            assert await store.sight_all(asked, 100) == [NEW] * 50
            assert len(store) == 10
            assert await store.sight_all(asked, 100) == [REPLAY] * 50

    asyncio.run(run())


def test_what_others_put_at_a_key_is_no_fault_of_redis(redis):
    """One token is unknown then, and no other; the node is well."""

    async def run():
        async with stores(redis.url, 1) as (store,):
            key = secrets.token_hex(16)
            redis.ask("RPUSH", f"zx:seen:{key}", "junk")
            redis.ask("RPUSH", "zx:seen:probe", "junk")
            answers = await store.sight_all([seen(key), seen(secrets.token_bytes(16))], 100)
            assert answers == [UNKNOWN, NEW]
            assert store.problem is None
            store.problem = "Redis was away"
            await store.mend()
            assert store.problem is None

    asyncio.run(run())
