"""A Redis that speaks TLS only: who authenticates it, and what is refused."""

from __future__ import annotations

import asyncio
import ipaddress
import time

import pytest
from cryptography import x509
from fleet_nodes import Node, holding, options, state, subject, until, write
from redis_server import RedisServer

from zhenxian.certs import ca
from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.core.tn import TN
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.replay.fleet import FleetReplayStore
from zhenxian.verifier.replay import UNKNOWN, Sighting


class Authority:
    """A CA in files, and servers' certificates that it issues."""

    def __init__(self, folder):
        self._folder = folder
        self._now = int(time.time())
        self._root = ca.Authority.create_root(
            folder.name, not_before=self._now - 60, not_after=self._now + ca.DAY
        )
        folder.mkdir()
        self.file = folder / "ca.pem"
        self.file.write_bytes(ca.pem(self._root.certificate))

    def server(self, address="127.0.0.1", until=ca.DAY):
        """CA, certificate and key of a server at an address."""
        key = ca.new_key()
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = self._root.issue(
            ca.name("redis"),
            None,
            key.public_key(),
            not_before=self._now - 3600,
            not_after=self._now + until,
            change=lambda builder: builder.add_extension(names, critical=False),
        )
        files = [self._folder / f"{address}-{until}.{end}" for end in ("pem", "key")]
        files[0].write_bytes(ca.pem(certificate))
        files[1].write_bytes(ca.key_pem(key))
        return self.file, *files


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ours") / "ca")


@pytest.fixture(scope="module")
def secured(ours, tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("tls") / "data", tls=ours.server())
    yield server
    server.stop()


@pytest.fixture
def redis(secured):
    secured.ask("FLUSHALL")
    return secured


def test_nodes_are_one_registry_over_tls(redis, ours, tmp_path):
    assert redis.url.startswith("rediss://")

    async def run():
        opts = options(redis.url, tls_ca=ours.file)
        async with Node(tmp_path, "a", opts) as a, Node(tmp_path, "b", opts) as b:
            await write(a, subject("bank"), holding("100"))
            await until(lambda: b.seq == 1)
            assert b.holding(TN("100")).subject == "bank"
            assert state(a) == state(b)
            await until(lambda: not a.problems() and not b.problems())
            store = FleetReplayStore(opts)
            sighting = Sighting(b"k" * 16, int(time.time()) + 60)

            async def answered():  # not within 0.2 s: not known, and to be asked again
                return (await store.sight_all([sighting], int(time.time())))[0] is not UNKNOWN

            await until(answered)
            await store.close()

    asyncio.run(run())


async def _refused(opts, folder):
    """A node that does not trust who answers: nothing is believed, nothing is written."""
    async with Node(folder, "c", opts) as node:
        assert not node.current
        with pytest.raises(StoreUnavailableError, match="nothing was changed"):
            await write(node, subject("bank"))
        (problem, *_) = node.problems()
        assert "cannot be reached" in problem
        return problem


def test_another_ca_is_refused(redis, tmp_path):
    other = Authority(tmp_path / "theirs")
    for trusted in (other.file, None):  # None: the system's, which never heard of ours
        folder = tmp_path / str(trusted is None)
        folder.mkdir()
        problem = asyncio.run(_refused(options(redis.url, tls_ca=trusted), folder))
        assert "certificate verify failed" in problem


@pytest.mark.parametrize(
    ("how", "says"),
    [({"address": "127.0.0.9"}, "IP address mismatch"), ({"until": -60}, "expired")],
)
def test_a_certificate_of_another_address_or_time_is_refused(ours, tmp_path, how, says):
    server = RedisServer(tmp_path / "redis", tls=ours.server(), maxmemory_policy="noeviction")
    try:
        certificate, key = ours.server(**how)[1:]
        words = ("tls-cert-file", str(certificate), "tls-key-file", str(key))
        assert server.ask("CONFIG", "SET", *words).strip() == "OK"
        problem = asyncio.run(_refused(options(server.url, tls_ca=ours.file), tmp_path))
        assert says in problem
    finally:
        server.stop()


def test_no_tls_is_spoken_to_who_wants_none_and_the_other_way_round(redis, serve, ours, tmp_path):
    plain = serve()
    mute = (redis.url.replace("rediss:", "redis:"), None)
    deaf = (plain.url.replace("redis:", "rediss:"), ours.file)
    for number, (url, trusted) in enumerate((mute, deaf)):
        folder = tmp_path / str(number)
        folder.mkdir()
        asyncio.run(_refused(options(url, tls_ca=trusted, timeout=1.0), folder))


def test_a_ca_that_cannot_be_meant_is_told_at_start(tmp_path):
    none, garbage = tmp_path / "none.pem", tmp_path / "garbage.pem"
    garbage.write_text("garbage")
    for file in (none, garbage):
        with pytest.raises(ConfigError, match=file.name):
            FleetRegistry(tmp_path / "a.db", options("rediss://127.0.0.1:1", tls_ca=file))
    with pytest.raises(ConfigError, match="no TLS"):
        FleetRegistry(tmp_path / "a.db", options("redis://127.0.0.1:1", tls_ca=garbage))
