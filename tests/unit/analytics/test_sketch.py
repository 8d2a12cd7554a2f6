from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zhenxian.analytics.sketch import EXACT, MOST, PLACES, Distinct, Repeats, recurrence, union

values = st.lists(st.integers(0, 2**32 - 1), max_size=EXACT)


@given(values)
@settings(max_examples=50, deadline=None)
def test_few_values_are_counted_exactly(some):
    distinct, repeats = Distinct(), Repeats()
    for value in some:
        distinct.add(value)
        repeats.seen(value)
    assert distinct.distinct == len(set(some))
    assert repeats.again == len(some) - len(set(some))


@pytest.mark.parametrize(
    ("count", "error"),
    [(100, 0.012), (1_000, 0.012), (3_000, 0.012), (16_000, 0.03), (24_000, 0.05)],
)
def test_many_values_within_the_stated_error(count, error):
    random = Random(count)
    distinct = Distinct()
    for _ in range(count):
        distinct.add(random.getrandbits(32))
    assert distinct.distinct == pytest.approx(count, rel=4 * error)


def test_more_values_than_it_can_tell_are_at_least_many():
    distinct = Distinct()
    for value in range(200_000):
        distinct.add(Random(value).getrandbits(32) if value < 60_000 else value << 7 & 0xFFFFFFFF)
    assert 20_000 < distinct.distinct <= 1.01 * MOST


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("count", [1_000, 4_000, 50_000])
def test_repetitions_within_the_stated_error(share, count):
    random = Random(f"{share} {count}")
    repeats, seen = Repeats(), []
    for _ in range(count):
        if seen and random.random() < share:
            value = random.choice(seen)
        else:
            value = random.getrandbits(32)
            seen.append(value)
        repeats.seen(value)
    found = recurrence(repeats, None)
    assert found == pytest.approx(share, abs=0.005 + share / 2)
    assert repeats.stored <= PLACES // 2 + 1


@given(values, values)
@settings(max_examples=50, deadline=None)
def test_union_does_not_depend_on_the_order(some, others):
    one, other = Distinct(), Distinct()
    for value in some:
        one.add(value)
    for value in others:
        other.add(value)
    both = union(one, other)
    assert both == union(other, one)
    assert both.distinct == len({*some, *others})


def test_union_of_bitmaps_is_within_the_error():
    random = Random(5)
    one, other = Distinct(), Distinct()
    for sketch, start in ((one, 0), (other, 500)):
        for value in range(start, start + 1_000):
            sketch.add(Random(value).getrandbits(32))
    del random
    assert union(one, other).distinct == pytest.approx(1_500, rel=0.05)


def test_a_value_seen_in_the_older_half_counts_as_repeated():
    old, new = Repeats(), Repeats()
    old.seen(7)
    assert new.seen(7, old)
    assert not new.seen(8, old)
    assert new.again == 1
