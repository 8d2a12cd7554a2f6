"""Names that strangers chose, under name servers that do not answer."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading

import pytest

from zhenxian.certs import resolver
from zhenxian.certs.fetch import FetchError, HttpFetcher
from zhenxian.certs.resolver import OF_SITE, SystemResolver
from zhenxian.certs.x5u import X5uPolicy

GOOD = "sti.carrier.example"
FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.1.1", 443))]


class NameServer:
    """It answers nobody whose name has "hang" in it, until it is let go."""

    def __init__(self, monkeypatch):
        self.asked = []
        self.let_go = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)

    def look_up(self, host, *_, **__):
        self.asked.append(host)
        if "hang" in host:
            self.let_go.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return FOUND

    async def asked_for(self, count):
        while len(self.asked) < count:  # noqa: ASYNC110  it is threads that ask
            await asyncio.sleep(0.01)


@pytest.fixture
def names(monkeypatch):
    server = NameServer(monkeypatch)
    yield server
    server.let_go.set()


def run(scenario, threads=8):
    async def main():
        asking = SystemResolver(threads)
        try:
            await asyncio.wait_for(scenario(asking), 30)
        finally:
            asking.close()

    asyncio.run(main())


async def given_up(asking, hosts, names, count):
    """Lookups that their askers waited for in vain, as fetches do; so many hold a thread."""
    tasks = [asyncio.create_task(asking(host, 443)) for host in hosts]
    await names.asked_for(len(names.asked) + count)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_one_domain_has_few_of_the_threads(names):
    async def scenario(asking):
        await given_up(asking, [f"h{n}.hang.example" for n in range(100)], names, OF_SITE)
        assert await asking(GOOD, 443) == ["192.0.1.1"]
        assert len(names.asked) == OF_SITE + 1

    run(scenario)


def test_a_domain_that_was_slow_has_one(names, monkeypatch):
    monkeypatch.setattr(resolver, "SLOW_AFTER", 0.0)

    async def scenario(asking):
        await given_up(asking, ["h.hang.example"], names, 1)
        names.let_go.set()
        with pytest.raises(OSError, match="try again"):
            await asking("h.hang.example", 443)
        names.let_go.clear()
        before = len(names.asked)
        await given_up(asking, [f"h{n}.hang.example" for n in range(10)], names, 1)
        assert await asking(GOOD, 443)
        assert len(names.asked) == before + 2

    run(scenario)


def test_those_who_wait_for_a_domain_have_their_turn(names):
    async def scenario(asking):
        tasks = [asyncio.create_task(asking(f"h{n}.hang.example", 443)) for n in range(10)]
        await names.asked_for(OF_SITE)
        names.let_go.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, socket.gaierror) for one in found)
        assert len(names.asked) == 10

    run(scenario)


def test_hosts_that_are_known_have_threads_of_their_own(names):
    async def scenario(asking):
        asking.known = GOOD.__eq__
        await given_up(asking, [f"h.hang{n}.example" for n in range(100)], names, 8)
        assert await asking(GOOD, 443) == ["192.0.1.1"]

    run(scenario)


def test_without_a_thread_nothing_is_resolved_and_with_one_everything(names, monkeypatch):
    def none(*_):
        raise RuntimeError("can't start new thread")

    async def scenario(asking):
        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", none)
            with pytest.raises(FetchError, match="cannot be resolved"):
                await HttpFetcher(policy=X5uPolicy(), resolve=asking).fetch(f"https://{GOOD}/c")
            with pytest.raises(RuntimeError):
                asking.start()
        asking.start()
        monkeypatch.setattr(threading.Thread, "start", none)
        assert await asyncio.gather(*(asking(GOOD, port) for port in range(50)))

    run(scenario)


_PROGRAM = """
import asyncio, socket, time
from zhenxian.certs.resolver import SystemResolver
socket.getaddrinfo = lambda *_, **__: time.sleep(600)

async def main():
    asking = SystemResolver()
    asked = asyncio.ensure_future(asking("h.example", 443))
    await asyncio.sleep(0.1)
    asking.close()
    asked.cancel()

asyncio.run(main())
"""


def test_the_process_ends_while_a_name_server_does_not_answer():
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
