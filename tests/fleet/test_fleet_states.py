"""A node is driven through every row of its table of transitions, on a real Redis."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from fleet_nodes import LAG, Node, options, subject, until, write

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.stores.fleet import follower, journal
from zhenxian.stores.fleet.states import TRANSITIONS, Condition, Event, NodeState

STARTING, CURRENT, BEHIND, REBUILDING = list(NodeState)[:4]
UNREACHABLE, STRANDED, STALLED, FOREIGN, UNSAFE, UNREADABLE = list(NodeState)[4:]


async def redis_goes_and_comes_back(server, folder):
    async with Node(folder, "b", options(server.url, lag_limit=LAG)) as b:
        await write(b, subject("bank"))
        server.kill()
        await until(lambda: b.state is UNREACHABLE)
        assert b.whole_since(float("-inf"))
        await until(lambda: not b.current)  # after `lag_limit`
        server.start()
        await until(lambda: b.current)


async def redis_is_away_when_the_node_starts(server, folder):
    server.kill()
    async with Node(folder, "b", options(server.url)) as b:
        assert b.state is STRANDED
        assert not b.current
        server.start()
        await until(lambda: b.current)


async def many_commits_are_missing(server, folder):
    async with Node(folder, "a", options(server.url)) as a:
        for number in range(5):
            await write(a, subject(f"s{number}"))
        async with Node(folder, "b", options(server.url)) as b:
            assert b.seq == 5
            assert b.current


async def the_stream_was_trimmed(server, folder):
    opts = options(server.url, keep_commits=1)
    async with Node(folder, "a", opts) as a:
        await write(a, subject("one"))
        async with Node(folder, "b", opts) as b:
            await until(lambda: b.seq == 1)
        await write(a, subject("two"))
        await write(a, subject("three"))
        assert await a.checkpoint()
        async with Node(folder, "b", opts) as b:
            assert b.seq == 3
            assert b.current


async def the_checkpoint_is_damaged(server, folder):
    opts = options(server.url, keep_commits=1)
    async with Node(folder, "a", opts) as a:
        await write(a, subject("one"))
        await write(a, subject("two"))
        assert await a.checkpoint()
    name = server.ask("HGET", "{zx}:checkpoint", "name").strip()
    server.ask("SET", f"{{zx}}:checkpoint:{name}:0", "damaged")
    async with Node(folder, "b", opts) as b:
        await until(lambda: b.state is UNREADABLE)
        tried = len(trail := b.node.condition.trail)
        await until(lambda: len(trail) > tried + 4)  # two more times, at least
        assert {state for _, _, state in trail[tried:]} == {UNREADABLE}
        assert any("checkpoint is damaged" in problem for problem in b.problems())
        assert not b.current
        server.kill()
        await until(lambda: b.state is STRANDED)


async def redis_is_emptied(server, folder):
    async with Node(folder, "b", options(server.url)) as b:
        await write(b, subject("bank"))
        await b.sync()
        server.ask("FLUSHALL")
        await until(lambda: b.state is FOREIGN)
        assert not b.current
        await b.reseed()
        await until(lambda: b.current)


async def redis_keeps_nothing_any_more(server, folder):
    async with Node(folder, "b", options(server.url)) as b:
        server.kill()  # first: the node would see the settings change
        await until(lambda: b.state is UNREACHABLE)
        conf = server.folder / "redis.conf"
        text = conf.read_text()
        conf.write_text(text.replace("appendonly yes", "appendonly no"))
        server.start()
        await until(lambda: b.state is UNSAFE)
        assert not b.current
        with contextlib.suppress(StoreUnavailableError):
            await b.sync()
        server.ask("CONFIG", "SET", "appendonly", "yes")
        await until(lambda: b.current)


async def the_disk_takes_nothing(server, folder):
    """What is tried again meanwhile is no news, however many commits are missing."""
    opts = options(server.url)
    async with Node(folder, "a", opts) as a:
        await write(a, subject("bank"))
        async with Node(folder, "b", opts) as b:
            replica = b.node._replica._file.connection
            await b.with_writer(lambda _: replica.run("PRAGMA query_only = 1"))
            await write(a, subject("s0"))
            await until(lambda: b.state is STALLED)
            assert not b.current
            for number in range(1, 4):
                await write(a, subject(f"s{number}"))
            tried = (STALLED, Event.LACKING, STALLED)
            await until(lambda: b.node.condition.trail.count(tried) > 1)
            assert b.state is STALLED
            assert any("cannot be followed" in problem for problem in b.problems())
            await b.with_writer(lambda _: replica.run("PRAGMA query_only = 0"))
            await until(lambda: b.current)
            assert b.seq == 5


# What happens, and the transitions that node b must make by it, among others.
CASES = [
    (
        redis_goes_and_comes_back,
        [
            (STARTING, Event.CAUGHT_UP, CURRENT),
            (CURRENT, Event.NO_ANSWER, UNREACHABLE),
            (UNREACHABLE, Event.CAUGHT_UP, CURRENT),
        ],
    ),
    (
        redis_is_away_when_the_node_starts,
        [
            (STARTING, Event.NO_ANSWER, STRANDED),
            (STRANDED, Event.CAUGHT_UP, CURRENT),
        ],
    ),
    (
        many_commits_are_missing,
        [(STARTING, Event.LACKING, BEHIND), (BEHIND, Event.CAUGHT_UP, CURRENT)],
    ),
    (
        the_stream_was_trimmed,
        [
            (STARTING, Event.NOT_FOLLOWING, REBUILDING),
            (REBUILDING, Event.REBUILT, BEHIND),
            (BEHIND, Event.CAUGHT_UP, CURRENT),
        ],
    ),
    (
        the_checkpoint_is_damaged,
        [
            (STARTING, Event.NOT_FOLLOWING, REBUILDING),
            (REBUILDING, Event.NOT_READABLE, UNREADABLE),
            (UNREADABLE, Event.NOT_TAKEN, UNREADABLE),
            (UNREADABLE, Event.NOT_FOLLOWING, UNREADABLE),
        ],
    ),
    (
        redis_is_emptied,
        [(CURRENT, Event.NOT_OURS, FOREIGN), (FOREIGN, Event.CAUGHT_UP, CURRENT)],
    ),
    (
        redis_keeps_nothing_any_more,
        [
            (UNREACHABLE, Event.NOT_SAFE, UNSAFE),
            (UNSAFE, Event.CAUGHT_UP, CURRENT),
        ],
    ),
    (
        the_disk_takes_nothing,
        [
            (CURRENT, Event.NOT_TAKEN, STALLED),
            (STALLED, Event.LACKING, STALLED),
            (STALLED, Event.CAUGHT_UP, CURRENT),
        ],
    ),
]


@pytest.fixture
def moves(monkeypatch):
    """The transitions of all conditions, each under its condition, which has them as `trail`."""
    made: dict[int, list] = {}
    learn = Condition.learn

    def learnt(self, event, why=""):
        before = self.state
        learn(self, event, why)
        made[id(self)] = vars(self).setdefault("trail", [])
        made[id(self)].append((before, event, self.state))

    monkeypatch.setattr(Condition, "learn", learnt)
    return made


@pytest.mark.parametrize(("happens", "expected"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_node_moves_as_the_table_says(happens, expected, serve, tmp_path, moves, monkeypatch):
    for module in (follower, journal):
        monkeypatch.setattr(module, "MAX_RANGE", 2)  # commits read at a time
    server = serve()
    asyncio.run(happens(server, tmp_path))
    assert any(follows(trail, expected) for trail in moves.values()), moves
    listed = {
        (source, step.event, step.to or source) for step in TRANSITIONS for source in step.sources
    }
    assert {move for trail in moves.values() for move in trail} <= listed


def follows(trail, expected) -> bool:
    """True when these transitions were made in this order, with others between."""
    rest = iter(trail)
    return all(move in rest for move in expected)


def test_every_row_of_the_table_is_driven():
    driven = {move for _, expected in CASES for move in expected}
    for step in TRANSITIONS:
        assert any(
            event is step.event and source in step.sources and to is (step.to or source)
            for source, event, to in driven
        ), step
