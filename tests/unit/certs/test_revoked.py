"""What a list revokes, kept in few octets, beside a set of pairs."""

from __future__ import annotations

import sys

import msgspec
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
    kept = sum(sys.getsizeof(row) for rows in found.serials for row in rows.values())
    assert kept < 20_000
