"""A fleet of the release before goes on under this one: its Redis, its checkpoint, its replicas."""

from __future__ import annotations

import asyncio
import base64
from contextlib import closing

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from fleet_nodes import Node, holding, options, state, until, write
from redis import Redis
from release.before import BEFORE, content, lacking, request, unpack
from streams import NOON

from zhenxian.core.tn import TN
from zhenxian.passport.jws import VerifyingKey
from zhenxian.registry.journal import put
from zhenxian.registry.model import Kind, Subject, Who
from zhenxian.registry.node_key import public_key
from zhenxian.registry.orders import Issuer, read_acknowledgement, unfounded
from zhenxian.stores.fleet.states import NodeState
from zhenxian.stores.sqlite.file import RegistryFile

FLEET = BEFORE["fleet"]
REGULATOR = Issuer("regulator", (VerifyingKey(load_pem_public_key(BEFORE["issuer"].encode())),))


@pytest.fixture
def before(redis, tmp_path):
    """Redis as that fleet left it, and the folder of its nodes' files."""
    with Redis(port=redis.port) as client:
        for key, value in FLEET["redis"].items():
            client.restore(key, 0, base64.b64decode(value))
    unpack(FLEET["files"], tmp_path)
    return redis, tmp_path


def node(folder, name, url):
    made = Node(folder, name, options(url))
    issuers = {"regulator": REGULATOR}
    made.registry.node.vet = lambda order, known: unfounded(order, known, issuers)
    return made


def test_its_nodes_go_on_where_they_were(before):
    redis, folder = before

    async def run():
        async with node(folder, "a", redis.url) as a:
            assert a.state is NodeState.CURRENT
            await until(lambda: not a.problems())
            assert lacking(FLEET["read"], content(a.records) | {"acknowledged": ["a"]}) == []
            assert [name for name, _, _ in await a.acknowledgements("o-range")] == ["a"]
            again = await write(a, put(Subject(id="bank")), now=NOON, **request(1))
            assert (again.seq, again.changes) == (1, ())
            assert (await write(a, holding("862161002000"), now=NOON)).seq == 16

    asyncio.run(run())


def test_one_that_was_left_behind_is_rebuilt_from_its_checkpoint(before, caplog):
    redis, folder = before

    async def run():
        async with node(folder, "a", redis.url) as a, node(folder, "b", redis.url) as b:
            assert b.state is NodeState.CURRENT
            assert b.seq == a.seq == 15
            assert "being rebuilt: commits after 3 are no longer in the stream" in caplog.text
            assert state(a) == state(b)
            # The journal of b itself goes on where that release had stopped, without a hole.
            assert len(b.records.commits(0, 100)) == len(a.records.commits(0, 100))
            commit = await write(b, holding("862161002000"), now=NOON)
            assert commit.seq == 16
            await until(lambda: a.seq == 16)
            assert a.holding(TN("862161002000")).subject == "bank"
            assert state(a) == state(b)

    asyncio.run(run())


def test_a_rebuilt_replica_keeps_the_limits_of_its_node(before, caplog):
    redis, folder = before
    with closing(RegistryFile(folder / "b.db")) as file:
        file.set_person_limits({"86": 3, "49": 9})

    async def run():
        async with node(folder, "a", redis.url), node(folder, "b", redis.url) as b:
            assert "being rebuilt" in caplog.text
            assert b.state is NodeState.CURRENT

    asyncio.run(run())
    with closing(RegistryFile(folder / "b.db")) as file:
        assert file.person_limits == {"86": 3, "49": 9}


def test_a_new_node_follows_its_checkpoint_and_stream(before):
    redis, folder = before

    async def run():
        async with node(folder, "a", redis.url) as a, node(folder, "new", redis.url) as new:
            assert state(a) == state(new)
            read = FLEET["read"]
            assert lacking(read["records"], content(new.records)["records"]) == []
            assert new.order(Who(numbers=(TN("8613000000005"),)), NOON).id == "o-range"
            assert new.order(Who(subjects=("shop",)), NOON) is None  # lifted
            assert new.exemption("subject", "bank", NOON).id == "e-1"
            history = new.records.history
            for key, versions in read["history"].items():
                kind, _, name = key.partition(" ")
                found = history(Kind(kind), name)
                assert [one.version for one in found] == [one["version"] for one in versions]
            # It acknowledges the orders too, beside the node of the release before.
            await until(lambda: acknowledged(new, {"a", "new"}))

    asyncio.run(run())


async def acknowledged(registry, names):
    rows = await registry.acknowledgements("o-range")
    for name, token, key in rows:
        _, order = registry.records.get(Kind.ORDER, "o-range")
        assert read_acknowledgement(token, order, public_key(key)).node == name
    return {name for name, _, _ in rows} == names


def test_its_checkpoint_is_replaced_by_one_of_this_release(before):
    redis, folder = before

    async def run():
        async with node(folder, "a", redis.url) as a:
            assert await a.checkpoint()
            await write(a, holding("862161002000"), now=NOON)
            async with node(folder / "later", "c", redis.url) as c:
                assert c.seq == 16
                assert state(a) == state(c)

    asyncio.run(run())
