"""Redis restarted, paused, failed over, out of memory, emptied, rolled back; wrong passwords."""

from __future__ import annotations

import asyncio
import shutil
import time

import pytest
from fleet_nodes import HURRIED, LAG, Node, holding, options, order, state, subject, until, write
from redis_server import AGREED

from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.core.tn import TN
from zhenxian.registry.journal import put
from zhenxian.registry.model import Who
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.fleet.states import NodeState
from zhenxian.stores.sqlite.file import RegistryFile

EVER = 2**40  # seconds; any order is in force by then
BANK = Who(subjects=("bank",))


def test_redis_restarted_loses_nothing(serve, tmp_path):
    server = serve()

    async def run():
        opts = options(server.url, lag_limit=LAG)
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, subject("bank"))
            server.kill()
            with pytest.raises(StoreUnavailableError):
                await write(a, holding("100"))
            assert a.holding(TN("100")) is None
            server.start()
            await until(lambda: a.current and b.current)
            await write(a, holding("101"))
            await until(lambda: a.seq == b.seq)
            assert state(a) == state(b)
            await until(lambda: not a.problems() and not b.problems())

    asyncio.run(run())


def test_a_paused_redis_makes_the_copy_stale_and_resumed_makes_it_current(serve, tmp_path):
    server = serve()

    async def run():
        opts = options(server.url, **HURRIED)
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, subject("bank"), holding("100"))
            await until(lambda: b.seq == 1)
            server.pause()
            await until(lambda: not b.current)
            assert b.node.lag > LAG  # not before
            assert any("lack commits" in problem for problem in b.problems())
            assert b.holding(TN("100")).subject == "bank"  # reading goes on
            with pytest.raises(StoreUnavailableError, match=r"not known|reached"):
                await write(a, holding("101"))
            server.resume()
            await until(lambda: a.current and b.current)
            # What the pause held back may have come through: either way both agree.
            await write(a, holding("102"))
            await until(lambda: a.seq == b.seq)
            assert state(a) == state(b)
            await until(lambda: not a.problems() and not b.problems())

    asyncio.run(run())


def test_an_answer_that_was_lost_is_learnt_by_the_idempotency_key(serve, tmp_path):
    server = serve()

    async def run():
        key = {"request": b"r" * 32, "fingerprint": b"f"}
        async with Node(tmp_path, "a", options(server.url, timeout=1.0)) as a:  # current all along
            await write(a, subject("bank"))
            server.pause()
            with pytest.raises(StoreUnavailableError, match="idempotency key"):
                await write(a, holding("100"), **key)
            server.resume()
            commit = await write(a, holding("100"), **key)
            assert commit.seq == 2
            assert a.records.last()[0] == 2
            assert (await write(a, holding("100"), **key)).seq == 2

    asyncio.run(run())


@pytest.mark.parametrize("error", [ConnectionError, RuntimeError])
def test_a_node_cut_off_recovers_with_nothing_missed(serve, tmp_path, error):
    """The node is stopped, not Redis: commits and an order pass meanwhile."""
    server = serve()

    async def run():
        opts = options(server.url, lag_limit=LAG)
        async with Node(tmp_path, "a", opts) as a:
            node = Node(tmp_path, "b", opts)
            async with node as b:
                await write(a, subject("bank"))
                await until(lambda: b.seq == 1)
                answering = node.registry.node.link.client

                async def cut():
                    raise error("cut off")

                node.registry.node.link.client = cut
                await node.registry.node.link.lost()
                for number in range(30):
                    await write(a, holding(str(100 + number)))
                await write(a, put(order("o1", 1)))
                await until(lambda: any("cut off" in problem for problem in b.problems()))
                await until(lambda: not b.current)
                assert b.order(BANK, EVER) is None
                node.registry.node.link.client = answering
                await until(lambda: b.current)
                assert b.order(BANK, EVER).id == "o1"
                assert state(a) == state(b)
                await until(lambda: not b.problems())

    asyncio.run(run())


def test_without_redis_a_node_starts_with_its_copy_and_is_not_current(serve, tmp_path):
    server = serve()

    async def run():
        opts = options(server.url, lag_limit=LAG)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, subject("bank"), holding("100"))
        server.kill()
        async with Node(tmp_path, "a", opts) as a:
            assert not a.current
            assert a.holding(TN("100")).subject == "bank"
            assert any("cannot be reached" in problem for problem in a.problems())
            with pytest.raises(StoreUnavailableError, match="nothing was changed"):
                await write(a, holding("101"))
            with pytest.raises(StoreUnavailableError):
                await a.nodes()
            server.start()
            await until(lambda: a.current)
            await until(lambda: not a.problems())

    asyncio.run(run())


def test_out_of_memory_refuses_writes_and_reading_goes_on(serve, tmp_path):
    server = serve()

    async def run():
        opts = options(server.url, lag_limit=LAG)
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, subject("bank"), holding("100"))
            await until(lambda: b.seq == 1)
            server.ask("CONFIG", "SET", "maxmemory", "100kb")
            with pytest.raises(StoreUnavailableError, match=r"nothing was changed.*out of memory"):
                await write(a, holding("101"))
            await until(lambda: any("out of memory" in problem for problem in b.problems()))
            await asyncio.sleep(LAG * 1.5)
            await until(lambda: a.current and b.current)
            assert b.holding(TN("100")).subject == "bank"
            assert b.holding(TN("101")) is None
            server.ask("CONFIG", "SET", "maxmemory", "0")
            await write(a, holding("101"))
            await until(lambda: b.seq == 2)
            await until(lambda: not a.problems() and not b.problems())

    asyncio.run(run())


def test_a_wrong_password_is_said_and_never_shown(serve, tmp_path):
    server = serve(requirepass="rightword")

    async def run():
        wrong = options(server.url.replace("rightword", "wrongword"))
        registry = FleetRegistry(tmp_path / "a.db", wrong)
        with pytest.raises(ConfigError, match="user or password") as caught:
            await registry.start()
        assert "wrongword" not in str(caught.value)
        await registry.aclose()
        none = FleetRegistry(tmp_path / "b.db", options(f"redis://127.0.0.1:{server.port}"))
        with pytest.raises(ConfigError, match="user or password"):
            await none.start()
        await none.aclose()
        file = tmp_path / "password"
        file.write_text("rightword\n")
        right = options(f"redis://127.0.0.1:{server.port}", password_file=file, lag_limit=LAG)
        async with Node(tmp_path, "c", right) as c:
            await write(c, subject("bank"))
            # Changed while it runs: told, stale after the limit, and nothing falls over.
            server.ask("CONFIG", "SET", "requirepass", "another")
            server.password = "another"
            server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await until(lambda: any("user or password" in problem for problem in c.problems()))
            await until(lambda: not c.current)
            server.ask("CONFIG", "SET", "requirepass", "rightword")
            server.password = "rightword"
            await until(lambda: c.current and not c.problems())

    asyncio.run(run())


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"appendonly": "no"}, "appendonly"), ({"maxmemory_policy": "allkeys-lru"}, "evict")],
)
def test_a_redis_that_forgets_needs_a_switch(serve, tmp_path, settings, named):
    server = serve(**settings)

    async def run():
        registry = FleetRegistry(tmp_path / "a.db", options(server.url))
        with pytest.raises(ConfigError, match=f"{named}.*allow_volatile"):
            await registry.start()
        assert not registry.current
        await registry.aclose()
        async with Node(tmp_path, "b", options(server.url, allow_volatile=True)) as b:
            assert (await write(b, subject("bank"))).seq == 1
            assert b.current

    asyncio.run(run())


def test_an_emptied_redis_replaces_nothing_and_can_be_reseeded(serve, tmp_path):
    server = serve()

    async def run():
        opts = options(server.url)
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, subject("bank"), holding("100"))
            await write(a, put(order("o1", 1)))
            await until(lambda: b.seq == 2)
            server.ask("FLUSHALL")
            await until(lambda: not a.current and not b.current)
            assert any("lost its data" in problem for problem in a.problems())
            assert a.holding(TN("100")).subject == "bank"
            assert a.order(BANK, EVER).id == "o1"
            with pytest.raises(StoreUnavailableError, match="lost its data"):
                await write(a, holding("101"))
            await a.reseed()
            with pytest.raises(StoreUnavailableError, match="not replaced"):
                await b.reseed()
            await until(lambda: a.current and b.current)
            await write(b, subject("shop"))
            await until(lambda: a.seq == 3)
            async with Node(tmp_path, "c", opts) as c:
                assert state(c) == state(a) == state(b)
                assert c.order(BANK, EVER).id == "o1"
            await until(lambda: not a.problems() and not b.problems())

    asyncio.run(run())


def test_a_redis_emptied_while_a_node_catches_up_replaces_nothing(serve, tmp_path):
    server = serve()

    async def run():
        opts = options(server.url)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, subject("bank"), holding("100"))
        node = Node(tmp_path, "a", opts)
        other = Node(tmp_path, "b", opts)
        async with other as b:
            await write(b, holding("101"))
        reading = node.registry.node.journal.range

        async def emptied(first):
            server.ask("FLUSHALL")
            return await reading(first)

        node.registry.node.journal.range = emptied
        async with node as a:
            assert a.state is not NodeState.CURRENT
            await until(lambda: a.state is NodeState.FOREIGN)
            assert any("lost its data" in problem for problem in a.problems())
            assert a.holding(TN("100")).subject == "bank"
            assert a.records.last()[0] == 1
            await a.reseed()
            await until(lambda: a.current)

    asyncio.run(run())


def test_an_embedded_file_becomes_a_fleet(serve, tmp_path):
    server = serve()
    book = RegistryFile(tmp_path / "a.db", writer=True)
    book.write([subject("bank"), holding("100")], author="t", reason="r", now=int(time.time()))
    book.close()

    async def run():
        opts = options(server.url)
        async with Node(tmp_path, "a", opts) as a:
            assert not a.current
            assert any("fleet seed" in problem for problem in a.problems())
            await a.reseed()
            async with Node(tmp_path, "b", opts) as b:
                await write(b, holding("101"))
                assert b.holding(TN("100")).subject == "bank"
                await until(lambda: a.seq == 2)
                assert state(a) == state(b)

    asyncio.run(run())


def rolled_back(server, keep: int) -> None:
    """Make Redis as a backup had it that was taken after commit `keep`."""
    server.stop()
    shutil.rmtree(server.folder / "appendonlydir")
    shutil.copytree(server.folder / f"backup{keep}", server.folder / "appendonlydir")
    server.start()


def back_up(server, keep: int) -> None:
    server.rewrite()
    shutil.copytree(server.folder / "appendonlydir", server.folder / f"backup{keep}")


def test_an_old_backup_is_taken_over_and_no_order_is_lost(serve, tmp_path):
    server = serve()

    async def run():
        opts = options(server.url)
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, subject("bank"), holding("100"))
            back_up(server, 1)
            await write(a, holding("200"))
            await write(a, put(order("o1", 1)))
            await until(lambda: b.seq == 3)
            rolled_back(server, 1)
            await until(lambda: a.current and b.current and a.seq == b.seq == 1)
            assert a.holding(TN("100")).subject == "bank"
            assert a.holding(TN("200")) is None
            for node in (a, b):
                assert node.order(BANK, EVER).id == "o1"
                assert any("o1" in problem for problem in node.problems())
            lost = list(tmp_path.glob("a.lost-*.db"))
            assert len(lost) == 1
            kept = RegistryFile(lost[0])
            assert kept.last()[0] == 3
            kept.close()
            # The issuer gives it again: the journal has it, and it is an ordinary order.
            await write(b, put(order("o1", 1)))
            await until(lambda: a.seq == b.seq == 2)
            assert state(a) == state(b)
            for node in (a, b):
                assert any("Redis lost 2 commit(s)" in problem for problem in node.problems())
                await node.acknowledge_losses()
            await until(lambda: not a.problems() and not b.problems())
            assert a.order(BANK, EVER).id == "o1"
        async with Node(tmp_path, "a", opts) as a:
            await until(lambda: not a.problems())

    asyncio.run(run())


def test_a_kept_order_outlives_a_restart_of_its_node(serve, tmp_path):
    server = serve()

    async def run():
        opts = options(server.url)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, subject("bank"))
            back_up(server, 1)
            await write(a, put(order("o1", 1)))
        rolled_back(server, 1)
        for _ in range(2):
            async with Node(tmp_path, "a", opts) as a:
                assert a.current
                assert a.order(BANK, EVER).id == "o1"
                assert any("o1" in problem for problem in a.problems())

    asyncio.run(run())


def test_a_history_that_went_another_way_shows_even_with_equal_numbers(serve, tmp_path):
    server = serve()

    async def run():
        opts = options(server.url)
        async with Node(tmp_path, "a", opts) as a:
            await write(a, subject("bank"), subject("shop"), holding("100"))
            async with Node(tmp_path, "b", opts) as b:
                await until(lambda: b.seq == 1)
            back_up(server, 1)
            await write(a, holding("200"))
            await write(a, holding("300"))
            assert a.seq == 3
        rolled_back(server, 1)
        async with Node(tmp_path, "b", opts) as b:
            await write(b, holding("200", of="shop"))
            await write(b, holding("400", of="shop"))
            await write(b, holding("500", of="shop"))
            async with Node(tmp_path, "a", opts) as a:
                assert a.current
                assert a.seq == 4
                assert state(a) == state(b)
                assert a.holding(TN("200")).subject == "shop"
                assert a.holding(TN("300")) is None

    asyncio.run(run())


def test_another_journal_is_not_taken_over_unasked(serve, tmp_path):
    mine, foreign = serve(), serve()

    async def run():
        async with Node(tmp_path, "a", options(mine.url)) as a:
            await write(a, subject("bank"), holding("100"))
        async with Node(tmp_path, "x", options(foreign.url)) as x:
            await write(x, subject("shop"))
        async with Node(tmp_path, "a", options(foreign.url)) as a:
            assert not a.current
            assert any("another journal" in problem for problem in a.problems())
            assert a.holding(TN("100")).subject == "bank"
            with pytest.raises(StoreUnavailableError, match="another journal"):
                await write(a, holding("101"))
        async with Node(tmp_path, "a", options(foreign.url, take_over_foreign=True)) as a:
            assert a.current
            assert a.holding(TN("100")) is None
            assert a.standing("shop").subject is not None
        assert len(list(tmp_path.glob("a.lost-*.db"))) == 1

    asyncio.run(run())


def test_sentinel_fails_over_and_the_fleet_goes_on(watched, tmp_path):
    async def run():
        opts = options(watched.url, wait_replicas=1, lag_limit=LAG, timeout=2.0, wait_ms=1_500)
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, subject("bank"))
            await until(lambda: b.seq == 1)
            first, second = watched.servers
            first.kill()
            await until(lambda: "role:master" in second.ask("INFO", "replication"), AGREED)

            async def unconfirmed():
                try:
                    await write(a, holding("100"))
                except StoreUnavailableError as error:
                    return "0 of 1 replicas" in str(error)
                return False

            await until(unconfirmed)
            await until(lambda: a.current and b.current and a.seq == b.seq > 1)
            assert b.holding(TN("100")).subject == "bank"
            assert state(a) == state(b)

    asyncio.run(run())


def test_a_failover_to_a_replica_that_lagged_loses_no_order(watched, tmp_path):
    async def run():
        opts = options(watched.url, timeout=2.0)
        first, second = watched.servers
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, subject("bank"))
            await until(lambda: b.seq == 1)
            await until(lambda: "1-0" in second.ask("XRANGE", "{zx}:journal", "-", "+"))
            second.pause()  # it hears no more of the first one
            await write(a, holding("100"))
            await write(a, put(order("o1", 1)))
            await until(lambda: b.seq == 3)
            # What the first one sent and the second has not read must not count as received.
            first.ask("CLIENT", "KILL", "TYPE", "replica")
            first.kill()
            second.resume()
            await until(
                lambda: a.current and b.current and a.seq == b.seq,
                AGREED,
                "the same after failover",
            )
            kept = a.seq
            assert kept in (1, 3)
            assert a.order(BANK, EVER).id == b.order(BANK, EVER).id == "o1"
            if kept == 1:
                assert any("o1" in problem for problem in a.problems())
            assert state(a) == state(b)

    asyncio.run(run())


def test_a_write_that_no_replica_confirms_is_not_acknowledged(serve, tmp_path):
    server = serve()

    async def run():
        async with Node(tmp_path, "a", options(server.url, wait_replicas=1)) as a:
            key = {"request": b"r" * 32, "fingerprint": b"f"}
            for _ in range(2):
                with pytest.raises(StoreUnavailableError, match="0 of 1 replicas"):
                    await write(a, subject("bank"), **key)
            assert a.records.last()[0] == 1

    asyncio.run(run())


def test_a_cluster_serves_a_fleet(cluster, tmp_path):
    async def run():
        opts = options(cluster.url, lag_limit=LAG, timeout=2.0)
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, subject("bank"), subject("shop"), holding("100", "199"))
            await write(b, put(order("o1", 1)))
            await until(lambda: a.seq == b.seq == 2)
            assert state(a) == state(b)

            async def said():
                return len(await a.acknowledgements("o1")) == 2

            await until(said)
            assert await a.checkpoint()
            async with Node(tmp_path, "c", opts) as c:
                assert state(c) == state(a)
            owner = [
                server
                for server in cluster.servers
                if "{zx}:id" in server.ask("--scan", "--pattern", "{zx}:*")
            ]
            assert len(owner) == 1
            owner[0].kill()
            await until(lambda: not a.current)
            owner[0].start()
            await until(lambda: a.current and b.current)
            await write(a, holding("300", of="shop"))
            await until(lambda: b.seq == 3)

    asyncio.run(run())


def test_an_empty_registry_seeds_nothing_and_is_told_so(serve, tmp_path):
    async def run():
        server = serve()
        async with Node(tmp_path, "a", options(server.url)) as a:
            with pytest.raises(StoreUnavailableError, match="registry is empty"):
                await a.reseed()
            assert server.ask("KEYS", "*checkpoint*").strip() == ""
            await write(a, subject("bank"))  # begins it
            with pytest.raises(StoreUnavailableError, match="Redis holds a journal"):
                await a.reseed()

    asyncio.run(run())
