"""Who is given a place for a first fetch while others name what they like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zhenxian.certs.places import SLOW_AFTER, SLOW_FOR, PlaceLimits, Places, site_of

LIMITS = PlaceLimits()


class Timer:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def timer():
    return Timer()


@pytest.fixture
def places(timer):
    return Places(LIMITS, timer)


def take(places, host, number=1):
    return [place for _ in range(number) if (place := places.take(host)) is not None]


def test_eight_slow_hosts_keep_nobody_out(places, timer):
    for host in range(8):
        assert len(take(places, f"h{host}.slow{host}.example", 8)) == 8
    assert len(places) == LIMITS.fetches
    (newcomer,) = take(places, "cert.carrier.example")  # at once: one of the greedy gives way
    assert len(places) == LIMITS.fetches
    places.leave(newcomer)
    timer.now += SLOW_AFTER
    for number in range(50):
        assert take(places, f"cert.carrier{number}.example")
    assert sum(place.slow for place in places._taken) == LIMITS.slow
    assert not take(places, "h1.slow1.example")  # known to be slow: one at a time, and few in all


def test_a_thousand_slow_hosts_keep_others_out_for_a_second(places, timer):
    for number in range(1000):
        take(places, f"h{number}.e{number}.example")
    assert len(places) == LIMITS.fetches
    assert not take(places, "cert.carrier.example")
    timer.now += SLOW_AFTER
    assert take(places, "cert.carrier.example")


def test_hosts_of_one_domain_share_its_places(places):
    assert sum(len(take(places, f"h{n}.evil.example")) for n in range(100)) == LIMITS.of_site
    assert take(places, "cert.carrier.example")


def test_acquaintances_have_places_that_no_stranger_takes(places):
    places.acquainted("cert.carrier.example")
    for number in range(1000):
        take(places, f"h{number}.e{number}.example")
    assert len(take(places, "cert.carrier.example", 20)) == LIMITS.of_host


def test_who_is_given_up_is_told_once(places, timer):
    told = []
    for number in range(16):
        (place,) = take(places, f"h{number}.e{number}.example")
        place.give_up = lambda number=number: told.append(number)
    timer.now += SLOW_AFTER
    take(places, "cert.carrier.example")
    take(places, "cert.other.example")
    assert told == list(range(8))  # those that took longest


def test_slowness_is_forgotten(places, timer):
    (place,) = take(places, "h.slow.example")
    timer.now += SLOW_AFTER
    places.leave(place)
    assert len(take(places, "h.slow.example", 2)) == 1
    timer.now += SLOW_FOR
    assert len(take(places, "h.slow.example", 2)) == 2


def test_a_host_that_answers_quickly_again_is_not_slow(places, timer):
    (place,) = take(places, "h.example.com")
    timer.now += SLOW_AFTER
    places.leave(place)
    (place,) = take(places, "h.example.com")
    places.leave(place)
    assert len(take(places, "h.example.com", 8)) == 8


def test_calls_that_wait_are_bounded_by_url_and_for_strangers(places):
    url = "https://h.slow.example/1"
    waits = [places.wait(url, "h.slow.example") for _ in range(520)]
    assert sum(keys is not None for keys in waits) == LIMITS.waiting_for_url
    assert places.wait("https://cert.carrier.example/1", "cert.carrier.example")
    for number in range(100):
        for _ in range(128):
            places.wait(f"https://h{number}.e.example/1", f"h{number}.e.example")
    assert places.wait("https://cert.late.example/1", "cert.late.example") is None
    places.acquainted("cert.late.example")
    assert places.wait("https://cert.late.example/1", "cert.late.example")
    for keys in waits:
        if keys is not None:
            places.go(keys)
    assert places.wait(url, "h.slow.example")


@given(st.data())
def test_places_are_given_back_whatever_happens(data):
    timer = Timer()
    places, held = Places(PlaceLimits(fetches=5, of_host=2, of_site=3, slow=2), timer), []
    for _ in range(data.draw(st.integers(1, 60))):
        timer.now += data.draw(st.sampled_from([0, 0.1, 2]))
        host = data.draw(
            st.sampled_from(["a.x.example", "b.x.example", "c.y.example", "d.example"])
        )
        if data.draw(st.booleans()) or not held:
            held += take(places, host)
        else:
            places.leave(held.pop(data.draw(st.integers(0, len(held) - 1))))
        assert len(places) == sum(not place.given_up for place in held)
        assert sum(not place.slow for place in places._taken) <= 5
    for place in held:
        places.leave(place)
    assert len(places) == 0


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("cert.carrier.example", "carrier.example"),
        ("carrier.example", "carrier.example"),
        ("a.b.carrier.com.cn", "carrier.com.cn"),
        ("a.carrier.co.uk", "carrier.co.uk"),
        ("carrier.cn", "carrier.cn"),
        ("198.51.100.7", "198.51.100.7"),
        ("[2001:db8::1]", "2001:db8::1"),
    ],
)
def test_the_part_that_somebody_registered(host, site):
    assert site_of(host) == site
