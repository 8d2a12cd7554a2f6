"""Places are drawn fast, and come out as the plain functions of `random` would have them."""

from random import Random

import pytest

from zhenxian.core.tn import TN
from zhenxian.simulation.places import places


def plain(random, place):
    """Somebody of a place, in plain words."""
    if random.random() < 0.08:
        beginning, digits = place.fixed + random.choice("24678"), place.digits[1]
    else:
        beginning, digits = random.choice(place.mobile), place.digits[0]
    rest = digits - len(beginning)
    return f"{beginning}{random.randrange(10**rest):0{rest}d}"


@pytest.mark.parametrize("country", ["CN", "US", "DE"])
def test_somebody_is_whom_the_plain_draws_give(country):
    fast, slow = Random(country), Random(country)
    every = places(country)
    for one in [*every.all] * 4:
        found = one.person(fast)
        assert type(found) is TN
        assert found == TN(plain(slow, one))
        assert every.anybody(fast) == plain(slow, every.draw(slow))
    assert fast.getstate() == slow.getstate()


def test_numbers_of_a_place_are_whole():
    one = places("DE").all[0]
    random = Random(1)
    assert {len(one.mobile_number(random)) for _ in range(99)} == {one.digits[0]}
    assert {len(one.fixed_number(random)) for _ in range(99)} == {one.digits[1]}
