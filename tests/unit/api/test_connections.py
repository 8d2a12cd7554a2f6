"""Who counts against which bound."""

import asyncio

import pytest

from zhenxian.api.transport.connections import LOOK_EVERY, Connections, Limits, networks


class Open:
    """A connection that notes when it was looked at."""

    def __init__(self, *, idle=False):
        self.looks = []
        self.idle, self.closed = idle, False

    def give_way(self):
        self.closed = self.idle
        return self.idle

    def look(self, now):
        self.looks.append(now)


LIMITS = Limits(
    total=6, strangers=4, strangers_per_address=2, proxies=networks(["192.0.2.0/28", "2001:db8::7"])
)


def enter_all(book, *addresses, **more):
    return [book.enter(Open(), address, **more) for address in addresses]


def run(check):
    async def scenario():
        refused = []
        check(Connections(LIMITS, refused.append), refused)

    asyncio.run(scenario())


def test_strangers_of_one_address_are_bounded():
    def check(book, refused):
        assert enter_all(book, *["198.51.100.1"] * 3) == [True, True, False]
        assert enter_all(book, "::ffff:198.51.100.1", "198.51.100.2") == [False, True]
        assert refused == ["address", "address"]
        assert (len(book), book.strangers) == (3, 3)

    run(check)


def test_the_oldest_idle_stranger_of_an_address_gives_way():
    def check(book, refused):
        other, busy, idle, newest = Open(idle=True), Open(), Open(idle=True), Open(idle=True)
        assert book.enter(other, "198.51.100.2")
        assert book.enter(busy, "198.51.100.1")
        assert book.enter(idle, "198.51.100.1")
        assert book.enter(newest, "198.51.100.1")
        assert (idle.closed, busy.closed, other.closed) == (True, False, False)
        book.leave(idle)  # as it is told later
        assert (len(book), book.strangers) == (3, 3)
        newest.idle = False
        assert enter_all(book, "198.51.100.1") == [False]
        assert refused == ["address"]

    run(check)


def test_an_ipv6_network_is_one_address():
    def check(book, refused):
        one = "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:2::3%eth0"
        assert enter_all(book, *one, "2001:db8:1:3::1") == [True, True, False, True]
        assert refused == ["address"]

    run(check)


def test_strangers_together_are_bounded():
    def check(book, refused):
        assert enter_all(book, *(f"198.51.100.{n}" for n in range(5))) == [True] * 4 + [False]
        assert refused == ["strangers"]
        assert enter_all(book, "192.0.2.1", "192.0.2.1", "192.0.2.1") == [True, True, False]
        assert refused == ["strangers", "all"]

    run(check)


def test_who_has_shown_credentials_makes_place():
    def check(book, refused):
        first, second = Open(), Open()
        assert book.enter(first, "198.51.100.1")
        assert book.enter(second, "198.51.100.1")
        assert not book.enter(Open(), "198.51.100.1")
        book.admit(first)
        book.admit(first)
        assert book.enter(Open(), "198.51.100.1")
        assert not book.enter(Open(), "198.51.100.1")
        book.leave(second)
        book.leave(second)
        assert book.enter(Open(), "198.51.100.1")
        assert (len(book), book.strangers) == (3, 2)
        assert enter_all(book, "198.51.100.1", known=True) == [True]
        assert refused == ["address", "address"]

    run(check)


@pytest.mark.parametrize("address", ["192.0.2.15", "::ffff:192.0.2.1", "2001:db8::7"])
def test_listed_proxies_are_no_strangers(address):
    def check(book, refused):
        assert enter_all(book, *[address] * 7) == [True] * 6 + [False]
        assert refused == ["all"]
        assert book.strangers == 0

    run(check)


def test_where_nobody_has_credentials_there_are_no_strangers():
    async def scenario():
        book = Connections(Limits(total=6, strangers=1, strangers_per_address=1, anonymous=True))
        assert enter_all(book, *["127.0.0.1"] * 7) == [True] * 6 + [False]

    asyncio.run(scenario())


def test_open_connections_are_looked_at_and_closed_ones_are_not(monkeypatch):
    monkeypatch.setattr("zhenxian.api.transport.connections.LOOK_EVERY", 0.01)

    async def scenario():
        book = Connections(LIMITS)
        stays, goes = Open(), Open()
        book.enter(stays, "198.51.100.1")
        book.enter(goes, "")
        await asyncio.sleep(0.05)
        book.leave(goes)
        seen = len(goes.looks)
        await asyncio.sleep(0.05)
        assert len(goes.looks) == seen > 0
        assert len(stays.looks) > seen
        book.leave(stays)
        assert book._looking is None

    asyncio.run(scenario())
    assert LOOK_EVERY == 1.0
