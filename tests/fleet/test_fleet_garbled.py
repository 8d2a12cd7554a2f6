"""A Redis, or something before it, that answers wrongly in the middle of a write."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from fleet_nodes import Node, holding, options, subject, until, write

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.signer.origids import Given
from zhenxian.stores.analytics.fleet import FleetExchange
from zhenxian.stores.origids.file import OrigidFile
from zhenxian.stores.origids.fleet import FleetOrigids
from zhenxian.stores.replay.fleet import FleetReplayStore
from zhenxian.verifier.replay import NEW, UNKNOWN, Sighting

APPEND = b"XADD"  # stands in the script of an append
STATE = b"XINFO"  # in that of what Redis holds
SIGHT = b"redis.pcall('SET'"  # in that of tokens


class Listening:
    """Answers on a port of its own while it is open."""

    form = "redis://127.0.0.1:{}/0"

    def __init__(self):
        self._tasks = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._begun, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = self.form.format(self.port)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _begun(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        await self._pass(reader, writer)


class Between(Listening):
    """Passes all on between nodes and Redis, but the next answer to some question."""

    def __init__(self, port):
        super().__init__()
        self._port = port
        self.to = b""
        self.instead = None
        self.after = True  # what was asked is done all the same
        self.garbled = 0

    async def _pass(self, reader, writer):
        there, here = await asyncio.open_connection("127.0.0.1", self._port)

        async def back():
            while data := await there.read(65_536):
                writer.write(data)

        answers = asyncio.create_task(back())
        try:
            while data := await reader.read(1 << 20):
                if self.instead is None or self.to not in data:
                    here.write(data)
                    continue
                self.garbled += 1
                instead, self.instead = self.instead, None
                if self.after:
                    answers.cancel()
                    await asyncio.wait([answers])  # two may not read at once
                    here.write(data)
                    await there.read(65_536)
                    answers = asyncio.create_task(back())
                writer.write(instead)
                if instead.endswith(b"\n"):
                    continue
                break  # cut off
        except ConnectionError:
            pass
        finally:
            answers.cancel()
            for each in (writer, here):
                each.close()
            await asyncio.sleep(0)


ANSWERS = {
    "cut off": b"$2\r\no",
    "nothing": b"$-1\r\n",
    "a number": b":7\r\n",
    "a list": b"*2\r\n:1\r\n:2\r\n",
    "another word": b"$3\r\nyes\r\n",
    "no text": b"$1\r\n\xff\r\n",
    "words for numbers": b"*7\r\n$1\r\nj\r\n$1\r\nh\r\n" + b"$1\r\nx\r\n" * 5,
    "no number of an entry": b"*1\r\n*2\r\n$3\r\nzzz\r\n*2\r\n$1\r\nd\r\n$1\r\nx\r\n",
    "no protocol": b"<html>\r\n",
    "loading": b"-LOADING Redis is loading the dataset in memory\r\n",
    "no memory": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "a replica": b"-READONLY You can't write against a read only replica.\r\n",
    "no disk": b"-MISCONF Redis is configured to save RDB snapshots, but it can't persist.\r\n",
}
AGAIN = {"cut off", "loading"}  # by which the client asks again by itself
REFUSALS = {"loading", "no memory", "a replica", "no disk"}  # by which nothing is done


@pytest.mark.parametrize("name", ANSWERS)
def test_a_wrong_answer_to_a_write_is_told_and_heals(redis, tmp_path, name):
    """It is made or refused, the node goes on, and who asks again by the same key learns which."""

    async def run():
        async with Between(redis.port) as between, Node(tmp_path, "a", options(between.url)) as a:
            await write(a, subject("bank"))
            key = {"request": b"r" * 32, "fingerprint": b"f"}
            between.to, between.instead = APPEND, ANSWERS[name]
            between.after = name not in REFUSALS
            with contextlib.suppress(StoreUnavailableError):
                await write(a, holding("100"), **key)
            assert between.garbled == 1
            await until(lambda: a.current)
            assert (await write(a, holding("100"), **key)).seq == 2
            assert (await write(a, holding("101"))).seq == 3

    asyncio.run(run())


@pytest.mark.parametrize("name", ANSWERS)
def test_a_wrong_answer_to_what_redis_holds_ends_no_start_and_no_write(redis, tmp_path, name):
    async def run():
        async with Node(tmp_path, "a", options(redis.url)) as a:
            await write(a, subject("bank"))
        async with Between(redis.port) as between:
            between.to, between.instead = STATE, ANSWERS[name]
            async with Node(tmp_path, "b", options(between.url)) as b:
                assert between.garbled == 1
                await until(lambda: b.current)
                await write(b, holding("100"))

    asyncio.run(run())


@pytest.mark.parametrize("name", sorted(ANSWERS.keys() - AGAIN))
def test_a_wrong_answer_about_tokens_is_told_and_ends_nothing(redis, name):
    """Neither the question of a call, nor the one by which a node finds out that all is well."""

    async def run():
        async with Between(redis.port) as between:
            now, clock = [1_000_000], [0.0]
            store = FleetReplayStore(options(between.url), clock=lambda: clock[0])
            one, other = Sighting(b"1" * 16, now[0] + 60), Sighting(b"2" * 16, now[0] + 60)
            between.to, between.instead, between.after = SIGHT, ANSWERS[name], False
            assert await store.sight_all([one, other], now[0]) == [UNKNOWN, UNKNOWN]
            assert store.problem is not None
            clock[0] += 60
            between.instead = ANSWERS[name]
            await store.mend()
            assert between.garbled == 2
            clock[0] += 60
            await store.mend()
            assert store.problem is None
            assert await store.sight_all([one, other], now[0]) == [NEW, NEW]
            await store.close()

    asyncio.run(run())


@pytest.mark.parametrize("name", sorted(ANSWERS.keys() - {"nothing"}))
def test_a_wrong_answer_about_origids_is_told_and_loses_none(redis, tmp_path, name):
    """Neither of the node that sends them, nor of one that asks. Nothing is what NX answers."""

    async def run():
        file = OrigidFile(tmp_path / "origids.db", "north")
        now = int(time.time())
        origid = file.give("trunk", "b0000000-0000-4000-8000-000000000001", now)
        async with Between(redis.port) as between:
            north = FleetOrigids(options(between.url), file, 86_400)
            between.to, between.instead, between.after = b"zx:origid", ANSWERS[name], False
            await north.send(now)
            assert between.garbled == 1
            await north.send(now)
            assert (file.waiting(), north.problem) == (0, None)
            between.instead = ANSWERS[name]
            if name in AGAIN:
                await north.find(origid)
            else:
                with pytest.raises(StoreUnavailableError):
                    await north.find(origid)
            given = Given("trunk", "b0000000-0000-4000-8000-000000000001", now, "north")
            assert await north.find(origid) == given
            await north.close()
        file.close()

    asyncio.run(run())


@pytest.mark.parametrize("name", ANSWERS)
def test_a_wrong_answer_about_conduct_is_told_and_heals(redis, name):
    """Whichever question it answers: no other error comes out of it, and all is exchanged again."""

    async def run():
        now = int(time.time())
        async with Between(redis.port) as between:
            patience = {"timeout": 0.5}  # by some answers the rest of a pipeline does not come
            one = FleetExchange(options(between.url, **patience), f"one {name}", "here")
            two = FleetExchange(options(redis.url), f"two {name}", "there")
            await two.receive(now)

            async def swap():
                one._beaten = float("-inf")
                found = await one.receive(now)
                assert all(isinstance(text, bytes) for text in await one.standing())
                await one.send([b"seen"], [], now)
                await one.deliver([(two.name, b"yours")])
                await one.answer("place", b"found")
                return found

            async def swapped(what=None):
                with contextlib.suppress(StoreUnavailableError):
                    found = await swap()
                    return what is None or what in found

            questions = (b"TIME", b"HGETALL", b"EXISTS", b"XREVRANGE", b"XRANGE", b"HVALS", b"XADD")
            for between.to in questions:
                one._heard, one._gap = b"", True
                between.instead, between.after = ANSWERS[name], name not in REFUSALS
                await swapped()
                assert between.instead is None, between.to
                await until(swapped)
            await two.receive(now)
            await two.send([b"seen there"], [], now)
            await until(lambda: swapped((two.name, b"seen there")))
            assert {one.name, two.name} <= {member.name for member in one.members}
            between.to, between.instead = b"LPOP", ANSWERS[name]
            with contextlib.suppress(StoreUnavailableError):
                found = await one.ask("subject x")  # what it means, whoever asks finds out
                assert found is None or isinstance(found, bytes)
            await one.close()
            await two.close()

    asyncio.run(run())


@pytest.mark.parametrize("name", ["a number", "a list", "another word"])
def test_what_is_no_number_of_an_entry_is_none_that_was_made(redis, name):
    """Conduct of which Redis does not say that it has it is sent again, whoever it is for."""

    async def run():
        async with Between(redis.port) as between:
            one = FleetExchange(options(between.url), f"one {name}", "here")
            between.to, between.after = b"XADD", False
            for send in (
                lambda: one.send([b"seen"], [], int(time.time())),
                lambda: one.deliver([("two", b"yours")]),
                lambda: one.ask("subject x"),
            ):
                between.instead = ANSWERS[name]
                with pytest.raises(StoreUnavailableError):
                    await send()
                await send()
            await one.close()

    asyncio.run(run())


@pytest.mark.parametrize("question", [b"XREAD", b"CONFIG", b"HSET"])
@pytest.mark.parametrize("name", ANSWERS)
def test_a_wrong_answer_ends_no_following(redis, tmp_path, name, question):
    """Orders of others come through all the same: the node would not learn of them."""

    async def run():
        async with (
            Between(redis.port) as between,
            Node(tmp_path, "a", options(redis.url)) as a,
        ):
            await write(a, subject("bank"))
            async with Node(tmp_path, "b", options(between.url)) as b:
                between.to, between.instead, between.after = question, ANSWERS[name], True
                await until(lambda: between.garbled, what="the question")
                await write(a, holding("100"))
                await until(lambda: b.seq == 2, what="following")
                await until(lambda: not b.problems())

    asyncio.run(run())


def masters(name, port):
    """What a Sentinel says of one primary that is well."""
    told = {
        "name": name,
        "ip": "127.0.0.1",
        "port": str(port),
        "flags": "master",
        "num-other-sentinels": "0",
    }
    words = [word for pair in told.items() for word in pair]
    said = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    return f"*1\r\n*{len(words)}\r\n{said}".encode()


class Garbler(Listening):
    """A Sentinel that names a primary, or answers in whatever form it is told to."""

    form = "sentinel://127.0.0.1:{}/fleet"

    def __init__(self, port):
        super().__init__()
        self.right = self.answer = masters("fleet", port)
        self.asked = 0

    async def _pass(self, reader, writer):
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(65_536):
                self.asked += 1
                writer.write(self.answer if b"masters" in data.lower() else b"+OK\r\n")
                if self.answer.startswith(b"$2"):
                    break  # cut off


WRONG = {
    **ANSWERS,
    "no flags": b"*1\r\n*2\r\n$4\r\nname\r\n$5\r\nfleet\r\n",
    "no port": masters("fleet", 0).replace(b"$4\r\nport", b"$4\r\nwort"),
    "a port of words": masters("fleet", 0).replace(b"$1\r\n0\r\n", b"$1\r\nx\r\n", 1),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_sentinel_that_answers_wrongly_hides_no_other(redis, tmp_path, name):
    async def run():
        async with Garbler(redis.port) as wrong, Garbler(redis.port) as right:
            wrong.answer = WRONG[name]
            url = f"sentinel://127.0.0.1:{wrong.port},127.0.0.1:{right.port}/fleet"
            async with Node(tmp_path, "a", options(url)) as a:
                assert (await write(a, subject("bank"))).seq == 1
                assert a.current
                assert wrong.asked

    asyncio.run(run())


@pytest.mark.parametrize("name", WRONG)
def test_a_sentinel_that_answers_wrongly_ends_no_node(redis, tmp_path, name):
    """A node goes on, by the connections that it has, and one that starts then is healed later."""

    async def run():
        async with Garbler(redis.port) as between, Node(tmp_path, "a", options(between.url)) as a:
            await write(a, subject("bank"))
            key = {"request": b"r" * 32, "fingerprint": b"f"}
            between.answer, asked = WRONG[name], between.asked
            await until(lambda: between.asked > asked + 1)
            with contextlib.suppress(StoreUnavailableError):  # where it needs a new connection
                await write(a, holding("100"), **key)
            async with Node(tmp_path, "b", options(between.url)) as late:
                asked = between.asked
                await until(lambda: between.asked > asked)
                with pytest.raises(StoreUnavailableError):
                    await write(late, holding("101"))
                between.answer = between.right
                await until(lambda: a.current and late.current)
                assert (await write(a, holding("100"), **key)).seq == 2
                assert (await write(late, holding("101"))).seq == 3

    asyncio.run(run())
