from random import Random

import pytest

from zhenxian.analytics import hashing
from zhenxian.analytics.areas import CELLS, area, cell
from zhenxian.core.tn import TN


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("8613800100000", "北京"),
        ("861062345678", "北京"),
        ("8675583765566", "广东省深圳"),
        ("862861234567", "四川省成都"),  # the code of three cities; the first named
        ("12125550100", "New York, NY"),
        ("442079460000", "London"),
        ("81312345678", "Tokyo"),
    ],
)
def test_area_of_numbers_that_have_one(number, name):
    assert area(TN(number)) == name
    assert 0 <= cell(TN(number)) < CELLS


def test_mobile_and_fixed_numbers_of_a_city_share_its_area():
    assert area(TN("8613005400000")) == area(TN("8675512345678")) is not None


@pytest.mark.parametrize(
    "number",
    [
        "95588", "95551234", "955512345"[:8], "10086", "110", "12345", "*86",
        "864008123456", "868008123456", "4008123456", "8008123456", "18005550100",
    ],
)  # fmt: skip
def test_service_numbers_have_none(number):
    assert area(TN(number)) is None
    assert cell(TN(number)) == -1


def test_the_table_of_mobile_numbers_says_what_the_library_does():
    random, number = Random(1), hashing.Hashing(1).number_once
    for _ in range(5_000):
        tn = TN(f"861{random.randrange(10**10):010d}")
        assert number(tn)[1] == cell(tn)


def test_cells_are_the_same_everywhere():
    """Written down, because nodes of a fleet must agree."""
    assert cell(TN("861062345678")) == cell(TN("8613800100000")) == 145


def test_numbers_of_one_area_have_one_cell():
    random, cells = Random(2), {None: -1}
    for _ in range(10_000):
        begin = random.choice(("86", "8610", "86755", "1", "1212", "44", "49", "81", "7", "0"))
        tn = TN(begin + f"{random.randrange(10**8):08d}"[: random.randrange(4, 9)])
        assert cells.setdefault(area(tn), cell(tn)) == cell(tn)
    assert len(cells) > 300


@pytest.mark.parametrize("number", ["*86138001380", "12*45678901", "1234567*#"])
def test_a_long_number_with_a_star_is_counted(number):
    assert area(TN(number)) is None
    assert cell(TN(number)) == -1
    assert hashing.Hashing(1).number(TN(number))[1] == -1


def test_numbers_asked_for_lately_are_kept_and_bounded(monkeypatch):
    monkeypatch.setattr(hashing, "_CACHED", 4)
    made = hashing.Hashing(salt=7)
    numbers = [TN(f"861380010{index:04d}") for index in range(11)]
    for number in [*numbers, *numbers]:
        assert made.number(number) == made.number_once(number)
        assert made.known[number] == made.number_once(number)
        assert len(made.known) <= 4
