"""What a list revokes, kept in few octets, beside a set of pairs."""

from __future__ import annotations

import sys
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zhenxian.certs.revoked import Collected, Revoked

NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=3)
SERIALS = st.one_of(st.integers(-300, 300), st.integers(-(1 << 170), 1 << 170))
ENTRIES = st.lists(st.tuples(NAMES, SERIALS), max_size=40)


@given(ENTRIES, st.lists(SERIALS, max_size=10))
def test_it_is_a_set_of_pairs(entries, others):
    collected, pairs = Collected(), set()
    for names, serial in entries:
        collected.add(names, serial)
        pairs |= {(name, serial) for name in names}
    found = collected.revoked()
    assert set(found) == pairs
    for serial in {serial for _, serial in entries} | set(others) | {0, 1, -1}:
        for name in "abcd":
            assert ((name, serial) in found) == ((name, serial) in pairs)
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Revoked)
    assert sent == found


def test_many_names_of_one_issuer_do_not_multiply_what_is_kept():
    """Else a list of a megabyte that anybody's certificate names would take all memory."""
    collected = Collected()
    names = [f"name {number}" for number in range(2_000)]
    for serial in range(5_000):
        collected.add(names, serial)
    found = collected.revoked()
    assert ("name 1999", 4_999) in found
    assert ("name 1999", 5_000) not in found
    kept = sum(map(sys.getsizeof, (*found.serials.values(), *found.places.values())))
    assert kept < 20_000


@pytest.mark.parametrize(
    ("sought", "listed"), [((1 << 80) + 19_999, True), (1 << 90, False), (7, False)]
)
def test_a_name_in_as_many_groups_as_there_are_entries_takes_no_time_to_look_up(sought, listed):
    """Who may sign lists can give each entry other names beside one that all have."""
    collected = Collected()
    for number in range(20_000):
        collected.add(("everybody's", f"name {number}"), (1 << 80) + number)
        collected.add((f"nobody's {number}",), 7)  # a serial number that as many have
    found = collected.revoked()
    began = time.process_time()
    for _ in range(5):
        assert (("everybody's", sought) in found) is listed
    assert time.process_time() - began < (0.05 if sought == 7 else 0.005)


def test_a_number_in_a_score_of_groups_is_looked_for_among_many_thousands_at_once():
    collected = Collected()
    for number in range(100_000):
        collected.add(("everybody's", f"name {number}"), 9)
    for number in range(20):
        collected.add((f"somebody's {number}",), 7)
    found = collected.revoked()
    began = time.process_time()
    for _ in range(5):
        assert ("everybody's", 7) not in found
    assert time.process_time() - began < 0.005
